package app

import (
	"context"
	"errors"
	"net/http"

	"github.com/cacheproxy/cacheproxy/internal/admin"
	"github.com/cacheproxy/cacheproxy/internal/config"
)

// Explain says from a configuration alone what would be done with a request. Nothing is known of what is stored then. The error is a
// *config.Error where the configuration is refused; else it is about the question.
func Explain(o config.Options, q admin.Question) (*admin.Explanation, error) {
	cfg, _, err := config.Load(o)
	if err != nil {
		return nil, err
	}
	g := &generation{cfg: cfg, access: accessOf(cfg), origins: map[string]origin{}}
	for name, options := range cfg.Upstreams {
		g.origins[name] = origin{options: options, handler: http.NotFoundHandler()} // nobody will ask it
	}
	e, err := planOf(cfg, g).Explain(context.Background(), nil, q)
	if err != nil {
		return nil, errors.New("it cannot be explained: " + err.Error())
	}
	return e, nil
}
