package fastlane

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cacheproxy/cacheproxy/cache"
	"github.com/cacheproxy/cacheproxy/proxy/framing"
)

// Conn is a connection that the lane and the server take turns with. To the server it is a net.Conn on which one request comes at a
// time: while that is being answered nothing follows, and while the server waits for the next, its Read is where the lane answers hits.
//
// Read, Idle and the deadlines are called by one goroutine at once, as net/http does it: its background read ends before it goes on.
// Close may be called at any time.
type Conn struct {
	net.Conn
	listener *Listener
	secure   *tls.Conn // nil without TLS
	socket   socket
	from     from

	// ours says that the lane is at work on the connection, and not the server. retired says that the lane is to let it go as soon as no
	// answer is under way. Whoever sets one of them looks at the other afterwards, so that of two who do so at once one sees both.
	ours, retired atomic.Bool
	closed        atomic.Bool

	turn turn
	hand int   // bytes of the framed request that the server has not read yet
	work *work // nil while nothing has been read that belongs to nobody yet

	head    framing.Head // of the request that is being read
	lines   int          // bytes of it that head has seen
	first   bool         // it is the first on this connection, whose deadline is set
	fresh   bool         // nothing was answered yet
	late    bool         // the deadline for what is left of a head is set
	now     time.Time    // when the last request was read
	reading time.Time    // when the read deadline for waiting was set; zero: another one is
	writing time.Time    // when the write deadline was set; zero: another one is
}

// turn says who reads from the connection, and what.
type turn uint8

const (
	waiting   turn = iota // the lane, for the next request
	handing               // the server, a framed request
	answering             // nobody: the server has all of it, and is not done
	forGood               // the server, everything
)

// work is what is needed while there is something of a request, and not while a connection waits for one. Its input is what has been
// read and belongs to nobody yet.
type work struct {
	answer     answer
	in         [inSize]byte
	start, end int
}

// inSize is the largest head that is looked at here, with what follows it.
const inSize = 8 << 10

var works = sync.Pool{New: func() any {
	w := new(work)
	w.answer.key, w.answer.head = make([]byte, 0, 512), make([]byte, 0, 2<<10)
	return w
}}

func (w *work) input() []byte { return w.in[w.start:w.end] }

func newConn(l *Listener, inner net.Conn, secure *tls.Conn) *Conn {
	c := &Conn{Conn: inner, listener: l, secure: secure, first: true, fresh: true, now: time.Now()}
	c.from = from{scheme: "http", altSvc: l.o.AltSvc, except: l.o.Except}
	if secure != nil {
		c.from.scheme = "https"
	}
	c.ours.Store(true)
	c.socket.init(c)
	return c
}

// Fresh reports whether nothing was answered on the connection yet.
func (c *Conn) Fresh() bool { return c.fresh }

// TLS returns the TLS connection beneath, or nil.
func (c *Conn) TLS() *tls.Conn { return c.secure }

// run is the lane's own turn with a new connection.
func (c *Conn) run() {
	if limit := c.listener.lane.o.HeaderTimeout; limit > 0 {
		_ = c.Conn.SetReadDeadline(c.now.Add(limit)) // a connection without deadlines has none
	}
	if peer, err := netip.ParseAddrPort(c.Conn.RemoteAddr().String()); err == nil { // it may wait for a header of the PROXY protocol
		c.from.client = peer.Addr().Unmap()
	}
	if err := c.serve(); err != nil || !c.listener.give(accepted{conn: c}) {
		c.end()
	}
}

// Read implements net.Conn for the server.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if c.turn == waiting {
		c.ours.Store(true) // not before: a server that stops may close the connection instead of reading on
		if err := c.serve(); err != nil {
			return 0, err
		}
	}
	switch {
	case c.turn == handing:
		n := copy(p, c.work.input()[:c.hand])
		c.took(n)
		if c.hand -= n; c.hand == 0 {
			c.turn = answering
		}
		return n, nil
	case c.turn == answering:
		return c.watch(p)
	case c.work != nil:
		n := copy(p, c.work.input())
		c.took(n)
		return n, nil
	default:
		return c.Conn.Read(p)
	}
}

// watch is what the server's background read gets while it answers a request: an error when the client goes away, and never a byte. A
// byte begins another request, which the lane keeps. Then, or if one was kept before, the read ends with nothing, which the server
// takes for the end of its watch.
func (c *Conn) watch(p []byte) (int, error) {
	if c.work != nil {
		return 0, nil
	}
	n, err := c.Conn.Read(p[:1])
	if n > 0 {
		c.work = works.Get().(*work)
		c.work.end = copy(c.work.in[:], p[:n])
		return 0, nil
	}
	return 0, err
}

// Idle tells the lane that the server has answered the request that it was handed, and waits for another. It is for the ConnState hook
// of http.Server, with http.StateIdle.
func (c *Conn) Idle() {
	if c.turn == answering {
		c.turn = waiting
		c.reading, c.writing = time.Time{}, time.Time{}
	}
}

// took notes that n bytes of the input have gone to where they belong.
func (c *Conn) took(n int) {
	if c.work.start += n; c.work.start == c.work.end {
		c.release()
	}
}

// release gives the buffers back, and lets go of the cache's memory.
func (c *Conn) release() {
	c.work.start, c.work.end = 0, 0
	c.work.answer.outcome = cache.Outcome{}
	works.Put(c.work)
	c.work = nil
}

// SetReadDeadline implements net.Conn for the server. While the lane reads, its own counts.
func (c *Conn) SetReadDeadline(t time.Time) error {
	if c.turn == waiting {
		return nil
	}
	return c.Conn.SetReadDeadline(t)
}

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.Conn.SetWriteDeadline(t))
}

// CloseWrite ends the answers, where the connection can do so without ending the requests; net/http looks for it.
func (c *Conn) CloseWrite() error {
	if inner, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return inner.CloseWrite()
	}
	return nil
}

// Close closes the connection. Where the lane has it, an answer that is under way is finished first: http.Server closes connections
// that it takes for idle.
func (c *Conn) Close() error {
	if c.ours.Load() {
		c.retire()
		return nil
	}
	return c.end()
}

// retire lets the connection go as soon as the lane is not answering.
func (c *Conn) retire() {
	c.retired.Store(true)
	if c.ours.Load() {
		_ = c.Conn.SetReadDeadline(time.Unix(1, 0)) // ends its wait; it does not end a write
	}
}

func (c *Conn) end() error {
	c.ours.Store(false)
	if c.closed.Swap(true) {
		return net.ErrClosed
	}
	c.listener.leave(c)
	return c.Conn.Close()
}

// errRetired ends a connection that is to be let go.
var errRetired = fmt.Errorf("%w: the listener is closed", io.EOF)
