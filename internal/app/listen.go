package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/cacheproxy/cacheproxy/internal/config"
)

// listen opens the listeners.
func (a *App) listen(cfg *config.Config) (err error) {
	a.gate = newGate(connectionLimit(cfg))
	for _, l := range cfg.Listen {
		opened, err := net.Listen("tcp", l.Address)
		if err != nil {
			return fmt.Errorf("listen on %s: %w", l.Address, err)
		}
		a.main = append(a.main, opened)
	}
	if a.side, err = net.Listen("tcp", cfg.Admin.Address); err != nil {
		return fmt.Errorf("listen on %s for the administration API: %w", cfg.Admin.Address, err)
	}
	return nil
}

// writeTimeout bounds an answer whose client reads nothing. The proxy puts it off for as long as the client takes something.
const writeTimeout = time.Minute

// startMain starts a server for each main listener. HTTP/2 without TLS is spoken with clients that begin with it.
func (a *App) startMain(run *runner) {
	limits := a.current.Load().cfg.Limits
	for _, l := range a.main {
		protocols := new(http.Protocols)
		protocols.SetHTTP1(true)
		protocols.SetUnencryptedHTTP2(true)
		a.serve(run, "listener "+l.Addr().String(), a.gate.wrap(l), &http.Server{
			Handler:           a.proxy,
			ReadHeaderTimeout: limits.HeaderTimeout,
			WriteTimeout:      writeTimeout,
			IdleTimeout:       limits.IdleTimeout,
			MaxHeaderBytes:    int(limits.HeaderBytes),
			Protocols:         protocols,
		})
	}
}

// The administration API has no long calls: a minute is for a slow client.
const adminTimeout = time.Minute

func (a *App) startAdmin(run *runner) {
	a.serve(run, "administration listener", a.side, &http.Server{
		Handler:           a.admin,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       adminTimeout,
		WriteTimeout:      adminTimeout,
		IdleTimeout:       2 * time.Minute,
	})
}

// serve runs a server on l. Stopping it closes the listener at once and the connections as their requests end; when the time is up
// it closes them all.
func (a *App) serve(run *runner, name string, l net.Listener, s *http.Server) {
	s.ErrorLog = slog.NewLogLogger(a.log.Handler(), slog.LevelWarn)
	run.start(name, func(context.Context) error {
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	}, func(ctx context.Context) error {
		if err := s.Shutdown(ctx); err != nil {
			return errors.Join(err, s.Close())
		}
		return nil
	})
}
