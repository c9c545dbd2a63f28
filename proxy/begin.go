package proxy

import (
	"fmt"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cacheproxy/cacheproxy/cache"
	"github.com/cacheproxy/cacheproxy/rfc9111"
	"github.com/cacheproxy/cacheproxy/rules"
)

// exchange is one request on its walk. It belongs to the goroutine that serves the request, and goes back to a pool afterwards:
// nothing that outlives the request may keep a pointer into it.
type exchange struct {
	view
	p    *Proxy
	plan *Plan
	w    http.ResponseWriter
	r    *http.Request
	now  time.Time
	peer netip.Addr // the other end of the socket

	site    *Site
	query   cache.Query
	outcome cache.Outcome
	report  cache.Report
	status  rfc9111.Status // what Cache-Status will say
	looked  func()         // ends a look into the remote tier; see cache.FindRemote; nil: none is under way
	apart   rfc9111.Reason // why it did not share a fetch with others, where that is worth a word
	wrote   bool           // the final header has been sent

	unbounded int  // bytes written without a deadline
	stall     bool // the connection has, or had, a write deadline of ours
	paused    bool // and has none at the moment

	buf    []byte   // backing of the key's text, kept between requests
	values []string // backing of the response's field values, kept between requests
}

var exchanges = sync.Pool{New: func() any { return new(exchange) }}

// begin takes an exchange from the pool and notes what is known before anything has been looked at.
func (p *Proxy) begin(w http.ResponseWriter, r *http.Request) *exchange {
	x := exchanges.Get().(*exchange)
	x.p, x.plan, x.w, x.r, x.now = p, p.plan.Load(), w, r, time.Now()
	x.view = view{header: endToEnd(r.Header), host: r.Host, method: r.Method}
	x.report = cache.Report{Start: x.now, Method: r.Method, Host: r.Host, Path: r.URL.Path, Route: "default", Index: -1}
	return x
}

// endToEnd returns the fields that concern more than this connection: without those that Connection names (RFC 9110, 7.6.1), because
// the origin will not see them, and what it does not see must not choose a key or a variant. Authorization stays: naming it there
// must not hide from the storing decision that a user is concerned.
func endToEnd(h http.Header) http.Header {
	var rest http.Header
	for _, line := range h["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			name = http.CanonicalHeaderKey(strings.TrimSpace(name))
			if name == "Authorization" || len(h[name]) == 0 {
				continue
			}
			if rest == nil {
				rest = h.Clone()
			}
			delete(rest, name)
		}
	}
	if rest == nil {
		return h
	}
	return rest
}

// end sends the report and puts the exchange back. A panic of a handler is answered with 500 where nothing has been sent, counted,
// and goes no further; http.ErrAbortHandler is the server's way to break a connection off and goes on.
func (x *exchange) end() {
	fault := recover()
	if fault != nil && fault != http.ErrAbortHandler {
		x.p.panics.Add(1)
		x.report.Panicked = true
		x.p.log.Error("handler panicked", "route", x.report.Route, "panic", fmt.Sprint(fault), "stack", string(debug.Stack()))
		if !x.wrote {
			x.refuse(http.StatusInternalServerError, rfc9111.ReasonPanic)
			fault = nil
		} else {
			fault = http.ErrAbortHandler
		}
	}
	x.endLook()
	x.forgetStall()
	x.report.Duration = time.Since(x.report.Start)
	for _, observe := range x.p.observers {
		observe(&x.report)
	}
	x.release()
	if fault != nil {
		panic(fault)
	}
}

// abort breaks the connection off: what has been sent must not be taken for a complete response. A client that went away before
// any answer is reported with status 499, as other servers do; nobody is sent that.
func (x *exchange) abort(why rfc9111.Reason) {
	x.report.Result, x.report.Reason = cache.ResultError, why
	if !x.wrote {
		x.report.Status = 499
	}
	panic(http.ErrAbortHandler)
}

func (x *exchange) release() {
	buf, values := x.buf[:0], x.values[:0]
	clear(values[:cap(values)])
	*x = exchange{buf: buf, values: values}
	exchanges.Put(x)
}

// accept checks the limits and brings the target into normal form. It answers, and returns false, where the request is refused.
func (x *exchange) accept() bool {
	if x.r.Body != nil && x.r.Body != http.NoBody && x.r.ProtoMajor < 2 {
		// net/http reads what is left of a body before it answers: without a deadline a client that never sends it holds the connection.
		_ = http.NewResponseController(x.w).SetReadDeadline(x.now.Add(stallLimit))
	}
	limits := &x.plan.Limits
	switch {
	case x.r.Method == http.MethodConnect:
		x.refuse(http.StatusMethodNotAllowed, rfc9111.ReasonConnect)
		return false
	case limits.URLBytes > 0 && len(x.r.RequestURI) > limits.URLBytes:
		x.refuse(http.StatusRequestURITooLong, rfc9111.ReasonLimit)
		return false
	case limits.QueryParams > 0 && x.r.URL.RawQuery != "" && strings.Count(x.r.URL.RawQuery, "&") >= limits.QueryParams:
		x.refuse(http.StatusBadRequest, rfc9111.ReasonLimit)
		return false
	}
	x.identify()
	scheme, host := x.origin()
	target, err := rfc9111.ParseTarget(scheme, host, requestURI(x.r))
	if err != nil {
		x.p.log.Debug("request target refused", "error", err)
		x.refuse(http.StatusBadRequest, rfc9111.ReasonInvalidTarget)
		return false
	}
	x.target = target
	x.report.Host, x.report.Path = target.Host, target.Path
	return true
}

