package rfc9111

import (
	"net/http"
	"slices"
	"time"
)

// Exchange is one request to the origin and the head of its answer.
type Exchange struct {
	Method   string
	Target   *Target
	Request  Fields // as the client sent it: Connection must not be able to hide Authorization from the decision
	Status   int
	Response Fields
}

// judgement is an exchange with what its response says about caching.
type judgement struct {
	exchange *Exchange
	policy   *Policy
	responseDirectives
	shareable bool // may be stored though the request was authorized (3.5)
}

func judge(x *Exchange, p *Policy) judgement {
	j := judgement{exchange: x, policy: p, responseDirectives: responseDirectivesOf(x.Response, p)}
	j.shareable = j.public || j.mustRevalidate || j.sMaxAge.set
	if p.IgnoreOrigin {
		j.noStore, j.private, j.noCache, j.mustRevalidate, j.proxyRevalidate = false, false, false, false, false
	}
	if j.mustUnderstand && understood(x.Status) {
		j.noStore = false // 5.2.2.3
	}
	return j
}

// Storable says whether the response may be stored and is worth it (3), and if not, why: of several reasons the one that is most
// useful to know. A response is worth storing where it will be fresh for a while, or may be used stale, or can be validated.
//
// Responses to HEAD are not: they have no content, and a GET is made of a HEAD that misses. An incomplete 200 is for the caller to see.
func Storable(x *Exchange, p *Policy) (ok bool, why Reason) {
	j := judge(x, p)
	for _, refuse := range []func(*judgement) Reason{
		refuseMethod, refuseDirectives, refuseUser, refuseVary, refuseStatus, refuseUseless, refuseDisguised,
	} {
		if why = refuse(&j); why != ReasonNone {
			return false, why
		}
	}
	return true, ReasonNone
}

func refuseMethod(j *judgement) Reason {
	x := j.exchange
	if x.Method == http.MethodGet || x.Method == http.MethodPost && j.policy.StorePost && representsTarget(x) {
		return ReasonNone
	}
	return ReasonMethod
}

// representsTarget reports whether the answer to a POST is what a GET would get (RFC 9110, 9.3.3).
func representsTarget(x *Exchange) bool {
	location, lines := x.Response.Field("Content-Location")
	if lines != 1 || x.Target == nil || x.Status < 200 || x.Status > 299 || x.Status == http.StatusPartialContent {
		return false
	}
	target, err := x.Target.Resolve(location)
	return err == nil && target == *x.Target
}

func refuseDirectives(j *judgement) Reason {
	switch {
	case j.mustUnderstand && !understood(j.exchange.Status):
		return ReasonMustUnderstand
	case j.noStore:
		return ReasonNoStore
	case requestDirectivesOf(j.exchange.Request).noStore:
		return ReasonRequestNoStore
	case j.private:
		return ReasonPrivate
	}
	return ReasonNone
}

// refuseUser keeps what was made for one user from all others.
func refuseUser(j *judgement) Reason {
	request, response, p := j.exchange.Request, j.exchange.Response, j.policy
	if _, lines := request.Field("Authorization"); lines > 0 && !j.shareable && !p.StoreAuthorized {
		return ReasonAuthorization
	}
	if _, lines := response.Field("Set-Cookie"); lines > 0 && !p.StoreCookies && !j.strips("Set-Cookie") {
		return ReasonSetCookie
	}
	if !p.StoreUnkeyedCORS && echoesOrigin(request, response) {
		return ReasonUnkeyedCORS
	}
	return ReasonNone
}

// strips reports whether no-cache="..." or private="..." keeps the field out of the cache.
func (j *judgement) strips(name string) bool {
	return slices.Contains(j.noCacheFields, name) || slices.Contains(j.privateFields, name)
}

// echoesOrigin reports whether the response admits just the web origin that asked, without saying in Vary that it looked at it.
func echoesOrigin(request, response Fields) bool {
	origin, lines := request.Field("Origin")
	if lines == 0 {
		return false
	}
	allowed, lines := response.Field("Access-Control-Allow-Origin")
	if lines == 0 || trim(allowed) != trim(origin) || trim(allowed) == "*" {
		return false
	}
	names, star := VaryNames(response)
	return !star && !slices.Contains(names, "Origin")
}

func refuseVary(j *judgement) Reason {
	if _, star := VaryNames(j.exchange.Response); star {
		return ReasonVaryStar
	}
	return ReasonNone
}

