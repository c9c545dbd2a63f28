//go:build linux

package load

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// A conn is a connection with at most one request under way.
type conn struct {
	fd     int
	secure *tls.Conn // nil without TLS

	waiting bool          // for an answer
	length  int           // the answer's body must have
	left    int           // bytes of the body that are still to come; only where the head has been seen
	head    []byte        // what has come of a head that is not whole
	sent    time.Duration // when the request was sent, since the start of the loop
}

var (
	errClosed = errors.New("the server closed the connection")
	errEarly  = errors.New("the server sent what was not asked for")
)

var endOfHead = []byte("\r\n\r\n")

func connect(to netip.AddrPort, secure bool) (c conn, err error) {
	if c.fd, err = dial(to); err != nil {
		return c, err
	}
	if secure {
		c.secure, err = handshake(c.fd)
	}
	if err == nil {
		err = unix.SetNonblock(c.fd, true)
	}
	if err != nil {
		_ = unix.Close(c.fd) // the first error is the one to tell
	}
	return c, err
}

func (c *conn) write(b []byte) (int, error) {
	if c.secure != nil {
		return c.secure.Write(b)
	}
	return send(c.fd, b, 0)
}

// advance reads what there is into buf, and tells whether the answer is whole and right.
func (c *conn) advance(buf []byte) (whole bool, err error) {
	if c.secure != nil {
		return c.advanceSecure(buf)
	}
	var n int
	if c.left > 0 {
		n, err = discard(c.fd, c.left)
	} else {
		n, err = receive(c.fd, buf)
	}
	if err != nil && again(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if n == 0 {
		return false, errClosed
	}
	return c.take(buf, n)
}

// advanceSecure reads until the socket is empty, since what [tls.Conn] has read ahead raises no event.
func (c *conn) advanceSecure(buf []byte) (whole bool, err error) {
	for !whole {
		n, err := c.secure.Read(buf)
		if n > 0 {
			if whole, err = c.take(buf, n); err != nil {
				return false, err
			}
			continue
		}
		switch {
		case errors.Is(err, errAgain):
			return false, nil
		case err == io.EOF:
			return false, errClosed
		case err != nil:
			return false, err
		}
	}
	return true, nil
}

// take handles n further bytes of an answer. They are in buf, but for those of a body, of which only the number matters.
func (c *conn) take(buf []byte, n int) (whole bool, err error) {
	if !c.waiting {
		return false, errEarly
	}
	if c.left > 0 {
		if c.left -= n; c.left < 0 {
			return false, errEarly
		}
		return c.left == 0, nil
	}
	got := buf[:n]
	if len(c.head) > 0 {
		c.head = append(c.head, got...)
		got = c.head
	}
	end := bytes.Index(got, endOfHead)
	if end < 0 {
		if len(c.head) == 0 {
			c.head = append(c.head, got...)
		}
		return false, nil
	}
	length, err := checkHead(got[:end+2])
	if err != nil {
		return false, err
	}
	if length != c.length {
		return false, fmt.Errorf("Content-Length is %d, want %d", length, c.length)
	}
	c.left = length - (len(got) - end - 4)
	c.head = c.head[:0]
	if c.left < 0 {
		return false, errEarly
	}
	return c.left == 0, nil
}

var (
	statusOK      = []byte("HTTP/1.1 200")
	contentLength = []byte("content-length:")
)

// checkHead returns the Content-Length of an answer with the status 200. Other framing is an error. Each line of head ends with CR LF.
func checkHead(head []byte) (length int, err error) {
	if !bytes.HasPrefix(head, statusOK) {
		line, _, _ := bytes.Cut(head, endOfHead[:2])
		return 0, fmt.Errorf("got %q, want status 200", line)
	}
	for rest := head; len(rest) > 0; {
		end := bytes.IndexByte(rest, '\n')
		line := rest[:end+1]
		rest = rest[end+1:]
		if len(line) < len(contentLength) || line[0]|0x20 != 'c' || !bytes.EqualFold(line[:len(contentLength)], contentLength) {
			continue
		}
		text := bytes.TrimSpace(line[len(contentLength):])
		if length, err = strconv.Atoi(string(text)); err != nil {
			return 0, err
		}
		return length, nil
	}
	return 0, fmt.Errorf("no Content-Length in %q", head)
}
