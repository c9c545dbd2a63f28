package proxy

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/cacheproxy/cacheproxy/cache"
	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/rfc9111"
	"github.com/cacheproxy/cacheproxy/rules"
)

// write forwards a request with a method other than GET and HEAD. At a non-error answer to an unsafe one, and before the client
// hears of it, what RFC 9111 section 4.4 names is purged: the client's own next read cannot find what it has just changed.
func (x *exchange) write() {
	x.report.Result, x.report.Reason = cache.ResultPass, rfc9111.ReasonMethod
	x.status = rfc9111.Status{Forward: rfc9111.ForwardMethod, Detail: rfc9111.ReasonMethod.String()}
	if rfc9111.Safe(x.method) {
		if x.lastHop() {
			x.answerHere()
			return
		}
		x.forward(nil)
		return
	}
	state := x.p.cache.State()
	get := x.view
	get.method = http.MethodGet
	sent := state.Stamp(state.Birth(), x.route.AppendKey(nil, &get).Hash, x.route.AppendURI(nil, &x.target))
	w := x.forward(func(p *passage, status int, h http.Header) {
		// A POST's response is born at the purge that it causes itself: what else was purged until then is looked at here, and
		// nothing may come between this look and the purge.
		looked := state.Birth()
		valid := state.Joinable(&sent)
		receipt, purged := x.invalidate(status, h)
		if x.method == http.MethodPost && x.route.Policy.StorePost && valid && purged && receipt.Applied.Follows(looked) {
			x.keepPost(p, status, h, receipt.Applied)
		}
	})
	if w != nil && w.keep != nil { // of no announced length: net/http sends the end of it when the handler has returned
		w.keep.store(x.p.cache)
	}
}

// lastHop reports whether an OPTIONS or TRACE request must not be forwarded any further (RFC 9110, 7.6.2).
func (x *exchange) lastHop() bool {
	value, lines := x.view.Field("Max-Forwards")
	n, err := strconv.Atoi(value)
	return lines == 1 && err == nil && n == 0
}

// answerHere answers an OPTIONS that ends here. A TRACE is not answered with what it sent: it may hold what another must not see.
func (x *exchange) answerHere() {
	if x.method != http.MethodOptions {
		x.refuse(http.StatusMethodNotAllowed, rfc9111.ReasonMethod)
		return
	}
	h := x.w.Header()
	h["Allow"] = []string{allowed}
	h["Content-Length"] = []string{"0"}
	x.writeHeader(http.StatusOK)
}

// invalidatedBy returns what the answer to an unsafe request invalidates: what RFC 9111, section 4.4, asks for, what the route adds to
// that, and what the answer names itself (RFC 9875, 3).
func (x *exchange) invalidatedBy(status int, h http.Header) (n named) {
	targets := rfc9111.InvalidatedBy(&rfc9111.Exchange{
		Method: x.method, Target: &x.target, Request: &x.view, Status: status, Response: rfc9111.Header(h),
	})
	if len(targets) == 0 {
		return n
	}
	inv := &x.route.Invalidates
	for _, ref := range x.route.InvalidatedURLs(&x.view) {
		if t, err := x.target.Resolve(ref); err == nil {
			targets = append(targets, t)
		}
	}
	for i := range targets {
		n.addTarget(x.plan, target{Target: targets[i]})
	}
	tags := x.route.InvalidatedTags(&x.view)
	for _, line := range h[invalidateTags] {
		tags = appendTags(tags, line)
	}
	for _, tag := range tags {
		if len(tag) <= rules.MaxTag { // else no response can have it
			n.add(invalidation.KindTag, tag)
		}
	}
	for _, group := range rfc9111.Groups(rfc9111.Header(h), "Cache-Group-Invalidation") {
		if group == "" {
			continue // no door takes it: it would be what somebody has forgotten to fill in
		}
		n.add(invalidation.KindGroup, rfc9111.GroupOf(&x.target, group))
	}
	for _, pattern := range inv.Patterns {
		n.add(invalidation.KindPattern, pattern)
	}
	n.purge.Happened = true
	if n.purge.Wait = invalidation.WaitLocal; inv.WaitAll {
		n.purge.Wait = invalidation.WaitAll
	}
	return n
}