func refuseStatus(j *judgement) Reason {
	status := j.exchange.Status
	if status < 200 || status == http.StatusNotModified {
		return ReasonStatus
	}
	if status == http.StatusPartialContent && !usablePart(j.exchange.Response) {
		return ReasonPartial
	}
	if heuristicallyCacheable(status) && j.exchange.Method != http.MethodPost || j.public && !explicitOnly(status) {
		return ReasonNone
	}
	if s := j.lifetime(time.Time{}).source; s.byOrigin() || s == fromStatus || s == fromRule {
		return ReasonNone
	}
	if j.exchange.Method == http.MethodPost {
		return ReasonNoFreshness
	}
	return ReasonStatus
}

// refuseUseless refuses what may be stored but will never be of use.
func refuseUseless(j *judgement) Reason {
	if !validatorsOf(j.exchange.Response).None() {
		return ReasonNone
	}
	if j.noCache {
		return ReasonNoCache
	}
	l := j.lifetime(time.Time{})
	m := Meta{Lifetime: l.value, Flags: j.flags(&l)}
	m.StaleWhileRevalidate, m.StaleIfError = j.staleTimes()
	switch {
	case m.Lifetime+staleUse(&m) > ageField(j.exchange.Response):
		return ReasonNone
	case l.source == unsaid:
		return ReasonNoFreshness
	default:
		return ReasonExpired
	}
}

// flags computes Meta.Flags. s-maxage limits stale use (5.2.2.10) only where it gives the lifetime, not where the rule does.
func (j *judgement) flags(l *lifetime) Flags {
	var f Flags
	if j.mustRevalidate || j.proxyRevalidate {
		f |= MustRevalidate
	}
	if l.source == fromSMaxAge {
		f |= WindowOnly
	}
	if j.noCache {
		f |= NoCache
	}
	if j.immutable {
		f |= Immutable
	}
	if l.source == fromModified {
		f |= HeuristicLifetime
	}
	if j.exchange.Status == http.StatusPartialContent {
		f |= Partial
	}
	return f
}

// staleTimes returns the rule's stale times, or else the origin's (RFC 5861).
func (j *judgement) staleTimes() (whileRevalidate, ifError time.Duration) {
	whileRevalidate, ifError = j.policy.StaleWhileRevalidate, j.policy.StaleIfError
	if whileRevalidate < 0 {
		whileRevalidate = j.staleWhileRevalidate.value
	}
	if ifError < 0 {
		ifError = j.staleIfError.value
	}
	return min(whileRevalidate, maxDelta), min(ifError, maxDelta)
}

// heuristicallyCacheable reports whether a response with this status may be stored though it does not say for how long (RFC 9110, 15.1).
func heuristicallyCacheable(status int) bool {
	switch status {
	case 200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501:
		return true
	}
	return false
}

// takesRuleTTL reports whether a rule's plain ttl is for responses with this status; see Policy.TTL.
func takesRuleTTL(status int) bool {
	return status < 400 && heuristicallyCacheable(status) || status == 302 || status == 307
}

// explicitOnly reports whether a response with this status speaks of one request rather than of the resource: it is stored by the
// origin's explicit lifetime alone.
func explicitOnly(status int) bool {
	switch status {
	case 400, 412, 416, 417, 431:
		return true
	}
	return false
}

// understood reports whether this cache knows what the status means for caching (5.2.2.3): the final ones of RFC 9110, section 15,
// but 304 and 305, and 429, 431 and 511 of RFC 6585.
func understood(status int) bool {
	switch {
	case 200 <= status && status <= 206, 300 <= status && status <= 303, 307 <= status && status <= 308,
		400 <= status && status <= 417, 421 <= status && status <= 422, 500 <= status && status <= 505:
		return true
	}
	return status == 426 || status == 429 || status == 431 || status == 511
}

// StoredHeader returns the field lines to store (3.1): a copy without the fields of one connection, those that Connection names, and
// those that no-cache="..." and private="..." name. Set-Cookie stays only where the policy stores cookies. Targeted fields stay: a
// cache further on may look for them.
func StoredHeader(h http.Header, p *Policy) http.Header {
	r := responseDirectivesOf(Header(h), p)
	stored := withoutHopByHop(h)
	for _, names := range [][]string{r.noCacheFields, r.privateFields} {
		for _, name := range names {
			delete(stored, name)
		}
	}
	if !p.StoreCookies {
		delete(stored, "Set-Cookie")
	}
	return stored
}

// withoutHopByHop returns a copy of h without the fields that belong to one connection.
func withoutHopByHop(h http.Header) http.Header {
	stored := h.Clone()
	if stored == nil {
		stored = http.Header{}
	}
	for _, name := range hopByHop {
		delete(stored, name)
	}
	connection, _ := Header(h).Field("Connection")
	for name, rest := nextName(connection); name != ""; name, rest = nextName(rest) {
		delete(stored, http.CanonicalHeaderKey(name))
	}
	return stored
}
