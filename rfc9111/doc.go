// Package rfc9111 is HTTP caching as pure functions: whether a response may be stored, which stored response fits a request, how
// old it is, what may be done with it, how a 304 changes it, what an unsafe request invalidates, and how Cache-Status reads.
//
// It holds to RFC 9111 (HTTP caching), RFC 9110 chapters 13 and 14 (conditional and range requests), RFC 5861 (stale-while-revalidate,
// stale-if-error), RFC 8246 (immutable), RFC 9211 (Cache-Status) and RFC 9213 (targeted cache control), for a shared cache. Comments
// name the section that a decision comes from; a number without a name is a section of RFC 9111.
//
// No function here reads a clock, does I/O, or keeps state: the time is an argument, and the same arguments give the same answer. What
// can be known when a response is stored is computed then, by [NewMeta]; what a hit needs ([Decide], [Matches], [Preconditions],
// [AppendStatus]) parses next to nothing and does not allocate.
//
// All values are safe for concurrent use as long as nobody changes them; nothing here changes its arguments.
//
// The walk of a request, in the words of this package:
//
//	target, err := rfc9111.ParseTarget("http", r.Host, r.RequestURI)
//	...                                                     // the route makes the key, the key finds the stored response m
//	d := rfc9111.Decide(rfc9111.Header(r.Header), m, rfc9111.ForwardURIMiss, rfc9111.Constraint{}, now)
//	switch d.Action {
//	case rfc9111.Serve:                                     // answer with m
//	case rfc9111.Fetch:                                     // ask the origin, then
//		ok, why := rfc9111.Storable(exchange, policy)
//		meta := rfc9111.NewMeta(exchange, policy, requestTime, responseTime)
//	}
package rfc9111
