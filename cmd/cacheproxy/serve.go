package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/cacheproxy/cacheproxy/internal/app"
	"github.com/cacheproxy/cacheproxy/internal/config"
)

var errNoUpstream = errors.New(`nothing to serve: name an upstream, or a configuration file that does

  cacheproxy serve --upstream http://127.0.0.1:3000
  cacheproxy serve --config cacheproxy.yaml
  cacheproxy serve --demo                              fronts a small shop that is built in`)

func serveCommand() *cobra.Command {
	var o app.Options
	c := &cobra.Command{
		Use:   "serve [--config FILE] [--upstream URL] [--demo]",
		Short: "Serve: cache in front of an upstream",
		Long: "Serve: cache in front of an upstream, until SIGTERM or SIGINT. A second one ends it at once.\n" +
			"SIGHUP, or a change of the configuration file, reloads; a bad file changes nothing.\n" +
			"A flag goes before the environment, which goes before the file, which goes before the defaults.",
		Example: "  cacheproxy serve --upstream http://127.0.0.1:3000\n  cacheproxy serve --config cacheproxy.yaml --log-level debug",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			switch {
			case o.Demo && o.Config.Flags.Upstream != "":
				return errors.New("--demo brings an upstream of its own; leave --upstream out")
			case o.Config.File == "" && o.Config.Flags.Upstream == "" && !o.Demo:
				return errNoUpstream
			}
			o.Version, o.Stderr = version, c.ErrOrStderr()
			return serve(c.Context(), o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.Config.File, "config", "", "configuration `FILE`")
	f.StringVar(&o.Config.Flags.Upstream, "upstream", "", "`URL` of the origin; with a file, an upstream named cli that takes what no route matches")
	f.StringVar(&o.Config.Flags.Listen, "listen", "", "`ADDR` to serve clients on, in place of all in the file (default :8080)")
	f.StringVar(&o.Config.Flags.Admin, "admin", "", "`ADDR` of the administration API (default 127.0.0.1:8081)")
	f.StringVar(&o.Config.Flags.Redis, "redis", "", "`URL` of Redis, to share what is stored and to keep it over a restart")
	f.BoolVar(&o.Demo, "demo", false, "front a small shop that is built in")
	f.StringVar(&o.Config.Flags.LogLevel, "log-level", "", "debug|info|warn|error")
	f.StringVar(&o.Config.Flags.LogFormat, "log-format", "", "text|json")
	return c
}

// serve runs an instance. It is the one place where signals are read.
func serve(ctx context.Context, o app.Options) error {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)

	a, err := app.New(o)
	if err != nil {
		return startError(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	for stopping := false; ; {
		select {
		case err := <-ended:
			if err != nil {
				return failure{err}
			}
			return nil
		case s := <-signals:
			switch {
			case s == syscall.SIGHUP:
				_, _ = a.Reload("SIGHUP") // it has logged why it was refused
			case stopping:
				return failure{fmt.Errorf("ended at once by a second %v", s)}
			default:
				stopping = true
				cancel()
			}
		}
	}
}

// startError tells a refused configuration from what failed.
func startError(err error) error {
	var refused *config.Error
	if errors.As(err, &refused) {
		return err
	}
	return failure{err}
}
