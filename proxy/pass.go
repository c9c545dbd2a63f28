package proxy

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cacheproxy/cacheproxy/cache"
	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// isUpgrade reports whether the client wants to speak another protocol on the connection (RFC 9110, 7.8), and may. HTTP itself is no
// such protocol: through a tunnel of it requests would reach the origin that no route, limit or rule has seen.
func isUpgrade(r *http.Request) bool {
	protocols := strings.ToLower(strings.Join(r.Header["Upgrade"], ","))
	if protocols == "" || strings.Contains(protocols, "h2c") || strings.Contains(protocols, "http") || strings.Contains(protocols, "tls") {
		return false
	}
	for _, line := range r.Header["Connection"] {
		for member := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(member), "upgrade") {
				return true
			}
		}
	}
	return false
}

// pass sends the request to the origin as it is and streams the answer back, without asking or filling the cache.
func (x *exchange) pass(why rfc9111.Reason) {
	x.report.Result, x.report.Reason = cache.ResultPass, why
	x.status = rfc9111.Status{Forward: x.status.Forward, Detail: why.String()}
	x.plain = false
	switch why {
	case rfc9111.ReasonBypass, rfc9111.ReasonPatternOff:
		x.report.Result = cache.ResultBypass
		x.status.Forward = rfc9111.ForwardBypass
	case rfc9111.ReasonUpgrade:
		x.status.Forward = rfc9111.ForwardBypass
	}
	x.forward(nil)
}

// passHead sends a HEAD on as it is, because a GET in its place could not be stored anyway, and lets its answer freshen what is
// stored (RFC 9111, 4.3.5).
func (x *exchange) passHead() {
	x.report.Result, x.report.Reason = cache.ResultPass, x.outcome.Because
	x.status.Detail = x.outcome.Because.String()
	born := x.p.cache.State().Birth()
	x.forward(func(p *passage, status int, h http.Header) {
		if status != http.StatusOK {
			return
		}
		x.p.cache.FreshenByHead(&cache.Freshening{
			Query: &x.query, Target: &x.target, Request: x.query.Fields, Header: h.Clone(),
			RequestTime: p.requestTime, ResponseTime: time.Now(), Born: born, Share: x.share(),
			Label: x.plan.labeller(&x.view, x.p),
		})
	})
}

// forward sends the client's request to the origin in the client's own time. onHead, where not nil, is called with the final head
// before it goes to the client. The passage is nil where too many fetches are under way; a body that breaks off panics, and so
// never counts as whole.
func (x *exchange) forward(onHead func(p *passage, status int, h http.Header)) *passage {
	if !x.mayFetch() {
		x.refuse(http.StatusServiceUnavailable, rfc9111.ReasonConcurrency)
		return nil
	}
	x.report.Upstream = x.route.Upstream
	x.endLook()
	x.pauseStall()
	w := &passage{x: x, onHead: onHead, requestTime: time.Now()}
	defer w.fetched()
	v := x.view
	ctx, cancel := context.WithCancel(x.r.Context())
	defer cancel()
	out := x.outgoing(ctx, &v, &w.attempts)
	if x.route.Policy.Encode != nil {
		x.translate(out.Header)
	}
	if out.Body != nil && out.Body != http.NoBody {
		out.Trailer = x.announce(out)
		body := &patientBody{
			ReadCloser: out.Body, in: x.r, trailer: out.Trailer, control: http.NewResponseController(x.w), quiet: isGRPC(x.r),
		}
		defer body.end()
		out.Body, w.body = body, body
		// Or net/http would read the rest of the body itself before it writes the first byte of an answer.
		_ = http.NewResponseController(x.w).EnableFullDuplex() // where it cannot, as in tests, the answer comes afterwards
	}
	defer w.release()
	x.site.Origin.ServeHTTP(w, out)
	for _, name := range x.route.Response.Remove {
		delete(x.w.Header(), name) // an announced trailer
		delete(x.w.Header(), http.TrailerPrefix+name)
	}
	return w
}

