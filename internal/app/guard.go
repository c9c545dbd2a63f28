package app

import (
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/cacheproxy/cacheproxy/proxy/framing"
)

// guards see to it that net/http reads no request that somebody else could read otherwise.
type guards struct {
	log     *slog.Logger
	refused atomic.Uint64 // requests
}

// headSlack is how much more than its limit for heads net/http reads before it answers 431.
const headSlack = 4 << 10

// wrap returns l with a guard before each connection that does not speak HTTP/2. headerBytes is the server's limit for heads.
func (gs *guards) wrap(l net.Listener, headerBytes int) net.Listener {
	return &guardedListener{l, gs, headerBytes}
}

type guardedListener struct {
	net.Listener
	guards      *guards
	headerBytes int
}

// Accept returns the next connection.
func (l *guardedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	g := guard{Conn: c, guards: l.guards, requests: framing.Requests{MaxLine: l.headerBytes + 2*headSlack}}
	secure, ok := c.(*tls.Conn)
	if !ok {
		g.requests.Preface = true
		return &g, nil
	}
	switch secure.ConnectionState().NegotiatedProtocol {
	case "", "http/1.1":
		return &secureGuard{g, secure}, nil
	}
	return c, nil
}

// guard hands on what a client sends as long as it has one meaning only. A request that is at fault is never handed on whole; the
// reader gets the fault as an error in place of the rest, which net/http answers with 400 after the requests before it, and closes.
type guard struct {
	net.Conn
	guards   *guards
	requests framing.Requests
	fault    error
}

// Read implements net.Conn.
func (g *guard) Read(p []byte) (int, error) {
	if g.fault != nil {
		return 0, g.fault
	}
	n, err := g.Conn.Read(p)
	if n == 0 {
		return 0, err
	}
	passed, fault := g.requests.Check(p[:n])
	if fault == nil {
		return n, err
	}
	g.refuse(fault)
	if passed > 0 {
		return passed, nil
	}
	return 0, fault
}

const (
	// drainTime and drainBytes bound what is still read of a client that is refused. A connection that is closed with unread bytes
	// is reset, which may take the answer from the client again.
	drainTime  = 20 * time.Millisecond
	drainBytes = 256 << 10
)

func (g *guard) refuse(fault error) {
	g.fault = fault
	g.guards.refused.Add(1)
	g.guards.log.Debug("request refused", "peer", g.Conn.RemoteAddr().String(), "fault", fault.Error())
	if g.Conn.SetReadDeadline(time.Now().Add(drainTime)) == nil {
		_, _ = io.CopyN(io.Discard, g.Conn, drainBytes) // the deadline ends it, or the client
	}
}

// Tunnel says that the connection was upgraded to another protocol. No Read may be under way.
func (g *guard) Tunnel() { g.requests.Tunnel() }

// CloseWrite ends the answers, where the connection can do so without ending the requests; net/http looks for it.
func (g *guard) CloseWrite() error {
	if c, ok := g.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}

// secureGuard is a guard above TLS. net/http asks it for what Request.TLS says.
type secureGuard struct {
	guard
	tls *tls.Conn
}

// ConnectionState returns what the handshake led to.
func (g *secureGuard) ConnectionState() tls.ConnectionState { return g.tls.ConnectionState() }
