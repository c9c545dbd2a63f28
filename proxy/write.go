package proxy

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/cacheproxy/cacheproxy/cache"
	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/rfc9111"
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

// invalidate purges what the answer to an unsafe request invalidates.
func (x *exchange) invalidate(status int, h http.Header) (invalidation.Receipt, bool) {
	targets := rfc9111.InvalidatedBy(&rfc9111.Exchange{
		Method: x.method, Target: &x.target, Request: &x.view, Status: status, Response: rfc9111.Header(h),
	})
	if len(targets) == 0 {
		return invalidation.Receipt{}, false
	}
	selectors := make([]invalidation.Selector, 0, len(targets))
	keys := make([][16]byte, 0, len(targets))
	for i := range targets {
		for _, uri := range x.plan.uris(&targets[i]) {
			selectors = append(selectors, invalidation.Selector{Kind: invalidation.KindURL, Value: uri})
		}
		keys = append(keys, x.keys(&targets[i])...)
	}
	// The origin has changed: the purge must happen even if the client goes away now.
	x.p.cache.Unshare(context.WithoutCancel(x.r.Context()), keys...)
	receipt, err := x.p.purger.Purge(context.WithoutCancel(x.r.Context()), invalidation.Purge{Selectors: selectors, Wait: invalidation.WaitLocal})
	if err != nil {
		x.p.log.Error("invalidation by an unsafe method", "route", x.route.Name, "error", err)
		return receipt, false
	}
	for _, key := range keys {
		x.p.cache.Free(key)
	}
	return receipt, true
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

// keys returns the keys under which this client's GET for target, or one that takes another route, would be stored. Where header
// fields or cookies are in a route's key, other clients have others.
func (x *exchange) keys(target *rfc9111.Target) [][16]byte {
	v := x.view
	v.method, v.target = http.MethodGet, *target
	keys := [][16]byte{x.plan.Table.Match(&v).AppendKey(nil, &v).Hash}
	for _, v.route = range x.plan.Table.Reaching(target) {
		if key := v.route.AppendKey(nil, &v).Hash; !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return keys
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
	labels, over := x.plan.label(&get, header, nil)
	if over != rfc9111.ReasonNone {
		return
	}
	header = rfc9111.StoredHeader(header, &x.route.Policy)
	concealed := cache.Conceal(header, x.route.TagHeaders)
	p.keep = &kept{limit: x.route.MaxObjectBytes, parts: &cache.Parts{
		Key: x.route.AppendKey(nil, &get), URI: x.route.AppendURI(nil, &x.target), Rule: x.route.Rule, Policy: &x.route.Policy, Born: born,
		Meta:   rfc9111.NewMeta(exchange, &x.route.Policy, p.requestTime, time.Now()),
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
