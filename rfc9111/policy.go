package rfc9111

import "time"

// Policy is a route's say in caching. The zero value follows the origin, except that it permits no stale use beyond what RFC 9111
// section 4.2.4 allows: a route without stale times of its own sets both to -1.
type Policy struct {
	// TTL, where HasTTL is set, takes the place of the freshness lifetime that the origin gives or that a heuristic finds. It is for
	// the status codes 200, 203, 204, 206, 300, 301, 302, 307 and 308 alone: those below 400 that RFC 9110 lets be cached
	// heuristically (15.1), and the temporary redirects, which operators of other caches expect in a plain ttl. An error never gets
	// it: a moment's failure would be kept as long as a page.
	TTL    time.Duration
	HasTTL bool
	// DefaultTTL, where above 0, is the lifetime of a response that does not say one. It takes the place of the heuristic for the
	// heuristically cacheable status codes below 400.
	DefaultTTL time.Duration
	// StatusTTL has lifetimes for single status codes, and wins over TTL for them. It has no effect on 400, 412, 416, 417 and 431,
	// which speak of one request and are stored by the origin's explicit word alone.
	StatusTTL map[int]time.Duration
	// MaxLifetime bounds lifetime and stale time together; 0: no bound.
	MaxLifetime time.Duration
	// StaleWhileRevalidate and StaleIfError take the place of what the origin's directives of the same names say (RFC 5861);
	// below 0: the origin's stay.
	StaleWhileRevalidate, StaleIfError time.Duration
	// IgnoreOrigin makes the origin's no-store, private, no-cache, must-revalidate and proxy-revalidate mean nothing, and a lifetime
	// of 0 count as none. The configuration calls it respect_origin: false.
	IgnoreOrigin bool
	// StoreCookies stores responses with Set-Cookie, cookies included.
	StoreCookies bool
	// StoreAuthorized stores responses to requests with Authorization that do not permit it themselves (3.5).
	StoreAuthorized bool
	// StoreUnkeyedCORS stores responses whose Access-Control-Allow-Origin repeats the request's Origin without a Vary that names it.
	StoreUnkeyedCORS bool
	// StorePost stores responses to POST that have an explicit lifetime and name their target in Content-Location (RFC 9110, 9.3.3).
	StorePost bool
	// Encode says which encoded forms are made of responses; nil: none.
	Encode *Encoding `json:",omitempty"`
	// Targeted lists the targeted fields that are obeyed (RFC 9213), in canonical form, the most specific first.
	Targeted []string
}
