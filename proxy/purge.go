package proxy

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/cacheproxy/cacheproxy/cache"
	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// isPurge reports whether the method is one of those that speak to the cache and never reach an origin.
func isPurge(method string) bool {
	switch method {
	case "PURGE", "BAN", "REFRESH":
		return true
	}
	return false
}

// notBuilt lists the fields by which clients of other caches select or modify what a PURGE does. They are refused rather than
// ignored: a purge by tag that purged a URL would look like success.
var notBuilt = []string{
	"Surrogate-Key", "Xkey", "Xkey-Purge", "Xkey-Softpurge", "Cache-Tag", "X-Cache-Tags", "X-Purge-Pattern", "X-Purge-Strategy",
	"X-Purge-Wait", "X-Purge-Timeout", "Fastly-Soft-Purge",
}

// purge answers PURGE: the URL in all its variants and both schemes. Who may not purge gets 403; nothing is ever forwarded.
func (x *exchange) purge() {
	x.report.Result, x.report.Reason = cache.ResultPass, rfc9111.ReasonPurge
	switch field := x.unbuiltField(); {
	case !x.mayPurge():
		x.report.Result, x.report.Reason = cache.ResultDenied, rfc9111.ReasonPurgeDenied
		x.p.log.Warn("purge refused", "peer", x.peer.String(), "host", x.target.Host, "path", x.target.Path)
		x.problem(http.StatusForbidden, "purge refused", "the client's network is not in purge.allow and no token with the scope purge was sent")
	case x.method != "PURGE":
		x.problem(http.StatusNotImplemented, x.method+" is not built yet", "use PURGE with the URL")
	case field != "":
		x.problem(http.StatusNotImplemented, field+" is not built yet", "PURGE purges the URL it names, in all its variants; send it without the field "+field)
	default:
		x.purgeURL()
	}
}

func (x *exchange) unbuiltField() string {
	for _, name := range notBuilt {
		if len(x.r.Header[name]) > 0 {
			return name
		}
	}
	return ""
}

// mayPurge judges by the token where one is sent, else by the socket's peer.
func (x *exchange) mayPurge() bool {
	scheme, token, ok := strings.Cut(x.r.Header.Get("Authorization"), " ")
	if ok && strings.EqualFold(scheme, "Bearer") {
		return x.plan.MayPurge != nil && x.plan.MayPurge(strings.TrimSpace(token))
	}
	return contains(x.plan.PurgeAllow, x.peer)
}

func (x *exchange) purgeURL() {
	target := x.target
	var selectors []invalidation.Selector
	for _, uri := range x.plan.uris(&target) {
		_, bare, _ := strings.Cut(uri, ":")
		selectors = append(selectors, invalidation.Selector{Kind: invalidation.KindURL, Value: bare})
	}
	var keys [][16]byte
	for _, target.Scheme = range []string{"http", "https"} {
		keys = append(keys, x.keys(&target)...)
	}
	x.p.cache.Unshare(x.r.Context(), keys...)
	receipt, err := x.p.purger.Purge(x.r.Context(), invalidation.Purge{Selectors: selectors})
	if err != nil {
		x.problem(http.StatusBadRequest, "nothing was purged", err.Error())
		return
	}
	for _, key := range keys {
		receipt.Freed += x.p.cache.Free(key)
	}
	x.json(http.StatusOK, "application/json", receipt)
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
