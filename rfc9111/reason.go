package rfc9111

//go:generate go test -count=1 -run TestReasonsPage . -update-page

// Reason names why something was decided. The list is closed: the same tokens stand in the detail parameter of Cache-Status
// (RFC 9211, 2.8), in logs and in metric labels, and explain shows their sentences.
type Reason uint8

// The reasons, in the order in which a request meets them.
const (
	ReasonNone Reason = iota // nothing to say

	// The request did not reach the cache.

	ReasonInvalidTarget
	ReasonLimit
	ReasonNoRoute
	ReasonMethod
	ReasonConnect
	ReasonPurge
	ReasonPurgeDenied
	ReasonUpgrade
	ReasonPatternOff
	ReasonBypass
	ReasonRange

	// Nothing that is stored fits.

	ReasonURIMiss
	ReasonVaryMiss
	ReasonPartial
	ReasonHitForMiss
	ReasonPurged
	ReasonRuleChanged

	// What may be done with what is stored.

	ReasonL1
	ReasonL2
	ReasonImmutable
	ReasonRequestNoStore
	ReasonRequestNoCache
	ReasonRequestMaxAge
	ReasonRequestMinFresh
	ReasonOnlyIfCached
	ReasonUnsure
	ReasonNoCache
	ReasonMustRevalidate
	ReasonStale
	ReasonSoftened
	ReasonExpired
	ReasonMaxStale
	ReasonStaleWhileRevalidate
	ReasonStaleIfError
	ReasonDisconnected

	// The origin's answer may not be stored.

	ReasonStatus
	ReasonMustUnderstand
	ReasonNoStore
	ReasonPrivate
	ReasonAuthorization
	ReasonSetCookie
	ReasonUnkeyedCORS
	ReasonVaryStar
	ReasonNoFreshness
	ReasonDisguised
	ReasonLargeRequest
	ReasonRareVariant
	ReasonWhen
	ReasonTags
	ReasonTooLarge

	// The fetch did not end well.

	ReasonUpstreamError
	ReasonUpstreamTimeout
	ReasonIncomplete
	ReasonCollapseTimeout
	ReasonConcurrency
	ReasonClientGone
	ReasonPanic

	reasonCount
)

