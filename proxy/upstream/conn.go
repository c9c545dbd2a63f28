package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
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

	open   *atomic.Int64 // counts the target's connections; nil in tests
	closed atomic.Bool

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
	if err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, os.ErrDeadlineExceeded) { // not by our own doing
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

// Close closes the connection. Calling it again does nothing more.
func (c *conn) Close() error {
	if c.open != nil && c.closed.CompareAndSwap(false, true) {
		c.open.Add(-1)
	}
	return c.Conn.Close()
}

// dialer opens connections to one target.
type dialer struct {
	address address
	name    *name // of the target's host; nil where that is an address or a socket
	timeout Timeouts
	tls     *tls.Config // for https; nil else
	open    *atomic.Int64
}

// dialError marks the errors of dialing among those of a round trip.
type dialError struct{ error }

func (e *dialError) Unwrap() error { return e.error }

// errPlain says that the target does not speak HTTP/2 over TLS.
var errPlain = errors.New("the target did not choose HTTP/2")

// plain is for an http.Transport of HTTP/1.1, with and without TLS.
func (d *dialer) plain(ctx context.Context, _, _ string) (net.Conn, error) {
	c, err := d.dial(ctx, "http/1.1")
	if err != nil {
		return nil, err // not c: it would be an interface that holds nil
	}
	return c, nil
}

// dial opens a connection. The whole of it, looking up the name and the TLS
// handshake included, may take the connect time-out. Over TLS the protocols are
// offered; where the first is h2, another that is chosen is an error, errPlain.
func (d *dialer) dial(ctx context.Context, protocols ...string) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout.Connect)
	defer cancel()
	socket, err := d.connect(ctx)
	if err != nil {
		return nil, &dialError{err}
	}
	c := &conn{Conn: socket, socket: socket, idle: d.timeout.Idle, open: d.open}
	d.open.Add(1)
	if d.tls != nil {
		if err := c.secure(ctx, d.tls, protocols); err != nil {
			c.Close() // the handshake's error is the one that counts
			return nil, &dialError{err}
		}
	}
	return c, nil
}

func (c *conn) secure(ctx context.Context, settings *tls.Config, protocols []string) error {
	settings = settings.Clone()
	settings.NextProtos = protocols
	secure := tls.Client(c.socket, settings)
	if err := secure.HandshakeContext(ctx); err != nil {
		return err
	}
	if protocols[0] == "h2" && secure.ConnectionState().NegotiatedProtocol != "h2" {
		return errPlain
	}
	c.Conn = secure
	return nil
}

// connect opens the connection below TLS.
func (d *dialer) connect(ctx context.Context) (net.Conn, error) {
	network, address, ok := d.address.socket()
	if ok {
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	addresses, err := d.name.resolve(ctx)
	if err != nil {
		return nil, err
	}
	_, port := d.address.hostPort()
	for i, a := range addresses {
		var c net.Conn
		if c, err = dialOne(ctx, net.JoinHostPort(a.String(), port), len(addresses)-i); err == nil {
			return c, nil
		}
	}
	return nil, err
}

// dialOne connects to one of several addresses: it may take its part of the time
// that is left, so that one that does not answer leaves some for the others.
func dialOne(ctx context.Context, address string, left int) (net.Conn, error) {
	if deadline, ok := ctx.Deadline(); ok && left > 1 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/time.Duration(left))
		defer cancel()
	}
	return new(net.Dialer).DialContext(ctx, "tcp", address)
}

// isReset reports whether the peer's system has refused what was sent. A process
// can bring that about too, with a lingering time of 0, after it has read the
// request; what is sent again on this ground is safe in the sense of RFC 9110,
// section 9.2.1.
func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