// translate brings a request that passes through into words that the origin knows, on a route whose responses are encoded here. The
// condition of a write names the tag of the form that its client has read: with the origin's own tag beside it, the write means what
// it should. Of a read such tags stay as they are: the origin does not know them and sends the whole, which is what a client needs
// that holds another form of it.
func (x *exchange) translate(h http.Header) {
	if x.plain {
		h["Accept-Encoding"] = []string{rfc9111.Identity.String()}
	}
	for _, name := range []string{"If-Match", "If-None-Match"} {
		if list := h[name]; len(list) > 0 && (name == "If-Match" || !rfc9111.Safe(x.method)) {
			h[name] = []string{rfc9111.OwnTags(strings.Join(list, ", "))}
		}
	}
}

// passage is the response writer of a request that passes through.
type passage struct {
	x           *exchange
	onHead      func(p *passage, status int, h http.Header)
	requestTime time.Time
	interims    int
	body        *patientBody // of the request; nil: it has none
	keep        *kept        // a copy of the response, until it is stored; nil where it may not be
	attempts    atomic.Int32
	counted     bool   // it is not among the fetches under way any more
	unhijack    func() // where the connection was taken over
}

// fetched takes the request off the fetches under way, once.
func (p *passage) fetched() {
	if !p.counted {
		p.counted = true
		p.x.report.Attempt += int(p.attempts.Load())
		p.x.p.fetches.Add(-1)
	}
}

// Header implements http.ResponseWriter.
func (p *passage) Header() http.Header { return p.x.w.Header() }

// Unwrap lets http.ResponseController reach the connection, to flush and to set deadlines.
func (p *passage) Unwrap() http.ResponseWriter { return p.x.w }

// tunneler is a connection that looks at the requests which pass over it, and wants to know when something else does.
type tunneler interface{ Tunnel() }

// Hijack implements http.Hijacker, for upgrades. From then on the connection is not a fetch any more: it may stay for days.
func (p *passage) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(p.x.w).Hijack()
	if err == nil {
		x := p.x
		if t, ok := c.(tunneler); ok {
			t.Tunnel()
		}
		p.untilClosing(c)
		x.wrote, x.report.Status, x.status.FwdStatus = true, http.StatusSwitchingProtocols, http.StatusSwitchingProtocols
		x.w.Header()["Cache-Status"] = []string{x.plan.cacheStatus(&x.status)}
		p.fetched()
	}
	return c, rw, err
}

// untilClosing lets Shutdown wait for a connection that was taken over, and close it when its time is up: the server does not know
// it any more.
func (p *passage) untilClosing(c net.Conn) {
	proxy := p.x.p
	proxy.work.Add(1)
	stop := context.AfterFunc(proxy.closing, func() { c.Close() }) // whoever reads from it notices
	p.unhijack = func() {
		stop()
		proxy.work.Done()
	}
}

// release ends what Hijack began.
func (p *passage) release() {
	if p.unhijack != nil {
		p.unhijack()
	}
}

// FlushError implements what http.ResponseController asks for.
func (p *passage) FlushError() error { return p.x.flush() }

// WriteHeader implements http.ResponseWriter.
func (p *passage) WriteHeader(status int) {
	x := p.x
	if status >= 100 && status < 200 && status != http.StatusSwitchingProtocols {
		if p.interims++; p.interims > interimLimit {
			panic(http.ErrAbortHandler)
		}
		if x.wantsInterim(status) {
			x.allowStall(0)
			x.w.WriteHeader(status)
			x.pauseStall()
		}
		return
	}
	switch {
	case x.wrote:
		return
	case status < 100 || status > 999:
		x.refuse(http.StatusBadGateway, rfc9111.ReasonUpstreamError)
		panic(http.ErrAbortHandler) // what comes after it must not follow our answer
	}
	x.status.FwdStatus = status
	if p.onHead != nil {
		p.onHead(p, status, x.w.Header())
	}
	x.conceal(x.w.Header())
	x.applyResponseRules(x.w.Header())
	for name := range x.route.Response.Set { // the server looks at the map again for trailers, when this exchange is gone
		x.w.Header()[name] = slices.Clone(x.w.Header()[name])
	}
	if p.body != nil {
		p.body.allowQuiet()
	}
	x.allowStall(0)
	x.writeHeader(status)
}

