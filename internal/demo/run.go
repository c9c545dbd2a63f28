package demo

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"
)

// grace is how long a request under way may take when the shop closes. The
// slowest page takes a third of a second.
const grace = 2 * time.Second

// Run serves a new shop on l until ctx is done. It closes l, and returns nil
// where ctx ended it, when all requests have been answered.
func Run(ctx context.Context, l net.Listener) error {
	srv := &http.Server{Handler: Handler(), ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	err := srv.Shutdown(stop)
	if err != nil {
		err = errors.Join(err, srv.Close())
	}
	<-served
	return err
}
