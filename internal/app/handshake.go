package app

import (
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"
)

// handshaker is a listener above another one that does the TLS handshakes itself, each in a goroutine of its own, and gives out
// connections that have done theirs. net/http would do them too, but after it only HTTP/2 can be told from HTTP/1 that needs a guard.
type handshaker struct {
	net.Listener
	config  *tls.Config
	timeout time.Duration // for one handshake
	log     *slog.Logger

	begin   sync.Once
	ready   chan accepted
	closing chan struct{}
	working sync.WaitGroup

	mu     sync.Mutex // guards the following
	closed bool
	conns  map[net.Conn]bool // in their handshake
}

// accepted is what Accept returns.
type accepted struct {
	conn net.Conn
	err  error
}

func newHandshaker(l net.Listener, config *tls.Config, timeout time.Duration, log *slog.Logger) *handshaker {
	return &handshaker{
		Listener: l, config: config, timeout: timeout, log: log,
		ready: make(chan accepted), closing: make(chan struct{}), conns: map[net.Conn]bool{},
	}
}

// Accept returns the next connection that has done its handshake, as a *tls.Conn.
func (h *handshaker) Accept() (net.Conn, error) {
	h.begin.Do(func() { h.working.Go(h.accept) })
	select {
	case a := <-h.ready:
		return a.conn, a.err
	case <-h.closing:
		return nil, net.ErrClosed
	}
}

// accept takes connections until the listener is closed. An error goes to whoever calls Accept, and the next connection is taken
// when it was heard: that is where the server waits a little before it tries again.
func (h *handshaker) accept() {
	for {
		c, err := h.Listener.Accept()
		if err != nil {
			if !h.give(accepted{err: err}) || errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		if !h.enter(c) {
			c.Close()
			return
		}
		h.working.Go(func() {
			defer h.leave(c)
			secure := h.handshake(c)
			if secure != nil && !h.give(accepted{conn: secure}) {
				secure.Close()
			}
		})
	}
}

// give hands a connection or an error to Accept, and reports false where the listener was closed instead.
func (h *handshaker) give(a accepted) bool {
	select {
	case h.ready <- a:
		return true
	case <-h.closing:
		return false
	}
}

func (h *handshaker) enter(c net.Conn) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.conns[c] = true
	}
	return !h.closed
}

func (h *handshaker) leave(c net.Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.conns, c)
}

// handshake returns nil where it did not succeed. That is nothing to be told of: it is the commonest thing on a public address.
func (h *handshaker) handshake(c net.Conn) *tls.Conn {
	secure := tls.Server(c, h.config)
	err := c.SetDeadline(time.Now().Add(h.timeout))
	if err == nil {
		err = secure.Handshake()
	}
	if err == nil {
		err = c.SetDeadline(time.Time{})
	}
	if err == nil {
		return secure
	}
	h.log.Debug("TLS handshake failed", "peer", c.RemoteAddr().String(), "error", err)
	var plain tls.RecordHeaderError
	if errors.As(err, &plain) && plain.Conn != nil && looksLikeHTTP(plain.RecordHeader) {
		_, _ = io.WriteString(c, "HTTP/1.0 400 Bad Request\r\nConnection: close\r\n\r\nThis port speaks HTTPS, and was asked in HTTP.\n") // or it does not learn why
	}
	c.Close()
	return nil
}

// looksLikeHTTP reports whether a client that was to begin with TLS has begun with a request.
func looksLikeHTTP(record [5]byte) bool {
	switch string(record[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO":
		return true
	}
	return false
}

// Close closes the listener and the connections whose handshake is not done, and waits for these to notice.
func (h *handshaker) Close() error {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return net.ErrClosed
	}
	h.closed = true
	close(h.closing)
	err := h.Listener.Close()
	for c := range h.conns {
		c.Close() // its handshake fails then
	}
	h.mu.Unlock()
	h.working.Wait()
	return err
}
