package proxy

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/cacheproxy/cacheproxy/cache"
	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// admit judges the final head and publishes it. A 304 to our own validators is turned into the stored response that it freshens.
func (f *fill) admit(status int) {
	now := time.Now()
	header := f.header.Clone()
	if status == http.StatusNotModified && len(f.validated) > 0 {
		f.notModified(header, now)
		return
	}
	if len(header["Date"]) == 0 {
		header["Date"] = []string{now.UTC().Format(http.TimeFormat)}
	}
	x := f.exchange(status, header)
	h := &head{
		status: status, header: header, length: contentLength(header),
		meta: rfc9111.NewMeta(x, &f.route.Policy, f.requestTime, now),
	}
	h.storable, h.reason = f.storable(x, h, now)
	f.publish(h)
}

func (f *fill) exchange(status int, header http.Header) *rfc9111.Exchange {
	return &rfc9111.Exchange{
		Method: http.MethodGet, Target: &f.target, Request: (*selecting)(&f.view), Status: status, Response: rfc9111.Header(header),
	}
}

func contentLength(h http.Header) int64 {
	n, err := strconv.ParseInt(h.Get("Content-Length"), 10, 64)
	if err != nil || n < 0 {
		return -1
	}
	return n
}

// storable says whether the response will be stored, and if not, why.
func (f *fill) storable(x *rfc9111.Exchange, h *head, now time.Time) (bool, rfc9111.Reason) {
	if ok, why := rfc9111.Storable(x, &f.route.Policy); !ok {
		return false, why
	}
	switch {
	case h.length > f.route.MaxObjectBytes:
		return false, rfc9111.ReasonTooLarge
	case !f.route.Admits(&f.view, x.Status, x.Response):
		return false, rfc9111.ReasonWhen
	case f.p.cache.State().Check(&f.stamp) == invalidation.Invalid:
		return false, rfc9111.ReasonPurged
	case serverError(x.Status) && f.selectedServes(now):
		return false, rfc9111.ReasonStaleIfError // it must not displace what is better than it
	case x.Status == http.StatusPartialContent:
		return f.partStorable(h)
	}
	return true, rfc9111.ReasonNone
}

// partStorable notes which part a 206 is. Parts are stored only where the route completes them.
func (f *fill) partStorable(h *head) (bool, rfc9111.Reason) {
	first, last, complete, ok := rfc9111.ParseContentRange(h.header.Get("Content-Range"))
	if !ok || !f.route.CompleteRanges {
		return false, rfc9111.ReasonPartial
	}
	h.part = cache.Part{First: first, Complete: complete}
	h.length = last - first + 1 // Storable has seen to it that a Content-Length says the same
	return true, rfc9111.ReasonNone
}

func serverError(status int) bool {
	switch status {
	case http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// selectedServes reports whether the stored response may be served although the origin failed.
func (f *fill) selectedServes(now time.Time) bool {
	e := f.wanted.selected
	if e == nil || e.IsPartial() {
		return false
	}
	d := rfc9111.DecideOnError((*selecting)(&f.view), &e.Meta, rfc9111.Constraint{}, rfc9111.ServerError, now)
	return d.Action != rfc9111.Fetch
}

// publish lets readers see the head. What will not be stored is not shared: no further request may join, and it is remembered, so
// that nobody waits in line for the next one.
func (f *fill) publish(h *head) {
	f.final = h
	if !h.storable {
		f.p.fills.remove(f)
		f.remember(h)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.completes(h) {
		f.head = h
	}
	f.stream.expect(h.length)
	if !h.storable {
		f.stream.window()
		f.abandonIfUnread()
	}
	f.broadcast()
}

// outgrow turns a response that was to be stored, but has become too large, into one that streams through.
func (f *fill) outgrow() {
	h := *f.final
	h.storable, h.reason = false, rfc9111.ReasonTooLarge
	f.publish(&h)
}

// remember marks the key as one whose responses are not stored, unless the reason lies in this one request or in a moment's failure.
func (f *fill) remember(h *head) {
	if f.plan.HitForMiss <= 0 || h.status >= 500 {
		return
	}
	switch h.reason {
	case rfc9111.ReasonAuthorization, rfc9111.ReasonRequestNoStore, rfc9111.ReasonUnkeyedCORS, rfc9111.ReasonPurged,
		rfc9111.ReasonStaleIfError, rfc9111.ReasonPartial:
		return
	}
	f.p.cache.MarkUncacheable(f.key, time.Now().Add(f.plan.HitForMiss), h.reason)
}

// notModified freshens what the 304 is about. Where that is not stored any more, or was purged while the validation was under way,
// the readers get no answer and fetch anew, without validators.
func (f *fill) notModified(header http.Header, now time.Time) {
	query := cache.Query{Key: f.key, Fields: (*selecting)(&f.view), Policy: &f.route.Policy, Rule: f.route.Rule, Now: now}
	answer, _ := f.p.cache.Freshen(&cache.Freshening{
		Query: &query, Validated: f.validated, Selected: f.wanted.selected, Target: &f.target,
		Request: (*selecting)(&f.view), Header: header, RequestTime: f.requestTime, ResponseTime: now, Born: f.stamp.Born,
	})
	f.final = &head{status: http.StatusNotModified, header: header, length: -1}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answered, f.answer = true, answer
	f.broadcast()
}

// varyHash is the name under which the fill for another variant of the same key is found: the key, and the values that the
// request has in the fields that the response varies by.
func (x *exchange) varyHash(m *rfc9111.Meta) [16]byte {
	text := append([]byte(nil), x.query.Key.Text...)
	for _, v := range m.Vary {
		value, _ := x.query.Fields.Field(v.Name)
		text = rfc9111.AppendPart(text, v.Name)
		text = rfc9111.AppendPart(text, strings.TrimSpace(value))
	}
	return rfc9111.NewKey(text).Hash
}
