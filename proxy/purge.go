package proxy

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/cacheproxy/cacheproxy/cache"
	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/proxy/forwarded"
	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// isPurge reports whether the method is one of those that speak to the cache and never reach an origin. FOSHttpCache has methods of
// their own for tags: PURGEKEYS for Varnish with xkey, PURGETAGS for the cache of Symfony.
func isPurge(method string) bool {
	switch method {
	case "PURGE", "BAN", "REFRESH", "PURGEKEYS", "PURGETAGS":
		return true
	}
	return false
}

// purge answers PURGE and its kin. Who may not purge gets 403; nothing is ever forwarded.
func (x *exchange) purge() {
	x.report.Result, x.report.Reason = cache.ResultPass, rfc9111.ReasonPurge
	if !x.mayPurge() {
		x.report.Result, x.report.Reason = cache.ResultDenied, rfc9111.ReasonPurgeDenied
		x.p.log.Warn("purge refused", "method", x.method, "peer", x.peer.String(), "host", x.target.Host, "path", x.target.Path)
		x.problem(http.StatusForbidden, "purge refused", "the client's network is not in purge.allow and no token with the scope purge was sent")
		return
	}
	receipt, err := x.invalidateAsAsked()
	var wrong *OrderError
	switch {
	case err == nil:
		x.json(receipt.Status(), "application/json", receipt)
	case errors.As(err, &wrong):
		x.problem(http.StatusBadRequest, "nothing was purged", wrong.Detail)
	case errors.Is(err, invalidation.ErrTooMany):
		x.problem(http.StatusUnprocessableEntity, "nothing was purged", err.Error())
	case errors.Is(err, invalidation.ErrFull):
		x.w.Header()["Retry-After"] = []string{"1"}
		x.problem(http.StatusServiceUnavailable, "nothing was purged", err.Error())
	default:
		x.p.log.Error("purge failed", "host", x.target.Host, "path", x.target.Path, "error", err)
		x.problem(http.StatusInternalServerError, "the purge failed", "the log has the reason")
	}
}

// invalidateAsAsked does what the request asks for.
func (x *exchange) invalidateAsAsked() (*Receipt, error) {
	o, err := parseOrder(x.method, x.r.Header, &x.target)
	if err != nil {
		return nil, err
	}
	n, err := o.compile(x.plan)
	if err != nil {
		return nil, err
	}
	for i := range n.targets { // the request's own, under both schemes; what is fetched anew comes by that of the request
		n.targets[i].Scheme = x.target.Scheme
	}
	return x.p.invalidate(x.r.Context(), x.plan, &n, &x.view)
}

// mayPurge judges by the token where one is sent, else by the socket's peer.
func (x *exchange) mayPurge() bool {
	scheme, token, ok := strings.Cut(x.r.Header.Get("Authorization"), " ")
	if ok && strings.EqualFold(scheme, "Bearer") {
		return x.plan.MayPurge != nil && x.plan.MayPurge(strings.TrimSpace(token))
	}
	return forwarded.Trusts(x.plan.PurgeAllow, x.peer)
}

// problem answers with a problem document (RFC 9457).
func (x *exchange) problem(status int, title, detail string) {
	x.json(status, "application/problem+json", struct {
		Type   string `json:"type"`
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail"`
	}{"about:blank", title, status, detail})
}

// json answers without a Cache-Status: the answer comes from no cache and no origin.
func (x *exchange) json(status int, kind string, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // the types here have nothing that cannot be encoded
	}
	body = append(body, '\n')
	h := x.w.Header()
	h["Content-Type"] = []string{kind}
	h["Cache-Control"] = []string{"no-store"}
	h["Content-Length"] = []string{lengthString(len(body))}
	x.wrote, x.report.Status = true, status
	x.w.WriteHeader(status)
	n, _ := x.w.Write(body) // a client that is gone needs no answer
	x.report.Bytes = int64(n)
}
