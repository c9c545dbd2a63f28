package fastlane

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"
)

// ListenerOptions are what differs between listeners.
type ListenerOptions struct {
	AltSvc string // Alt-Svc of all responses; "": what is stored
	Except string // beginning of the paths that are the server's alone; "": none
}

// Listener gives an http.Server the connections that need it, as *[Conn]: those of HTTP/1 before the first request that is not
// answered here, and with that. What speaks another protocol above TLS it gives as it is.
type Listener struct {
	net.Listener
	lane *Lane
	o    ListenerOptions

	begin   sync.Once
	ready   chan accepted
	closing chan struct{}
	working sync.WaitGroup

	mu     sync.Mutex // guards the following
	closed bool
	conns  map[*Conn]struct{}
}

// accepted is what Accept returns.
type accepted struct {
	conn net.Conn
	err  error
}

// Listen returns a listener above l. Of the connections of l those of TLS must have done their handshake.
func (l *Lane) Listen(inner net.Listener, o ListenerOptions) *Listener {
	return &Listener{
		Listener: inner, lane: l, o: o,
		ready: make(chan accepted), closing: make(chan struct{}), conns: map[*Conn]struct{}{},
	}
}

// Accept returns the next connection that needs the server.
func (l *Listener) Accept() (net.Conn, error) {
	l.begin.Do(func() { l.working.Go(l.accept) })
	select {
	case a := <-l.ready:
		return a.conn, a.err
	case <-l.closing:
		return nil, net.ErrClosed
	}
}

// accept takes connections until the listener is closed. An error goes to whoever calls Accept, and the next connection is taken
// when it was heard: that is where the server waits a little before it tries again.
func (l *Listener) accept() {
	for {
		inner, err := l.Listener.Accept()
		switch secure, ok := inner.(*tls.Conn); {
		case err != nil:
			if !l.give(accepted{err: err}) || errors.Is(err, net.ErrClosed) {
				return
			}
		case ok && !speaksHTTP1(secure):
			if !l.give(accepted{conn: inner}) {
				inner.Close()
			}
		default:
			c := newConn(l, inner, secure)
			if !l.enter(c) {
				inner.Close()
				return
			}
			l.working.Go(c.run)
		}
	}
}

func speaksHTTP1(c *tls.Conn) bool {
	switch c.ConnectionState().NegotiatedProtocol {
	case "", "http/1.1":
		return true
	}
	return false
}

// give hands a connection or an error to Accept, and reports false where the listener was closed instead.
func (l *Listener) give(a accepted) bool {
	select {
	case l.ready <- a:
		return true
	case <-l.closing:
		return false
	}
}

func (l *Listener) enter(c *Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.conns[c] = struct{}{}
	}
	return !l.closed
}

func (l *Listener) leave(c *Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
}

// Close closes the listener, and the connections that wait for a request here; an answer under way is finished first. What the server
// serves is for it to close.
func (l *Listener) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return net.ErrClosed
	}
	l.closed = true
	close(l.closing)
	for c := range l.conns {
		c.retire()
	}
	l.mu.Unlock()
	return l.Listener.Close()
}

const (
	// pollFirst and pollLast are how often Shutdown looks whether connections have ended, as http.Server does.
	pollFirst = time.Millisecond
	pollLast  = 500 * time.Millisecond
)

// Shutdown waits, after Close, until the answers under way are finished. When ctx ends it cuts them off.
func (l *Listener) Shutdown(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for wait := pollFirst; l.serving(false) > 0; wait = min(2*wait, pollLast) {
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			l.serving(true)
			l.working.Wait()
			return ctx.Err()
		case <-timer.C:
		}
	}
	l.working.Wait()
	return nil
}

// serving counts the connections that the lane has, and breaks them off where it is told so.
func (l *Listener) serving(off bool) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		if c.ours.Load() {
			n++
			if off {
				c.Conn.Close() // who serves it notices
			}
		}
	}
	return n
}
