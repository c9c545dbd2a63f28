package rfc9111

import "time"

// Action is what to do with a request.
type Action uint8

// The actions.
const (
	Fetch         Action = iota // ask the origin
	Serve                       // answer with the stored response, which is fresh
	ServeStale                  // answer with the stored response, which is stale, but allowed
	Validate                    // ask the origin, with the stored response's validators
	Unsatisfiable               // answer 504: only-if-cached (5.2.1.7)
)

// Forward is why a request goes to the origin: fwd of Cache-Status (RFC 9211, 2.2).
type Forward uint8

// The reasons to forward.
const (
	ForwardNone Forward = iota
	ForwardBypass
	ForwardMethod
	ForwardURIMiss
	ForwardVaryMiss
	ForwardMiss
	ForwardRequest
	ForwardStale
	ForwardPartial
)

// Decision is the verdict on a request and a stored response.
type Decision struct {
	Action   Action
	Forward  Forward       // set where Action is Fetch or Validate
	Age, TTL time.Duration // of the stored response; TTL is not above 0 once it is stale
	Refresh  bool          // serve now, renew behind
	Reason   Reason
}

// Constraint is what others know against reuse.
type Constraint struct {
	Validate bool      // nobody can say whether the response was purged: validate before use, by a strong validator
	Stale    bool      // a purge has made the response stale, as if its lifetime had just ended
	Until    time.Time // a purge has cut the lifetime to this; zero: none has
	Refresh  bool      // nobody can say whether the response was purged, but it may be served while that is found out
}

// Bound returns what is left of a lifetime of ttl.
func (c *Constraint) Bound(ttl time.Duration, now time.Time) time.Duration {
	if c.Stale {
		ttl = min(ttl, 0)
	}
	if !c.Until.IsZero() {
		ttl = min(ttl, c.Until.Sub(now))
	}
	return ttl
}

// Decide says what may be done with m for a GET or a HEAD (4). m is nil where nothing is stored that the request selects; miss then
// says which kind of miss it is. It does not allocate.
//
// All request directives are obeyed, with one exception: max-age=0, which browsers send on a plain reload, does not send a response to
// the origin that is fresh and immutable (RFC 8246, 2). A forced reload, no-cache, does.
func Decide(req Fields, m *Meta, miss Forward, c Constraint, now time.Time) Decision {
	r := requestDirectivesOf(req)
	d := decide(&r, m, miss, c, now)
	if r.onlyIfCached && d.Action != Serve && d.Action != ServeStale {
		d.Action, d.Forward, d.Reason = Unsatisfiable, ForwardNone, ReasonOnlyIfCached
	}
	return d
}

func decide(r *requestDirectives, m *Meta, miss Forward, c Constraint, now time.Time) Decision {
	if m == nil {
		return decideMiss(r, miss)
	}
	d := Decision{Age: m.Age(now), TTL: c.Bound(m.TTL(now), now)}
	if r.noStore {
		d.Action, d.Forward, d.Reason = Fetch, ForwardRequest, ReasonRequestNoStore
		return d
	}
	if !now.Before(m.Retain) && d.TTL <= 0 {
		d.Action, d.Forward, d.Reason = Fetch, ForwardStale, ReasonExpired
		return d
	}
	if why := forbidden(r, m, &d, c); why != ReasonNone {
		d.Forward, d.Reason = ForwardRequest, why
		if why == ReasonNoCache || why == ReasonUnsure {
			d.Forward = ForwardStale
		}
		d.Action = ask(m, c)
		return d
	}
	if d.TTL > 0 {
		d.Action = Serve
		if r.maxAge.set && d.Age > r.maxAge.value {
			d.Reason = ReasonImmutable
		}
		if c.Refresh {
			d.Action, d.Refresh, d.Reason = ServeStale, true, ReasonUnsure
		}
		return d
	}
	return decideStale(r, m, d, c)
}

// decideMiss gives each miss the reason of the same name.
func decideMiss(r *requestDirectives, miss Forward) Decision {
	d := Decision{Action: Fetch, Forward: miss}
	switch miss {
	case ForwardBypass:
		d.Reason = ReasonBypass
	case ForwardMethod:
		d.Reason = ReasonMethod
	case ForwardURIMiss, ForwardMiss:
		d.Reason = ReasonURIMiss
	case ForwardVaryMiss:
		d.Reason = ReasonVaryMiss
	case ForwardPartial:
		d.Reason = ReasonPartial
	}
	if r.noStore {
		d.Reason = ReasonRequestNoStore
	}
	return d
}