// invalidate purges what the answer to an unsafe request invalidates.
func (x *exchange) invalidate(status int, h http.Header) (invalidation.Receipt, bool) {
	n := x.invalidatedBy(status, h)
	if len(n.purge.Selectors) == 0 {
		return invalidation.Receipt{}, false
	}
	// The origin has changed: the purge must happen even if the client goes away now.
	ctx := context.WithoutCancel(x.r.Context())
	receipt, err := x.p.invalidate(ctx, x.plan, &n, &x.view)
	var refused *OrderError
	if errors.Is(err, invalidation.ErrTooMany) || errors.As(err, &refused) { // a client may be told; an origin that has changed may not
		x.p.log.Warn("a write ends everything: what it names is no purge, or too much depends on it", "route", x.route.Name, "error", err)
		all := named{purge: invalidation.Purge{Selectors: []invalidation.Selector{{Kind: invalidation.KindAll}}, Happened: true, Wait: n.purge.Wait}}
		receipt, err = x.p.invalidate(ctx, x.plan, &all, &x.view)
	}
	if err != nil {
		x.p.log.Error("invalidation by an unsafe method", "route", x.route.Name, "error", err)
		return invalidation.Receipt{}, false
	}
	return receipt.Receipt, true
}

// uris returns the addresses under which responses to requests for target may be stored. There may be several: another request for
// it may take another route, which treats host and query in its own way.
func (p *Plan) uris(target *rfc9111.Target) []string {
	var uris []string
	for _, r := range p.Table.Reaching(target) {
		if uri := string(r.AppendURI(nil, target)); !slices.Contains(uris, uri) {
			uris = append(uris, uri)
		}
	}
	return uris
}

// kept is the response to a POST that may be stored for later GETs (RFC 9110, 9.3.3).
type kept struct {
	parts *cache.Parts
	limit int64
	over  bool
}

// keepPost prepares the storing of a POST's response, where it may be stored.
func (x *exchange) keepPost(p *passage, status int, h http.Header, born invalidation.Birth) {
	exchange := &rfc9111.Exchange{
		Method: x.method, Target: &x.target, Request: (*selecting)(&x.view), Status: status, Response: rfc9111.Header(h),
	}
	if ok, _ := rfc9111.Storable(exchange, &x.route.Policy); !ok || !x.route.Admits(&x.view, status, exchange.Response) {
		return
	}
	get := x.view
	get.method = http.MethodGet
	header := h.Clone()
	labels, over := x.plan.label(&get, header, nil, x.p)
	meta := rfc9111.NewMeta(exchange, &x.route.Policy, p.requestTime, time.Now())
	if over != rfc9111.ReasonNone || x.p.declare(x.plan, &x.target, labels, meta.Retain) != rfc9111.ReasonNone {
		return
	}
	header = rfc9111.StoredHeader(header, &x.route.Policy)
	concealed := cache.Conceal(header, x.route.TagHeaders)
	p.keep = &kept{limit: x.route.MaxObjectBytes, parts: &cache.Parts{
		Key: x.route.AppendKey(nil, &get), URI: x.route.AppendURI(nil, &x.target), Rule: x.route.Rule, Policy: &x.route.Policy, Born: born,
		Meta:   meta,
		Header: header, Concealed: concealed, Labels: labels,
	}}
	x.status.Stored = true
}

// add notes what has come, and reports whether that is all that was announced.
func (k *kept) add(b []byte) (whole bool) {
	if k.over = k.over || int64(len(k.parts.Body)+len(b)) > k.limit; k.over {
		return false
	}
	k.parts.Body = append(k.parts.Body, b...)
	return contentLength(k.parts.Header) == int64(len(k.parts.Body))
}

// store stores the response, if all of it has come.
func (k *kept) store(c *cache.Cache) {
	if length := contentLength(k.parts.Header); k.over || length >= 0 && length != int64(len(k.parts.Body)) {
		return
	}
	c.Store(k.parts)
}