// wantsInterim reports whether an interim response of the origin goes to the client. One of HTTP/1.0 does not know them (RFC 9110,
// 15.2). 100 is sent by net/http itself when the body is read for the origin, and would come twice; quic-go does not send it.
func (x *exchange) wantsInterim(status int) bool {
	return x.r.ProtoAtLeast(1, 1) && (status != http.StatusContinue || x.r.ProtoMajor == 3)
}

// Write implements http.ResponseWriter.
func (p *passage) Write(b []byte) (int, error) {
	if !p.x.wrote {
		p.WriteHeader(http.StatusOK)
	}
	if p.keep != nil && p.keep.add(b) { // before the client has all of it and asks again
		p.keep.store(p.x.p.cache)
		p.keep = nil
	}
	return p.x.send(b)
}

// Fail implements failer.
func (p *passage) Fail(err error) {
	if p.x.wrote {
		panic(http.ErrAbortHandler)
	}
	status, why := failure(err)
	p.x.refuse(status, why)
}

// isGRPC reports whether the request is a call of gRPC, whose messages come when there is something to say.
func isGRPC(r *http.Request) bool {
	return r.ProtoMajor >= 2 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc")
}

// patientBody gives a client that sends a body stallLimit for each piece of it, and no more: one that sends a byte an hour must not
// hold a connection to the origin. Once the origin has begun to answer, both may speak when they like, as over a WebSocket. At the
// end it takes the trailers over.
//
// A transport may still be reading when the handler has returned. It must not touch the deadlines then: on HTTP/1 they are those of
// the next request, on HTTP/2 of a stream that is gone.
type patientBody struct {
	io.ReadCloser
	in      *http.Request // of the client
	trailer http.Header   // of the request to the origin; nil: none is sent

	mu      sync.Mutex               // guards the following
	control *http.ResponseController // nil once the handler has returned
	over    bool                     // all of the body has been read, or none of it can be any more
	quiet   bool                     // the client may take its time
}

// Read implements io.Reader. The deadline is taken off at the end: the server reads on by itself then. It is taken off after each
// piece where it would break a body that nobody waits for, because the origin is slow.
func (b *patientBody) Read(p []byte) (int, error) {
	b.bound()
	n, err := b.ReadCloser.Read(p)
	if err != nil || b.in.ProtoMajor >= 2 {
		b.deadline(time.Time{})
	}
	if err != nil {
		b.mu.Lock()
		b.over = true
		b.mu.Unlock()
	}
	if err == io.EOF && b.trailer != nil {
		takeTrailers(b.trailer, b.in.Trailer)
	}
	return n, err
}

// bound begins the time that the client has for the next piece.
func (b *patientBody) bound() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.control != nil && !b.quiet {
		_ = b.control.SetReadDeadline(time.Now().Add(stallLimit)) // a connection without deadlines has none to set
	}
}

// allowQuiet takes the bound off, in the middle of a Read too.
func (b *patientBody) allowQuiet() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.control != nil && !b.quiet && !b.over {
		_ = b.control.SetReadDeadline(time.Time{}) // likewise
	}
	b.quiet = true
}

func (b *patientBody) deadline(t time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.control != nil {
		_ = b.control.SetReadDeadline(t) // a connection without deadlines has none to set
	}
}

// end is called when the handler returns. What is left of the body the server reads by itself, and the client has stallLimit for it.
func (b *patientBody) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.over {
		_ = b.control.SetReadDeadline(time.Now().Add(stallLimit))
	}
	b.control = nil
}

// Close implements io.Closer.
func (b *patientBody) Close() error {
	b.deadline(time.Time{})
	return b.ReadCloser.Close()
}
