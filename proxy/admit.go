package proxy

import (
	"net/http"
	"slices"
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
	switch {
	case status == http.StatusNotModified && len(f.validated) > 0:
		f.notModified(header, now)
		return
	case status == http.StatusRequestedRangeNotSatisfiable && f.wanted.complete: // what is stored is part of something that is gone
		f.answerWith(nil, false, status)
		return
	}
	if len(header["Date"]) == 0 {
		header["Date"] = []string{now.UTC().Format(http.TimeFormat)}
	}
	if len(header["Content-Encoding"]) > 0 && !f.plain && f.route.Policy.Encode != nil {
		addVary(header, "Accept-Encoding") // the origin was asked for what one client accepts, which is not done for others
	}
	labels, over := f.plan.label(&f.view, header, nil, f.p)
	f.Names = f.p.cache.Names(labels)
	x := f.exchange(status, header)
	h := &head{
		status: status, header: header, length: contentLength(header), labels: labels,
		meta: rfc9111.NewMeta(x, &f.route.Policy, f.requestTime, now), shared: rfc9111.StoredHeader(header, &f.route.Policy),
	}
	h.concealed = cache.Conceal(h.shared, f.route.TagHeaders)
	h.storable, h.reason = f.storable(x, h, now)
	if h.storable && over == rfc9111.ReasonNone {
		over = f.p.declare(f.plan, &f.target, labels, h.meta.Retain)
	}
	if h.storable && over != rfc9111.ReasonNone {
		h.storable, h.reason = false, over
	}
	if ok, _ := rfc9111.Encodable(&f.route.Policy, status, x.Response, h.length); ok && h.storable {
		h.meta.Flags |= rfc9111.Encodes
	}
	f.publish(h)
}

// addVary adds a field's name to Vary, unless it stands there.
func addVary(h http.Header, name string) {
	names, star := rfc9111.VaryNames(rfc9111.Header(h))
	if !star && !slices.Contains(names, name) {
		h["Vary"] = append(h["Vary"], name)
	}
}

func (f *fill) exchange(status int, header http.Header) *rfc9111.Exchange {
	return &rfc9111.Exchange{
		Method: http.MethodGet, Target: &f.target, Request: (*selecting)(&f.view), Status: status, Response: rfc9111.Header(header),
	}
}

func contentLength(h http.Header) int64 {
	lines := h["Content-Length"]
	if len(lines) == 0 {
		return -1
	}
	n, err := strconv.ParseInt(lines[0], 10, 64)
	if err != nil || n < 0 {
		return -1
	}
	return n
}

// storable says whether a response to v may be stored by its route, and if not, why.
func (v *view) storable(x *rfc9111.Exchange, length int64) (bool, rfc9111.Reason) {
	ok, why := rfc9111.Storable(x, &v.route.Policy)
	switch {
	case !ok:
		return false, why
	case length > v.route.MaxObjectBytes:
		return false, rfc9111.ReasonTooLarge
	case provoked(x.Status) && v.size() > ordinary:
		return false, rfc9111.ReasonLargeRequest
	case !v.route.Admits(v, x.Status, x.Response):
		return false, rfc9111.ReasonWhen
	case x.Status == http.StatusPartialContent && !v.route.CompleteRanges:
		return false, rfc9111.ReasonPartial
	}
	return true, rfc9111.ReasonNone
}

// ordinary is how many bytes of fields no origin refuses: the smallest limit of those in wide use is 8 KiB, for all together.
const ordinary = 4 << 10

// provoked reports whether an error with this status speaks of the request rather than of the resource. By fields that we take and the
// origin does not, a client could put such an error in everybody's way.
func provoked(status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusPreconditionFailed, http.StatusRequestEntityTooLarge, http.StatusRequestURITooLong,
		http.StatusRequestedRangeNotSatisfiable, http.StatusExpectationFailed, http.StatusRequestHeaderFieldsTooLarge:
		return true
	}
	return false
}

