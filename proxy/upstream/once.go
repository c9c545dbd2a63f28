package upstream

import (
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync/atomic"
)

// http.Transport sends a GET, HEAD, OPTIONS or TRACE again on a new connection
// where a kept one closes before the first byte of a response, whether or not
// the origin had read the request (Request.isReplayable and
// persistConn.shouldRetryRequest in net/http). It does so too for any request
// with an Idempotency-Key. An origin that closes without an answer after it has
// acted would see such a request twice.
//
// It asks Request.GetBody for a new body before it sends again, and takes an
// error for a no. So a request over HTTP/1.1 without a body is given an empty one whose
// GetBody looks at the connection; and the name of the Idempotency-Key field is
// written in lower case, which means the same on the wire and nothing to
// http.Transport.
//
// Over HTTP/2 it needs no guard: what it sends again there, the origin has said
// not to have processed (RFC 9113, section 8.7).

// maxInterim is how many interim responses (1xx) are taken for one request.
// http.Transport bounds their size together only where nobody listens to them,
// and httputil.ReverseProxy does.
const maxInterim = 100

// trip is one request on its way, as http.Transport tells of it. The hooks are
// called by different goroutines, and one of a connection that is given up may
// still be called when the next is in use; hence the atomics.
type trip struct {
	cancel  func(cause error) // ends the request
	leg     atomic.Pointer[leg]
	interim atomic.Int32
	shared  bool // over HTTP/2: the connection's bytes are those of other requests too
}

// leg is the connection that a request is on, and how much had passed over it
// when the request got it.
type leg struct {
	conn                 *conn
	read, begun, written int64
}

// trace returns the hooks of the trip. What they find wrong they say by
// cancelling the request.
func (a *trip) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			c := info.Conn.(*conn) // every connection is made by dialer
			a.leg.Store(&leg{conn: c, read: c.read.Load(), begun: c.begun.Load(), written: c.written.Load()})
		},
		GotFirstResponseByte: func() {
			// What is there although nothing was received since the request got the
			// connection stood in the buffer before: the origin has sent more than
			// its last response, and this is no answer to the request (RFC 9112,
			// section 9.2). The connection is closed here, before http.Transport
			// puts it back for others.
			if l := a.leg.Load(); !a.shared && l.conn.read.Load() == l.read {
				l.conn.Close() // it is of no use whatever the error
				a.cancel(errNotAnswer)
			}
		},
		Got1xxResponse: func(_ int, h textproto.MIMEHeader) error {
			// An error that is returned here is lost where the caller has a hook too.
			if a.interim.Add(1) > maxInterim {
				a.cancel(errManyInterim)
			}
			if len(h["Content-Length"]) > 0 {
				// It can have no content (RFC 9110, section 15.2). What stands there all the
				// same would be taken for the final response.
				a.cancel(errContent)
			}
			return nil
		},
	}
}

// lost returns how the request's connection was lost, or nil.
func (a *trip) lost() *loss {
	if l := a.leg.Load(); l != nil {
		return l.conn.lost.Load()
	}
	return nil
}

// mayRepeat reports whether the origin cannot have acted on the request. It is
// called when http.Transport has given up the connection and stopped writing.
func (a *trip) mayRepeat() bool {
	l := a.leg.Load()
	if l == nil || l.conn.written.Load() == l.written {
		return true // nothing was sent
	}
	lost := l.conn.lost.Load()
	if lost == nil || l.conn.read.Load() != l.read {
		return false // given up for another reason, or answered
	}
	// The connection had ended before anything was sent; or it was not read.
	return lost.begun == l.begun || lost.unread
}

// guard keeps http.Transport from sending out, a shallow copy of the caller's
// request, twice.
func (a *trip) guard(out *http.Request) {
	out.GetBody = nil
	for _, name := range []string{"Idempotency-Key", "X-Idempotency-Key"} {
		if values, ok := out.Header[name]; ok {
			out.Header = out.Header.Clone()
			delete(out.Header, name)
			out.Header[strings.ToLower(name)] = values
		}
	}
	if out.Body != nil && out.Body != http.NoBody {
		return
	}
	switch out.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		out.Body = emptyBody{}
		out.ContentLength = 0
		// Not chunked, which is what a body of unknown length would be.
		out.TransferEncoding = []string{"identity"}
		out.GetBody = func() (io.ReadCloser, error) {
			if !a.mayRepeat() {
				return nil, errNoAnswer
			}
			return emptyBody{}, nil
		}
	}
}

// emptyBody is a body without content that is not http.NoBody: http.Transport
// asks nobody before it repeats a request with that.
type emptyBody struct{}

func (emptyBody) Read([]byte) (int, error) { return 0, io.EOF }
func (emptyBody) Close() error             { return nil }

// WriteTo saves io.Copy the 32 KiB that it would allocate to copy nothing.
func (emptyBody) WriteTo(io.Writer) (int64, error) { return 0, nil }