// reasons holds the token and the two sentences of each Reason.
var reasons = [reasonCount]struct{ token, explain, advice string }{
	ReasonNone: {"none", "There is nothing particular to say about this answer.", "Nothing needs to be done."},

	ReasonInvalidTarget: {"invalid-target", "The request's URL or Host field has no safe normal form, so the request was refused.",
		"Correct the client; the error names the part and the byte that is wrong."},
	ReasonLimit: {"limit", "The request is larger than one of the limits allows.",
		"Send less, or raise the limit that the answer's status points to (limits.url_bytes, limits.query_params, limits.header_bytes)."},
	ReasonNoRoute: {"no-route", "No route matches the request and there is no default upstream.",
		"Add a route, or set default_upstream."},
	ReasonMethod: {"method", "The request's method is not one whose answers this cache stores or serves.",
		"Only GET and HEAD are answered from the cache; store.post allows answers to POST that name their own URL in Content-Location."},
	ReasonConnect: {"connect", "The request asks for a tunnel, which is never cached.", "Nothing needs to be done."},
	ReasonPurge:   {"purge", "The request purges; it is answered here and never forwarded.", "Nothing needs to be done."},
	ReasonPurgeDenied: {"purge-denied", "The client may not purge: its network is not in purge.allow, and it sent no token with the scope purge.",
		"Send the token as Authorization: Bearer TOKEN, or add the client's network to purge.allow."},
	ReasonUpgrade: {"upgrade", "The request asks for another protocol, such as WebSocket, which is never cached.", "Nothing needs to be done."},
	ReasonPatternOff: {"pattern-off", "The route's cache pattern is off.",
		"Set cache.pattern to cache-aside where this route should be cached."},
	ReasonBypass: {"bypass", "The route's bypass condition holds for this request, so the cache was neither read nor written.",
		"Look at cache.bypass; an error while it is evaluated counts as true."},
	ReasonRange: {"range", "The request asks for a range of something that is not stored and is too large to be fetched whole.",
		"Raise max_object_bytes where the whole object should be cached."},

	ReasonURIMiss:  {"uri-miss", "Nothing is stored under this request's key.", "Ask again: the answer may be stored now. Compare the keys with explain where it is not."},
	ReasonVaryMiss: {"vary-miss", "Something is stored for this URL, but for other values of the fields that Vary names (RFC 9111, 4.1).", "Let the origin vary by fewer fields, or bring their values into few forms with vary.normalize and vary.sort."},
	ReasonPartial:  {"partial", "Only a part of the response is stored, or was sent, and it cannot be used for this request (RFC 9111, 3.3 and 3.4).", "Set complete_ranges, or let the origin send a valid Content-Range and a strong ETag."},
	ReasonHitForMiss: {"hit-for-miss", "The last answer for this key could not be stored, so requests are not made to wait for one another.",
		"Nothing needs to be done: this answer could be stored."},
	ReasonPurged:      {"purged", "What was stored has been purged, so it is fetched anew.", "Nothing needs to be done."},
	ReasonRuleChanged: {"rule-changed", "The route's storing rules have changed since the response was stored, so it is fetched anew.", "Nothing needs to be done."},

	ReasonL1:              {"l1", "The response comes from memory.", "Nothing needs to be done."},
	ReasonL2:              {"l2", "The response comes from Redis, where this instance or another has stored it.", "Nothing needs to be done."},
	ReasonImmutable:       {"immutable", "The response is fresh and immutable, so a plain reload is answered from the cache (RFC 8246, 2).", "Nothing needs to be done; a request with no-cache is sent to the origin."},
	ReasonRequestNoStore:  {"request-no-store", "The request's Cache-Control says no-store, so its answer is not stored (RFC 9111, 5.2.1.5).", "Let the client leave it out."},
	ReasonRequestNoCache:  {"request-no-cache", "The request's Cache-Control, or Pragma, says no-cache, so the origin is asked (RFC 9111, 5.2.1.4).", "Let the client leave it out; browsers send it on a forced reload."},
	ReasonRequestMaxAge:   {"request-max-age", "The stored response is older than the request's max-age allows (RFC 9111, 5.2.1.1).", "Let the client leave it out; browsers send max-age=0 on a reload."},
	ReasonRequestMinFresh: {"request-min-fresh", "The stored response does not stay fresh as long as the request's min-fresh asks (RFC 9111, 5.2.1.3).", "Let the client ask for less, or lengthen the lifetime."},
	ReasonOnlyIfCached:    {"only-if-cached", "The request may only be answered from the cache, and nothing that is stored may be used (RFC 9111, 5.2.1.7).", "Let the client leave only-if-cached out."},
	ReasonUnsure:          {"unsure", "This instance cannot know whether the stored response has been purged, so the origin is asked before it is used.", "Nothing needs to be done if this passes; else see the state of the invalidation log in /readyz."},
	ReasonNoCache:         {"no-cache", "The response's Cache-Control says no-cache: it is used only after the origin has confirmed it, and not stored where it has no validator (RFC 9111, 5.2.2.4).", "Let the origin send a lifetime instead, or an ETag, so that confirming it is cheap."},
	ReasonMustRevalidate:  {"must-revalidate", "The stored response is stale, and must-revalidate, proxy-revalidate or s-maxage forbids to use it so (RFC 9111, 4.2.4).", "Let the origin leave the directive out where a stale answer is better than none."},
	ReasonStale:           {"stale", "The stored response is no longer fresh.", "Lengthen its lifetime, or allow stale-while-revalidate."},
	ReasonSoftened:        {"softened", "A purge has made the stored response stale, and nothing allows to use it so while it is renewed.", "Allow stale-while-revalidate where an old answer may be given while the new one is fetched."},
	ReasonExpired:         {"expired", "The response is stale, or was so on arrival, and is of no use any more: it cannot be validated, and no rule allows to use it stale.", "Let the origin send a longer lifetime or a validator; see whether a cache before this one adds a high Age."},
	ReasonMaxStale:        {"max-stale", "The stored response is stale, and the request's max-stale allows that (RFC 9111, 5.2.1.2).", "Nothing needs to be done."},
	ReasonStaleWhileRevalidate: {"stale-while-revalidate", "The stored response is stale; it was used while a new one is fetched in the background (RFC 5861, 3).",
		"Nothing needs to be done."},
	ReasonStaleIfError: {"stale-if-error", "The origin failed, and a stale response was used instead (RFC 5861, 4).", "See why the origin fails."},
	ReasonDisconnected: {"disconnected", "The origin could not be reached, and a stale response was used instead (RFC 9111, 4.2.4).", "See why the origin cannot be reached."},

	ReasonStatus:         {"status", "Responses with this status code are stored only where they say for how long (RFC 9110, 15.1).", "Let the origin send max-age, or use status_ttl."},
	ReasonMustUnderstand: {"must-understand", "The response may be stored only by a cache that understands its status code, and this one does not (RFC 9111, 5.2.2.3).", "Let the origin use a registered status code, or leave must-understand out."},
	ReasonNoStore:        {"no-store", "The response's Cache-Control says no-store (RFC 9111, 5.2.2.5).", "Let the origin leave it out, or set respect_origin: false."},
	ReasonPrivate:        {"private", "The response's Cache-Control says private: it is meant for one user (RFC 9111, 5.2.2.7).", "Let the origin leave it out where all users get the same, or set respect_origin: false."},
	ReasonAuthorization:  {"authorization", "The request has an Authorization field, and the response does not say that it may be shared (RFC 9111, 3.5).", "Let the origin send public, must-revalidate or s-maxage, or set store.authorized."},
	ReasonSetCookie:      {"set-cookie", "The response sets a cookie, which would be given to every user.", "Let the origin set it elsewhere, or send no-cache=\"set-cookie\"; store.set_cookie shares it."},
	ReasonUnkeyedCORS:    {"unkeyed-cors", "The response allows the origin that the request named in its Origin field, but its Vary does not name Origin.", "Let the origin send Vary: Origin or Access-Control-Allow-Origin: *, or set store.unkeyed_cors."},
	ReasonVaryStar:       {"vary-star", "The response's Vary is *, so that no other request can be answered with it (RFC 9111, 4.1).", "Let the origin name the fields that it looks at."},
	ReasonNoFreshness:    {"no-freshness", "The response does not say for how long it may be kept, and has no validator with which to ask.", "Let the origin send max-age, Last-Modified or ETag, or set default_ttl or the route's ttl."},
	ReasonDisguised: {"disguised", "The URL names a file, such as a style sheet or an image, but the response is a page or data, and only our rule, not the origin, says for how long it may be kept. A user may have been led to it, so that his own page is stored for everybody.",
		"Nothing needs to be done if the origin has no such file; else let it send the right Content-Type, or max-age."},
	ReasonLargeRequest: {"large-request", "The response is an error that speaks of the request, and the request's header section was so large that it may have been the cause.",
		"Nothing needs to be done."},
	ReasonRareVariant: {"rare-variant", "Several variants of this URL are stored already, and nobody has asked for this one lately; the next request for it has it stored.",
		"Nothing needs to be done; where there are many variants, bring the values that Vary names into few forms with vary.normalize."},
	ReasonWhen: {"when", "The route's cache condition does not hold for this response.", "Look at cache.when; an error while it is evaluated counts as false."},
	ReasonTags: {"tags", "The response has more tags, groups or dependencies than cache.max_tags, one of more than 1 KiB, or a dependency that cannot be read. Stored without them, it could not be purged by them.",
		"Let the origin send fewer or shorter ones, or raise cache.max_tags."},
	ReasonTooLarge: {"too-large", "The response is larger than max_object_bytes.", "Raise max_object_bytes of the route or of the tier."},

	ReasonUpstreamError:   {"upstream-error", "The origin could not be reached, or what it sent is not HTTP.", "See the log for the error, and the state of the upstream's targets."},
	ReasonUpstreamTimeout: {"upstream-timeout", "The origin did not answer in time.", "See why it is slow, or raise the upstream's timeout."},
	ReasonIncomplete:      {"incomplete", "The response's body broke off, so it was not stored.", "See why the origin, or the connection to it, breaks off."},
	ReasonCollapseTimeout: {"collapse-timeout", "The request waited for the same fetch of another one, and went on its own when that took too long.", "Raise collapse.wait, or see why the origin is slow."},
	ReasonConcurrency:     {"concurrency", "As many fetches as allowed were under way.", "Raise limits.concurrent_fetches, or see why the origin is slow."},
	ReasonClientGone:      {"client-gone", "The client closed the connection, or stopped reading, before its answer was complete.", "See whether clients give up because the origin is slow."},
	ReasonPanic:           {"panic", "A bug in the proxy ended the request.", "Report it with the log's stack trace."},
}

