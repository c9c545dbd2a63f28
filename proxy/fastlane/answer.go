package fastlane

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cacheproxy/cacheproxy/cache"
	"github.com/cacheproxy/cacheproxy/proxy/forwarded"
	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// from is what an answer depends on beside the request.
type from struct {
	scheme string
	client netip.Addr // the other end of the connection
	altSvc string     // Alt-Svc of all answers; "": what is stored
	except string     // beginning of the paths that are never answered here; "": none
}

// answer is a request on its way through the lane, and what comes out. It knows nothing of how bytes come and go. It belongs to one
// goroutine and is used again and again; nothing of it may be kept.
//
// Its budget is no allocation, one shard's lock, and one reading of the clock by the caller (see TestAHitAllocatesNothing).
type answer struct {
	request request
	query   cache.Query
	outcome cache.Outcome
	report  cache.Report

	key  []byte // backing of the key's text
	head []byte // of the response
	body []byte // of the response; the cache's own
}

// find answers the request whose head that is, if it is a plain hit, and else says what to do with it. Where it answers, the head and
// the body of the response are in a, and the report lacks only what the client took.
func (a *answer) find(l *Lane, f *from, head []byte, now time.Time) kind {
	plan := l.plan.Load()
	if plan == nil {
		return framed
	}
	r := &a.request
	trusted := forwarded.Trusts(plan.trusted, f.client)
	if kind := r.parse(head, trusted); kind != plain {
		return kind
	}
	if plan.urlBytes > 0 && len(r.raw) > plan.urlBytes || !r.normal(f, trusted) || f.except != "" && strings.HasPrefix(r.target.Path, f.except) ||
		plan.params > 0 && r.target.Query != "" && strings.Count(r.target.Query, "&") >= plan.params {
		return framed
	}
	r.identify(f, plan.trusted, trusted)
	matched, ok := plan.table.MatchPlain(r)
	if !ok || !plan.routes[matched.Index].open || f.altSvc != "" && slices.Contains(plan.routes[matched.Index].drop, "Alt-Svc") {
		return framed
	}
	r.route = matched
	key := matched.AppendKey(a.key[:0], r)
	a.key = key.Text
	a.query = cache.Query{Key: key, Fields: (*selecting)(r), Policy: &matched.Policy, Rule: matched.Rule, Now: now, First: true}
	a.outcome = l.o.Cache.Find(&a.query)
	if a.outcome.Decision.Action != rfc9111.Serve || trusted && a.outcome.Entry.Conceals() {
		return framed
	}
	reply := a.outcome.Entry.Reply(&a.outcome.Forms, r, &matched.Policy)
	if reply.Missing != rfc9111.Identity { // it is for the handler to have that form made
		return framed
	}
	a.render(plan, f, &reply, now)
	return plain
}

// render makes the response, and the report but for what follows from sending it.
func (a *answer) render(plan *Plan, f *from, reply *cache.Reply, now time.Time) {
	r, d := &a.request, &a.outcome.Decision
	to := &plan.routes[r.route.Index]
	b := appendStatusLine(a.head[:0], reply.Status)
	if notModified := reply.Content == nil; notModified || f.altSvc != "" || len(to.drop) > 0 {
		b = appendFields(b, reply, to, f.altSvc)
		set := to.set
		if notModified {
			set = to.bare
		}
		b = append(b, set...)
	} else {
		b = append(b, reply.Head.Head()...)
	}
	if to.age {
		b = append(b, "Age: "...)
		b = strconv.AppendInt(b, int64(max(d.Age, 0)/time.Second), 10)
		b = append(b, "\r\n"...)
	}
	if to.date {
		b = append(b, "Date: "...)
		b = now.UTC().AppendFormat(b, http.TimeFormat)
		b = append(b, "\r\n"...)
	}
	b = append(b, "Cache-Status: "...)
	if status := a.outcome.HitStatus(); status == cache.PlainHit(d.TTL) {
		b = append(b, plan.hit[0]...)
		b = strconv.AppendInt(b, int64(d.TTL/time.Second), 10) // of what is served here it is above 0
		b = append(b, plan.hit[1]...)
	} else {
		b = rfc9111.AppendStatus(b, plan.cacheName, &status)
	}
	a.body = nil
	if reply.Content != nil && reply.Status != http.StatusNoContent {
		b = append(b, "\r\nContent-Length: "...)
		b = strconv.AppendInt(b, reply.Content.Size(), 10)
		if r.method != http.MethodHead {
			a.body = reply.Content.Body()
		}
	}
	a.head = append(b, "\r\n\r\n"...)
	a.report = cache.Report{
		Start: now, Route: r.route.Name, Index: r.route.Index, Method: r.method, Host: r.target.Host, Path: r.target.Path,
		Status: reply.Status, Result: cache.ResultHit, Reason: d.Reason, Tier: a.outcome.Tier.String(), Key: a.query.Key,
		Age: d.Age, TTL: d.TTL, Stored: true,
	}
}

// appendFields appends the stored field lines that are sent as they are, and those that stand for one that is not.
func appendFields(b []byte, reply *cache.Reply, to *route, altSvc string) []byte {
	notModified := reply.Content == nil
	for name, value := range reply.Head.Fields() {
		if notModified && cache.DescribesContent(name) || slices.Contains(to.drop, name) ||
			reply.ETag != "" && name == "Etag" || altSvc != "" && name == "Alt-Svc" {
			continue
		}
		b = appendField(b, name, value)
	}
	if reply.ETag != "" && !slices.Contains(to.drop, "Etag") {
		b = appendField(b, "Etag", reply.ETag)
	}
	if altSvc != "" {
		b = appendField(b, "Alt-Svc", altSvc)
	}
	return b
}

func appendField(b []byte, name, value string) []byte {
	b = append(b, name...)
	b = append(b, ": "...)
	b = append(b, value...)
	return append(b, "\r\n"...)
}

// statusLines are those of the status codes that a response may be stored with.
var statusLines = func() (lines [1000]string) {
	for code := 200; code < len(lines); code++ {
		text := http.StatusText(code)
		if text == "" {
			text = "status code " + strconv.Itoa(code) // as net/http writes it
		}
		lines[code] = fmt.Sprintf("HTTP/1.1 %03d %s\r\n", code, text)
	}
	return lines
}()

func appendStatusLine(b []byte, code int) []byte { return append(b, statusLines[code]...) }

// finish tells the observers what became of the answer.
func (a *answer) finish(l *Lane, sent int, err error) {
	r := &a.report
	r.Bytes = int64(max(sent-len(a.head), 0))
	if err != nil {
		r.Result, r.Reason = cache.ResultError, rfc9111.ReasonClientGone
	}
	r.Duration = time.Since(r.Start)
	for _, observe := range l.o.Observers {
		observe(r)
	}
}
