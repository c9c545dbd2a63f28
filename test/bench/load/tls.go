//go:build linux

package load

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

var clientConfig = &tls.Config{
	InsecureSkipVerify: true, // a benchmark has no secrets, and the certificate was made a minute ago
	MinVersion:         tls.VersionTLS13,
	NextProtos:         []string{"http/1.1"},
}

// handshake makes one on a socket that blocks.
func handshake(fd int) (*tls.Conn, error) {
	c := tls.Client(socket{fd}, clientConfig)
	if err := c.HandshakeContext(context.Background()); err != nil {
		return nil, fmt.Errorf("handshake: %w", err)
	}
	return c, nil
}

// A socket is a bare descriptor as a [net.Conn]. Once it does not block, [tls.Conn] can still read from it: an error that is temporary
// leaves the connection as it was, with what has been read of a record.
type socket struct{ fd int }

// errAgain says that the socket is empty.
var errAgain net.Error = temporary{}

type temporary struct{}

func (temporary) Error() string   { return "the socket is empty" }
func (temporary) Timeout() bool   { return true }
func (temporary) Temporary() bool { return true }

func (s socket) Read(b []byte) (int, error) {
	n, err := unix.Read(s.fd, b)
	switch {
	case err != nil && again(err):
		return 0, errAgain
	case err != nil:
		return 0, err
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

func (s socket) Write(b []byte) (int, error) {
	for written := 0; ; {
		n, err := unix.Write(s.fd, b[written:])
		if err != nil {
			return written, err
		}
		if written += n; written == len(b) {
			return written, nil
		}
	}
}

func (s socket) Close() error                     { return unix.Close(s.fd) }
func (s socket) LocalAddr() net.Addr              { return nil }
func (s socket) RemoteAddr() net.Addr             { return nil }
func (s socket) SetDeadline(time.Time) error      { return os.ErrNoDeadline }
func (s socket) SetReadDeadline(time.Time) error  { return os.ErrNoDeadline }
func (s socket) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }

// runFresh makes a connection for each request. Handshakes cannot be made without blocking here, so each of the job's connections is a
// goroutine; next to a handshake that costs nothing.
func runFresh(job Job, after *Usage) (r Result, err error) {
	to, err := netip.ParseAddrPort(job.Addr)
	if err != nil {
		return r, err
	}
	l := &loop{job: job}
	if l.choose, err = newChooser(job.Targets); err != nil {
		return r, err
	}
	if err := l.fresh(to, job.Warm); err != nil {
		return r, err
	}
	l.times = Histogram{}
	if err := l.measure(&r, func() error { return l.fresh(to, job.For) }); err != nil {
		return r, err
	}
	return r, l.settle(after)
}

// fresh asks for so long.
func (l *loop) fresh(to netip.AddrPort, d time.Duration) error {
	errs := make(chan error, l.job.Conns)
	end := time.Now().Add(d)
	var mu sync.Mutex // of times
	for range l.job.Conns {
		choose := *l.choose
		choose.buf = nil
		go func() {
			var err error
			buf := make([]byte, 64<<10)
			for err == nil && time.Now().Before(end) {
				begin := time.Now()
				if err = once(to, l.job.TLS, &choose, buf); err == nil {
					mu.Lock()
					l.times.Add(time.Since(begin))
					mu.Unlock()
				}
			}
			errs <- err
		}()
	}
	var first error
	for range l.job.Conns {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}

// once connects, asks and reads the answer, all of it blocking.
func once(to netip.AddrPort, secure bool, choose *chooser, buf []byte) error {
	c := conn{}
	var err error
	if c.fd, err = dial(to); err != nil {
		return err
	}
	defer unix.Close(c.fd)
	if secure {
		if c.secure, err = handshake(c.fd); err != nil {
			return err
		}
	}
	request, length := choose.next()
	c.length, c.waiting = length, true
	if _, err := c.write(request); err != nil {
		return err
	}
	for whole := false; !whole; {
		if secure {
			whole, err = c.advance(buf)
		} else {
			whole, err = c.await(buf)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// await is advance on a socket that blocks: it lets the scheduler know, so that others go on.
func (c *conn) await(buf []byte) (whole bool, err error) {
	n, err := unix.Read(c.fd, buf)
	switch {
	case err == unix.EINTR:
		return false, nil
	case err != nil:
		return false, err
	case n == 0:
		return false, errClosed
	}
	return c.take(buf, n)
}
