package app

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cacheproxy/cacheproxy/internal/config"
	"github.com/cacheproxy/cacheproxy/internal/metrics"
)

// gate counts the client connections of all main listeners and turns away those that are too many. It costs an atomic addition for
// a connection, and nothing for a request.
type gate struct {
	limit    atomic.Int64
	open     atomic.Int64
	refused  atomic.Uint64
	partings chan struct{} // one value for each connection that is being turned away politely
}

// maxPartings is how many connections are turned away politely at once; further ones are just closed.
const maxPartings = 64

func newGate(limit int64) *gate {
	g := &gate{partings: make(chan struct{}, maxPartings)}
	g.limit.Store(limit)
	return g
}

func (g *gate) stats() metrics.Connections {
	return metrics.Connections{Open: g.open.Load(), Limit: g.limit.Load(), Refused: g.refused.Load()}
}

// enter lets one more connection in, if there is room for it. Who was let in must leave in the end.
func (g *gate) enter() bool {
	if g.open.Add(1) <= g.limit.Load() {
		return true
	}
	g.open.Add(-1)
	g.refused.Add(1)
	return false
}

func (g *gate) leave() { g.open.Add(-1) }

// wrap returns l with the limit applied. A client that is turned away is told why in plain HTTP, unless it expects TLS.
func (g *gate) wrap(l net.Listener, encrypted bool) net.Listener {
	return &gatedListener{Listener: l, gate: g, encrypted: encrypted}
}

type gatedListener struct {
	net.Listener
	gate      *gate
	encrypted bool
	parting   sync.WaitGroup
}

// Accept returns the next connection that there is room for.
func (l *gatedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		switch {
		case err != nil:
			return nil, err
		case l.gate.enter():
			return l.gate.admit(c), nil
		case l.encrypted:
			c.Close()
		default:
			l.refuse(c)
		}
	}
}

// Close closes the listener and waits for the connections that are being turned away.
func (l *gatedListener) Close() error {
	err := l.Listener.Close()
	l.parting.Wait()
	return err
}

const refusal = "HTTP/1.1 503 Service Unavailable\r\n" +
	"Content-Type: text/plain; charset=utf-8\r\nContent-Length: 22\r\nCache-Control: no-store\r\nRetry-After: 1\r\nConnection: close\r\n\r\n" +
	"Too many connections.\n"

// partingTime is how long a client that is turned away may take to read why.
const partingTime = 500 * time.Millisecond

// refuse answers a connection that is one too many without reading its request, and closes it. A connection that is closed with
// unread bytes is reset, which may take the answer from the client again; so what the client sends is read for a moment.
func (l *gatedListener) refuse(c net.Conn) {
	select {
	case l.gate.partings <- struct{}{}:
	default:
		c.Close()
		return
	}
	l.parting.Go(func() {
		defer func() { <-l.gate.partings }()
		defer c.Close()
		if c.SetDeadline(time.Now().Add(partingTime)) != nil {
			return
		}
		if _, err := io.WriteString(c, refusal); err != nil {
			return
		}
		if t, ok := c.(*net.TCPConn); ok && t.CloseWrite() == nil {
			_, _ = io.Copy(io.Discard, io.LimitReader(c, 64<<10)) // the deadline ends it, or the client
		}
	})
}

// admit counts a connection until it is closed. net/http finds the methods of a TCP connection on it, such as ReadFrom.
func (g *gate) admit(c net.Conn) net.Conn {
	if t, ok := c.(*net.TCPConn); ok {
		return &admittedTCP{TCPConn: t, place: place{gate: g}}
	}
	return &admitted{Conn: c, place: place{gate: g}}
}

// place is what a connection takes up.
type place struct {
	gate *gate
	left atomic.Bool
}

// leave makes room for another connection, once.
func (p *place) leave() {
	if p.left.CompareAndSwap(false, true) {
		p.gate.leave()
	}
}

type admittedTCP struct {
	*net.TCPConn
	place
}

// Close closes the connection and makes room for another.
func (c *admittedTCP) Close() error {
	c.leave()
	return c.TCPConn.Close()
}

type admitted struct {
	net.Conn
	place
}

// Close closes the connection and makes room for another.
func (c *admitted) Close() error {
	c.leave()
	return c.Conn.Close()
}

const (
	// reserve is how many files are left for what is no client connection: listeners, log, configuration, watches, a scrape.
	reserve = 128
	// fewest is how many connections there may be even where the file limit is small.
	fewest = 64
	// most is taken where the system names no limit.
	most = 1 << 20
)

// connectionLimit is how many client connections there may be. Where the configuration does not say, they get the files that
// upstreams and the process itself do not need, but at least half of them.
func connectionLimit(cfg *config.Config) int64 {
	if cfg.Limits.Connections > 0 {
		return int64(cfg.Limits.Connections)
	}
	files := min(fileLimit(), most)
	needed := int64(reserve)
	for _, u := range cfg.Upstreams {
		needed += int64(u.MaxConnections)
		if len(u.Targets) > 1 {
			needed += int64(u.MaxConnections) // as many again may be kept for their next request
		}
	}
	return max(files-needed, files/2, fewest)
}