// requestURI is the request target as it came. Requests that were made by a program rather than read from a socket have none.
func requestURI(r *http.Request) string {
	if r.RequestURI != "" {
		return r.RequestURI
	}
	return r.URL.RequestURI()
}

// match finds the route, and answers 404 where it leads nowhere. A purge need not lead anywhere.
func (x *exchange) match() bool {
	x.route = x.plan.Table.Match(&x.view)
	x.site = &x.plan.Sites[x.route.Index]
	x.report.Route, x.report.Index = x.route.Name, x.route.Index
	if x.site.Origin == nil && !isPurge(x.method) {
		x.refuse(http.StatusNotFound, rfc9111.ReasonNoRoute)
		return false
	}
	return true
}

// find builds the key and looks the stored response up.
func (x *exchange) find() {
	x.prepare()
	x.outcome = x.p.cache.Find(&x.query)
	if x.looksFurther() {
		x.outcome, x.looked = x.p.cache.FindRemote(x.r.Context(), &x.query, &x.outcome)
	}
	x.report.Reason = x.outcome.Decision.Reason
}

// prepare builds the key and the query.
func (x *exchange) prepare() {
	x.plain = x.route.Policy.Encode != nil
	key := x.route.AppendKey(x.buf[:0], &x.view)
	x.buf = key.Text
	x.query = cache.Query{
		Key: key, Fields: (*selecting)(&x.view), Policy: &x.route.Policy, Rule: x.route.Rule, Now: x.now,
	}
	if x.method == http.MethodGet {
		x.query.Range = x.view.header.Get("Range")
	}
	x.report.Key = key
}

// looksFurther reports whether the remote tier is to be asked: memory's answer would send the request to the origin, and what the
// remote tier holds could change that. Where a fetch of the key is under way it has asked already.
func (x *exchange) looksFurther() bool {
	return remoteMayKnow(x.p.cache, x.route, &x.outcome) && !x.p.fills.under(x.fillHash())
}

// remoteMayKnow reports whether what the remote tier holds could change memory's answer.
func remoteMayKnow(c *cache.Cache, route *rules.Route, near *cache.Outcome) bool {
	if !route.Remote || !c.HasRemote() || near.Uncacheable {
		return false
	}
	switch d := &near.Decision; {
	case d.Action == rfc9111.Serve, d.Action == rfc9111.ServeStale:
		return false
	case d.Reason == rfc9111.ReasonRequestNoStore, d.Reason == rfc9111.ReasonRequestNoCache:
		return false
	}
	return true
}

// endLook is called when those who ask for the same will find it in memory, or a fetch to join.
func (x *exchange) endLook() {
	if x.looked != nil {
		x.looked()
		x.looked = nil
	}
}

// share says how what is fetched for this request goes to the remote tier; nil: it does not.
func (x *exchange) share() *cache.Share {
	if !x.route.Remote || !x.p.cache.HasRemote() {
		return nil
	}
	return &cache.Share{Named: x.route.KeyIsURI(), Mark: x.outcome.Mark}
}

// allowed are the methods that may be of use with any resource behind this proxy.
const allowed = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"

// refuse answers with an error of our own.
func (x *exchange) refuse(status int, why rfc9111.Reason) {
	x.report.Reason = why
	x.report.Result = cache.ResultError
	if status == http.StatusForbidden || status < 500 && status >= 400 {
		x.report.Result = cache.ResultDenied
	}
	x.status = rfc9111.Status{Forward: x.status.Forward, Detail: why.String()}
	x.allowStall(0)
	h := x.w.Header()
	clear(h)
	h["Content-Type"] = []string{"text/plain; charset=utf-8"}
	h["Cache-Control"] = []string{"no-store"}
	h["X-Content-Type-Options"] = []string{"nosniff"}
	switch status {
	case http.StatusServiceUnavailable, http.StatusBadGateway: // with 502 too: the target that failed may be another's next time
		h["Retry-After"] = []string{"1"}
	case http.StatusMethodNotAllowed:
		h["Allow"] = []string{allowed}
	}
	body := http.StatusText(status) + " (" + why.String() + ")\n"
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	x.writeHeader(status)
	if x.method != http.MethodHead {
		n, _ := x.w.Write([]byte(body)) // a client that is gone needs no answer
		x.report.Bytes += int64(n)
	}
}

// writeHeader sends the final header with its Cache-Status.
func (x *exchange) writeHeader(status int) {
	h := x.w.Header()
	own := x.one(x.plan.cacheStatus(&x.status))
	if others := h["Cache-Status"]; len(others) > 0 { // of caches nearer to the origin: ours comes last (RFC 9211, 2)
		own = append(others[:len(others):len(others)], own[0])
	}
	h["Cache-Status"] = own
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil // or net/http would guess one from the content, in the origin's name (RFC 9110, 7.7)
	}
	x.wrote = true
	x.report.Status = status
	x.w.WriteHeader(status)
	if x.r.ProtoMajor == 3 {
		// Servers of HTTP/1 and HTTP/2 have taken a copy of the map; quic-go reads it when it sends, which may be after this exchange
		// has gone back to the pool.
		_ = http.NewResponseController(x.w).Flush() // a client that is gone is noticed at the body
	}
}