// storable says whether the response will be stored, and if not, why.
func (f *fill) storable(x *rfc9111.Exchange, h *head, now time.Time) (bool, rfc9111.Reason) {
	if ok, why := f.view.storable(x, h.length); !ok {
		return false, why
	}
	switch ranged := f.wanted.rng != "" || f.wanted.complete; {
	case ranged && x.Status != http.StatusPartialContent && x.Status != http.StatusOK:
		return false, rfc9111.ReasonRange // an answer to the range, and not to the URL
	case f.p.cache.State().Check(&f.stamp, f) == invalidation.Invalid:
		return false, rfc9111.ReasonPurged
	case serverError(x.Status) && f.selectedServes(now):
		return false, rfc9111.ReasonStaleIfError // it must not displace what is better than it
	case x.Status == http.StatusPartialContent:
		return f.partStorable(h)
	case f.rare(h):
		return false, rfc9111.ReasonRareVariant
	}
	return true, rfc9111.ReasonNone
}

// partStorable notes which part a 206 is.
func (f *fill) partStorable(h *head) (bool, rfc9111.Reason) {
	first, last, complete, ok := rfc9111.ParseContentRange(h.header.Get("Content-Range"))
	if !ok {
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
	constraint, usable := f.p.cache.Constrain(e, now)
	if !usable {
		return false
	}
	m := e.Facts()
	d := rfc9111.DecideOnError((*selecting)(&f.view), &m, constraint, rfc9111.ServerError, now)
	return d.Action != rfc9111.Fetch
}

// publish lets readers see the head. What will not be stored is not shared: no further request may join, and it is remembered, so
// that nobody waits in line for the next one.
func (f *fill) publish(h *head) {
	f.final = h
	if !h.storable {
		f.p.fills.remove(f)
		f.p.cache.Release(f.key.Hash, f.share)
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
	if h.storable && h.length > 0 && h.length <= exactLimit {
		f.gatherBody()
		return
	}
	if h.length == 0 || bodiless(h.status) {
		f.commit() // it is whole already: whoever sees it finds it in the cache from then on
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
	if f.plan.HitForMiss <= 0 || h.status >= 500 || h.reason.OfRequest() {
		return
	}
	switch h.reason {
	case rfc9111.ReasonPurged, rfc9111.ReasonStaleIfError, rfc9111.ReasonPartial, rfc9111.ReasonRange:
		return
	}
	f.p.cache.MarkUncacheable(f.key, time.Now().Add(f.plan.HitForMiss), h.reason)
}

// notModified freshens what the 304 is about. Where that is not stored any more, or was purged while the validation was under way,
// the readers get no answer and fetch anew, without validators.
func (f *fill) notModified(header http.Header, now time.Time) {
	answer, stored := f.p.cache.Freshen(&cache.Freshening{
		Query: f.query(now), Validated: f.validated, Selected: f.wanted.selected, Target: &f.target,
		Request: (*selecting)(&f.view), Header: header, RequestTime: f.requestTime, ResponseTime: now, Born: f.born, Share: f.share,
		Label: f.plan.labeller(&f.view, f.p),
	})
	if stored {
		labels, m := answer.Labels(), answer.Facts()
		_ = f.p.declare(f.plan, &f.target, &labels, m.Retain) // there was room when it was declared first
	}
	f.answerWith(answer, stored, http.StatusNotModified)
}

// answerWith gives the readers a stored response instead of what the origin sent with status; nil: nothing, they fetch anew. One that
// is not shared is for the leader alone.
func (f *fill) answerWith(e *cache.Entry, shared bool, status int) {
	f.final = &head{status: status, length: -1}
	f.p.fills.remove(f)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answered, f.answer, f.shared = true, e, shared
	f.broadcast()
}

// varyHash is the name under which the fill for another variant of the same key is found: the key, and the values that the
// request has in the fields that the response varies by.
func (x *exchange) varyHash(fields []rfc9111.VaryField) [16]byte {
	text := append([]byte(nil), x.query.Key.Text...)
	for _, v := range fields {
		value, _ := x.query.Fields.Field(v.Name)
		text = rfc9111.AppendPart(text, v.Name)
		text = rfc9111.AppendPart(text, strings.TrimSpace(value))
	}
	return rfc9111.NewKey(text).Hash
}
