package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// conn counts what passes over a connection to an upstream, so that it is known
// whether a request was sent, and an answer begun, when the connection is lost.
// Under TLS it counts what is inside. Read and Write are called by one goroutine
// each; the counters are read by those who wait for a response.
type conn struct {
	net.Conn
	socket net.Conn      // below TLS
	idle   time.Duration // how long a Write may take

	read    atomic.Int64
	begun   atomic.Int64 // bytes that Write was called with
	written atomic.Int64 // bytes that it has written
	lost    atomic.Pointer[loss]

	ended   atomic.Bool // Read has come to the end: what Write says from then on tells nothing new
	writing sync.Mutex  // held by a Write
}

// loss is how a connection ended, set before the one who is told of it is told.
type loss struct {
	err    error
	begun  int64 // of conn, when it was noticed
	unread bool  // the peer's system refused or did not acknowledge what was sent
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.read.Add(int64(n))
	if err != nil && !errors.Is(err, net.ErrClosed) { // not by our own closing
		c.end(err)
	}
	return n, err
}

// end notes how Read came to its end. A Write that goes on at the same time is
// waited for, because whether its bytes were taken cannot be asked before it has
// handed them over; it is made to fail if it does not go on by itself.
func (c *conn) end(err error) {
	begun := c.begun.Load()
	c.ended.Store(true)
	if !c.writing.TryLock() {
		_ = c.Conn.SetWriteDeadline(time.Now()) // fails on a closed connection, where Write does not wait
		c.writing.Lock()
	}
	defer c.writing.Unlock()
	c.lost.CompareAndSwap(nil, &loss{err: err, begun: begun, unread: isReset(err) || unacknowledged(c.socket)})
}

func (c *conn) Write(p []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.begun.Add(int64(len(p)))
	// A peer that takes nothing must not hold a request for ever. Where this
	// fails the connection is closed, and Write says so.
	_ = c.Conn.SetWriteDeadline(time.Now().Add(c.idle))
	n, err := c.Conn.Write(p)
	c.written.Add(int64(n))
	if err != nil && !errors.Is(err, net.ErrClosed) && !c.ended.Load() {
		c.lost.CompareAndSwap(nil, &loss{err: err, begun: c.begun.Load(), unread: isReset(err)})
	}
	return n, err
}

// dialer opens connections to one target.
type dialer struct {
	connect, idle time.Duration
	tls           *tls.Config // for https; nil for http
}

// dialError marks the errors of dialing among those of a round trip.
type dialError struct{ error }

func (e *dialError) Unwrap() error { return e.error }

// dial is for http.Transport, with and without TLS. The whole of it, handshake
// included, may take the connect time-out.
func (d *dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.connect)
	defer cancel()
	socket, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, &dialError{err}
	}
	c := &conn{Conn: socket, socket: socket, idle: d.idle}
	if d.tls != nil {
		secure := tls.Client(socket, d.tls)
		if err := secure.HandshakeContext(ctx); err != nil {
			socket.Close() // the handshake's error is the one that counts
			return nil, &dialError{err}
		}
		c.Conn = secure
	}
	return c, nil
}

// isReset reports whether the peer's system has refused what was sent. A process
// can bring that about too, with a lingering time of 0, after it has read the
// request; what is sent again on this ground is safe in the sense of RFC 9110,
// section 9.2.1.
func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