// forbidden says why the response may not be used without asking, be it fresh or stale.
func forbidden(r *requestDirectives, m *Meta, d *Decision, c Constraint) Reason {
	switch {
	case c.Validate:
		return ReasonUnsure
	case r.noCache:
		return ReasonRequestNoCache
	case m.Flags&NoCache != 0:
		return ReasonNoCache
	case r.maxAge.set && d.Age > r.maxAge.value && !reloadOfImmutable(r, m, d) && !staleAccepted(r, m, d):
		return ReasonRequestMaxAge
	case r.minFresh.set && d.TTL < r.minFresh.value:
		return ReasonRequestMinFresh
	}
	return ReasonNone
}

func reloadOfImmutable(r *requestDirectives, m *Meta, d *Decision) bool {
	return r.maxAge.value == 0 && m.Flags&Immutable != 0 && d.TTL > 0
}

// staleAccepted reports whether the response is stale and max-stale accepts that: it then outweighs max-age (5.2.1.1).
func staleAccepted(r *requestDirectives, m *Meta, d *Decision) bool {
	return d.TTL <= 0 && r.maxStale.set && -d.TTL <= r.maxStale.value && m.Flags&(MustRevalidate|WindowOnly) == 0
}

// decideStale decides on a stale response that neither the request nor no-cache keeps from use (4.2.4).
func decideStale(r *requestDirectives, m *Meta, d Decision, c Constraint) Decision {
	switch {
	case m.Flags&MustRevalidate != 0:
		d.Reason = ReasonMustRevalidate
	case -d.TTL < m.StaleWhileRevalidate:
		d.Action, d.Refresh, d.Reason = ServeStale, true, ReasonStaleWhileRevalidate
		return d
	case staleAccepted(r, m, &d):
		d.Action, d.Reason = ServeStale, ReasonMaxStale
		return d
	case m.Flags&WindowOnly != 0:
		d.Reason = ReasonMustRevalidate
	case c.Stale:
		d.Reason = ReasonSoftened
	default:
		d.Reason = ReasonStale
	}
	d.Action, d.Forward = ask(m, c), ForwardStale
	return d
}

// ask is how the origin is asked: with validators where they can prove enough.
func ask(m *Meta, c Constraint) Action {
	if m.Validators.None() || c.Validate && m.Validators.ETag == "" && !strongLastModified(m) {
		return Fetch
	}
	return Validate
}

// Failure is how the origin failed.
type Failure uint8

// The failures.
const (
	Disconnected Failure = iota // no response was obtained (4.2.4)
	ServerError                 // 500, 502, 503, 504 (RFC 5861, 4)
)

// DecideOnError says whether m may be served though the origin failed: Action is Serve or ServeStale if so, Fetch if not.
//
// Where no response was obtained, any stale response may be served until Meta.Retain, unless must-revalidate, proxy-revalidate or
// no-cache forbids it (4.2.4), or s-maxage does outside of the stale times. Where the origin answered with an error, only stale-if-error permits it, of the response or
// of the request (RFC 5861, 4). A request with no-cache or no-store gets the error: its sender asked for the origin's word. One with
// max-age or min-fresh does not: it merely prefers a younger response, and stale-if-error holds regardless of other freshness.
func DecideOnError(req Fields, m *Meta, c Constraint, f Failure, now time.Time) Decision {
	if m == nil {
		return Decision{Reason: errorReason(f)}
	}
	r := requestDirectivesOf(req)
	d := Decision{Age: m.Age(now), TTL: c.Bound(m.TTL(now), now)}
	inWindow := -d.TTL < max(m.StaleIfError, r.staleIfError.value)
	switch {
	case c.Validate:
		d.Reason = ReasonUnsure
	case r.noStore:
		d.Reason = ReasonRequestNoStore
	case r.noCache:
		d.Reason = ReasonRequestNoCache
	case m.Flags&NoCache != 0:
		d.Reason = ReasonNoCache
	case d.TTL > 0:
		d.Action, d.Reason = Serve, errorReason(f)
	case m.Flags&MustRevalidate != 0, m.Flags&WindowOnly != 0 && !inWindow:
		d.Reason = ReasonMustRevalidate
	case !now.Before(m.Retain):
		d.Reason = ReasonExpired
	case inWindow:
		d.Action, d.Reason = ServeStale, ReasonStaleIfError
	case f == Disconnected:
		d.Action, d.Reason = ServeStale, ReasonDisconnected
	default:
		d.Reason = ReasonStale
	}
	return d
}

func errorReason(f Failure) Reason {
	if f == Disconnected {
		return ReasonDisconnected
	}
	return ReasonUpstreamError
}
