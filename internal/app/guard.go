package app

import (
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/cacheproxy/cacheproxy/proxy/fastlane"
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
	secure, _ := c.(*tls.Conn)
	if lane, ok := c.(*fastlane.Conn); ok {
		g.lane, secure = lane, lane.TLS()
	}
	switch {
	case secure == nil:
		g.requests.Preface = g.lane == nil || g.lane.Fresh()
		return &g, nil
	case speaksHTTP1(secure):
		return &secureGuard{g, secure}, nil
	}
	return c, nil
}

func speaksHTTP1(c *tls.Conn) bool {
	switch c.ConnectionState().NegotiatedProtocol {
	case "", "http/1.1":
		return true
	}
	return false
}

// followState is an http.Server's ConnState for connections that come from wrap: the fast lane has to know when an answer is finished.
func followState(c net.Conn, state http.ConnState) {
	if state != http.StateIdle {
		return
	}
	switch g := c.(type) {
	case *guard:
		g.idle()
	case *secureGuard:
		g.idle()
	}
}

func (g *guard) idle() {
	if g.lane != nil {
		g.lane.Idle()
	}
}

// guard hands on what a client sends as long as it has one meaning only. In place of what completes a request that is at fault, and of
// all that follows, the reader gets a line that fits nowhere, and then the end. net/http answers that with 400, and closes. An error
// would not do: net/http reads ahead while it serves the request before, and an error would cancel that.
type guard struct {
	net.Conn
	guards   *guards
	lane     *fastlane.Conn // that Conn is; nil: it is not
	requests framing.Requests
	refused  bool
	rest     string // what is still to be read where a request was refused
}

// misfit is in no request line, field line, chunk size, end of a chunk or trailer.
const misfit = "\x00\n"

// Read implements net.Conn.
func (g *guard) Read(p []byte) (int, error) {
	if g.refused {
		return g.readRest(p)
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
	return g.readRest(p)
}

func (g *guard) readRest(p []byte) (int, error) {
	n := copy(p, g.rest)
	if g.rest = g.rest[n:]; n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

const (
	// drainTime and drainBytes bound what is still read of a client that is refused. A connection that is closed with unread bytes
	// is reset, which may take the answer from the client again.
	drainTime  = 20 * time.Millisecond
	drainBytes = 256 << 10
)

func (g *guard) refuse(fault error) {
	g.refused, g.rest = true, misfit
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
