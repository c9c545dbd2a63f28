package upstream

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"sync/atomic"
	"time"
)

// line is a connection of HTTP/1.1 that carries one request at a time.
type line struct {
	conn  *conn
	in    *bufio.Reader
	from  source
	out   []byte // the request's head; its room is used again
	since time.Time
}

func newLine(c *conn) *line {
	l := &line{conn: c, from: source{conn: c}}
	l.in = bufio.NewReader(&l.from)
	return l
}

// abort ends what is under way on the line, from another goroutine.
func (l *line) abort() { l.conn.Close() } // it is of no use whatever the error

var errLongHead = fmt.Errorf("the response's head exceeded %d bytes", maxHeadBytes)

// source reads from a connection and bounds it: a head in its length, and each
// wait for a piece of a body in time.
type source struct {
	conn *conn
	left int           // of a head; -1: it is no head
	idle time.Duration // how long a piece of a body may take; 0: it is a head, whose deadline stands
	err  error         // of the last Read; who reads a head by net/http is not told of it
}

func (s *source) Read(p []byte) (int, error) {
	if s.left == 0 {
		s.err = errLongHead
		return 0, s.err
	}
	if s.left > 0 && len(p) > s.left {
		p = p[:s.left]
	}
	if s.idle > 0 {
		_ = s.conn.SetReadDeadline(time.Now().Add(s.idle)) // fails on a closed connection, and Read says so
	}
	n, err := s.conn.Read(p)
	if s.left > 0 {
		s.left -= n
	}
	if s.idle > 0 && errors.Is(err, os.ErrDeadlineExceeded) {
		err = errSilent
	}
	s.err = err
	return n, err
}

// exchange sends the attempt's request and reads the head of its response.
func (l *line) exchange(a *attempt, limits Timeouts) (*http.Response, error) {
	host := a.req.Host
	if a.u.options.Host == HostTarget {
		host = a.visit.address.authority()
	}
	l.out = appendRequest(l.out[:0], a.req, host)
	if _, err := l.conn.Write(l.out); err != nil {
		return nil, err
	}
	if cap(l.out) > 4<<10 {
		l.out = nil // rare, and it would stay for as long as the line
	}
	l.from.left, l.from.idle = maxHeadBytes, 0
	if limits.ResponseHeader > 0 {
		_ = l.conn.SetReadDeadline(time.Now().Add(limits.ResponseHeader)) // likewise
	}
	if _, err := l.in.Peek(1); err != nil {
		return nil, err
	}
	response, err := l.final(a)
	if err != nil && l.from.err != nil {
		return nil, l.from.err
	}
	if err != nil {
		return nil, err
	}
	if hidesFraming(response.Header) {
		return nil, errHidden
	}
	l.from.left, l.from.idle = -1, limits.Idle
	return response, nil
}

// final reads heads up to that of the final response. Interim ones are told of as
// http.Transport tells of them, by the hook of the request's context.
func (l *line) final(a *attempt) (*http.Response, error) {
	for interim := 0; ; interim++ {
		response, err := http.ReadResponse(l.in, a.req)
		switch {
		case err != nil:
			return nil, err
		case response.StatusCode == http.StatusSwitchingProtocols:
			return nil, errSwitched
		case response.StatusCode < 100 || response.StatusCode > 199:
			return response, nil
		case interim == maxInterim:
			return nil, errManyInterim
		case len(response.Header["Content-Length"]) > 0:
			return nil, errContent // see trip.trace
		}
		if hooks := httptrace.ContextClientTrace(a.ctx); hooks != nil && hooks.Got1xxResponse != nil {
			if err := hooks.Got1xxResponse(response.StatusCode, textproto.MIMEHeader(response.Header)); err != nil {
				return nil, err
			}
		}
	}
}

// content is the body of a response that came by a line. At its end the line
// is free for others, if there was nothing else in it.
type content struct {
	io.ReadCloser // of net/http; it is not closed: it would read what is left
	d             *direct
	l             *line
	a             *attempt
	settled       func() bool // stops the watch over the request's context
	keep          bool        // the origin keeps the connection
	leave         func()      // ends the request too; nil until the response is the caller's
	ended         atomic.Bool
	err           error // of the last Read, repeated by the next
}

// content returns the body of a response. One without content has given the line
// back already.
func (d *direct) content(a *attempt, l *line, r *http.Response, settled func() bool) io.ReadCloser {
	b := &content{ReadCloser: r.Body, d: d, l: l, a: a, settled: settled, keep: !r.Close}
	if r.Body == http.NoBody {
		b.release(true)
		return http.NoBody
	}
	return b
}

// Read reads the next bytes. Its error is io.EOF at the end of a complete body only.
func (b *content) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.ReadCloser.Read(p)
	switch {
	case err == nil:
		return n, nil
	case err == io.EOF:
		b.end(true)
	case b.ended.Load():
		err = http.ErrBodyReadAfterClose
	default:
		err = b.a.classify(err)
		b.end(false)
	}
	b.err = err
	return n, err
}

// Close ends the request. It may be called while another goroutine reads.
func (b *content) Close() error {
	b.end(false)
	return nil
}

func (b *content) end(whole bool) {
	if !b.ended.Swap(true) {
		b.release(whole)
		if b.leave != nil {
			b.leave()
		}
	}
}

// release gives the line back, or closes it where it cannot serve another request.
func (b *content) release(whole bool) {
	if b.settled() && whole && b.keep && b.l.in.Buffered() == 0 {
		b.d.put(b.l)
		return
	}
	b.d.drop(b.l)
}
