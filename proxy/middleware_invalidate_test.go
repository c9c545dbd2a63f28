package proxy_test

import (
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/cacheproxy/cacheproxy/proxy"
	"github.com/cacheproxy/cacheproxy/rules"
)

// TestMiddlewareInvalidate ends what an order names, and nothing else; the tags are of the handler and of the route.
func TestMiddlewareInvalidate(t *testing.T) {
	var calls atomic.Int32
	g := guard(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Surrogate-Key", "handler")
		w.Header().Set("Cache-Control", "max-age=60")
		fmt.Fprint(w, calls.Add(1))
	}), proxy.MiddlewareOptions{Routes: []rules.Spec{{
		Name: "products", Match: rules.MatchSpec{Paths: []string{"/products/**"}}, Cache: &rules.CacheSpec{Tags: []string{"product:{path.1}"}},
	}}})
	tests := []struct {
		name  string
		order proxy.Order
		want  bool
	}{
		{"URL", proxy.Order{URLs: []string{g.URL + "/products/7"}}, true},
		{"another URL", proxy.Order{URLs: []string{g.URL + "/products/8"}}, false},
		{"tag of the handler", proxy.Order{Tags: []string{"handler"}}, true},
		{"tag of the route", proxy.Order{Tags: []string{"product:7"}}, true},
		{"another tag", proxy.Order{Tags: []string{"product:8"}}, false},
		{"pattern", proxy.Order{Patterns: []string{"/products/*"}}, true},
		{"another pattern", proxy.Order{Patterns: []string{"/users/*"}}, false},
		{"all", proxy.Order{All: true}, true},
	}
	for _, tt := range tests {
		before := g.do("GET", "/products/7")
		if before.header.Get("Surrogate-Key") != "" {
			t.Error("a client sees the tags")
		}
		if r, err := g.m.Invalidate(t.Context(), &tt.order); err != nil || !r.Complete {
			t.Errorf("%s: %+v, %v", tt.name, r, err)
		}
		if after := g.do("GET", "/products/7"); (after.body != before.body) != tt.want {
			t.Errorf("%s: ended is %v, want %v", tt.name, !tt.want, tt.want)
		}
	}
	var wrong *proxy.OrderError
	if _, err := g.m.Invalidate(t.Context(), &proxy.Order{}); !errors.As(err, &wrong) {
		t.Errorf("an order that names nothing: %v", err)
	}
}