// String returns the reason's token: lower-case words with dashes.
func (r Reason) String() string {
	if r >= reasonCount {
		return "unknown"
	}
	return reasons[r].token
}

// OfRequest reports whether the reason lies in the request alone: the same response to another request might be stored.
func (r Reason) OfRequest() bool {
	switch r {
	case ReasonAuthorization, ReasonRequestNoStore, ReasonUnkeyedCORS, ReasonLargeRequest, ReasonRareVariant:
		return true
	}
	return false
}

// Explain returns a sentence that says what the reason means.
func (r Reason) Explain() string {
	if r >= reasonCount {
		return ""
	}
	return reasons[r].explain
}

// Advice returns a sentence that says what may be done about it.
func (r Reason) Advice() string {
	if r >= reasonCount {
		return ""
	}
	return reasons[r].advice
}

// Reasons returns all reasons but ReasonNone, in the order of their constants.
func Reasons() []Reason {
	all := make([]Reason, 0, reasonCount-1)
	for r := ReasonNone + 1; r < reasonCount; r++ {
		all = append(all, r)
	}
	return all
}

// ParseReason returns the reason whose token s is.
func ParseReason(s string) (r Reason, ok bool) {
	for r := range reasonCount {
		if reasons[r].token == s {
			return r, true
		}
	}
	return ReasonNone, false
}
