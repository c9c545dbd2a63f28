package rfc9111

import "time"

// Keep is how long after its expiry a response stays of use where nothing says how long: for validation, and to be served where the
// origin cannot be reached (4.2.4). Ten minutes are long enough for a restart or a deployment, and short enough not to fill the
// memory with what nobody asks for.
const Keep = 10 * time.Minute

// The heuristic lifetime (4.2.2) is a tenth of the time since the last modification, at most a day, as in Apache httpd and Apache
// Traffic Server.
const (
	heuristicShare = 10
	heuristicMax   = 24 * time.Hour
)

// Validators are what a stored response can be validated with (RFC 9110, 8.8), as received: ETag keeps its W/.
type Validators struct{ ETag, LastModified string }

// None reports whether there is no validator at all.
func (v Validators) None() bool { return v == Validators{} }

// VaryField is a request field that the response depends on (4.1).
type VaryField struct {
	Name  string // in canonical form
	Value string // the request's value, normalised
	// Present tells an absent field from an empty one.
	Present bool
}

// Flags are what NewMeta found out about a response. Their bits are kept in remote stores: none is ever given a second meaning.
type Flags uint16

const (
	// MustRevalidate: never used stale (4.2.4), for the sake of must-revalidate or proxy-revalidate.
	MustRevalidate Flags = 1 << iota
	// WindowOnly: used stale only within stale-while-revalidate and stale-if-error, for the sake of s-maxage (5.2.2.10). A response
	// that names both says itself what its s-maxage is not to forbid.
	WindowOnly
	// NoCache: never used without validation (5.2.2.4).
	NoCache
	// Immutable: does not change while it is fresh (RFC 8246).
	Immutable
	// HeuristicLifetime: the lifetime is a guess (4.2.2).
	HeuristicLifetime
	// Partial: a 206 is stored (3.3).
	Partial
	// Encodes: it is sent in codings of the cache's own too. NewMeta does not set it, because it does not see the content; see
	// Encodable.
	Encodes
)

// Meta is what the rules need to know of a stored response, computed once when it is stored. It must not be changed.
type Meta struct {
	RequestTime, ResponseTime          time.Time     // when the request left and its answer came (4.2.3)
	Date                               time.Time     // of the Date field, else ResponseTime
	InitialAge                         time.Duration // corrected_initial_age (4.2.3)
	Lifetime                           time.Duration // freshness_lifetime (4.2.1)
	StaleWhileRevalidate, StaleIfError time.Duration // after the end of Lifetime (RFC 5861)
	Retain                             time.Time     // from when on it is useless, for serving stale as for validation
	Validators                         Validators
	Vary                               []VaryField
	Status                             int
	Flags                              Flags
}

// NewMeta computes what is to be known of a response that is Storable. Where Retain is not after responseTime the response has become
// useless on its way and is better not stored.
func NewMeta(x *Exchange, p *Policy, requestTime, responseTime time.Time) Meta {
	j := judge(x, p)
	m := Meta{
		RequestTime: requestTime, ResponseTime: responseTime, Date: responseTime,
		Validators: validatorsOf(x.Response), Vary: varyFields(x.Request, x.Response), Status: x.Status,
	}
	if date, ok := dateField(x.Response, "Date", responseTime); ok {
		m.Date = date
	}
	m.InitialAge = initialAge(&m, ageField(x.Response))
	l := j.lifetime(responseTime)
	m.Lifetime, m.Flags = l.value, j.flags(&l)
	m.StaleWhileRevalidate, m.StaleIfError = j.staleTimes()
	if p.MaxLifetime > 0 {
		m.Lifetime = min(m.Lifetime, p.MaxLifetime)
		m.StaleWhileRevalidate = min(m.StaleWhileRevalidate, p.MaxLifetime-m.Lifetime)
		m.StaleIfError = min(m.StaleIfError, p.MaxLifetime-m.Lifetime)
	}
	m.Retain = retain(&m, p.MaxLifetime)
	return m
}

// initialAge computes corrected_initial_age (4.2.3). Date has whole seconds: the response time is cut to seconds too before the two
// are compared, or every response would be born up to a second old.
func initialAge(m *Meta, age time.Duration) time.Duration {
	apparent := m.ResponseTime.Truncate(time.Second).Sub(m.Date)
	delay := m.ResponseTime.Sub(m.RequestTime)
	return min(max(apparent, age+max(delay, 0), 0), maxDelta)
}

// retain computes Meta.Retain.
func retain(m *Meta, maxLifetime time.Duration) time.Time {
	end := m.ResponseTime
	expiry := m.ResponseTime.Add(m.Lifetime - m.InitialAge)
	if m.Flags&NoCache == 0 {
		end = later(end, expiry.Add(staleUse(m)))
	}
	if !m.Validators.None() {
		end = later(end, later(expiry, m.ResponseTime).Add(Keep))
	}
	if maxLifetime > 0 {
		end = earlier(end, m.ResponseTime.Add(maxLifetime))
	}
	return end
}

// staleUse is for how long after its expiry a response may be used stale, in whatever case.
func staleUse(m *Meta) time.Duration {
	if m.Flags&(MustRevalidate|NoCache) != 0 {
		return 0
	}
	use := max(m.StaleWhileRevalidate, m.StaleIfError)
	if m.Lifetime > 0 && m.Flags&WindowOnly == 0 {
		use = max(use, Keep)
	}
	return use
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// Age returns current_age (4.2.3). It does not allocate.
func (m *Meta) Age(now time.Time) time.Duration {
	return m.InitialAge + max(now.Sub(m.ResponseTime), 0)
}

// TTL returns for how long the response stays fresh: Lifetime less Age, negative once it is stale. It is fresh while TTL is above 0.
func (m *Meta) TTL(now time.Time) time.Duration { return m.Lifetime - m.Age(now) }

// ageField parses Age (5.1): the first member of the list counts, and one that is no number of seconds counts as absent.
func ageField(resp Fields) time.Duration {
	value, _ := resp.Field("Age")
	first, _ := nextMember(value)
	age, _ := parseDelta(first)
	return age
}

func validatorsOf(resp Fields) Validators {
	var v Validators
	if etag, lines := resp.Field("Etag"); lines == 1 {
		v.ETag = trim(etag)
	}
	if modified, lines := resp.Field("Last-Modified"); lines == 1 {
		v.LastModified = trim(modified)
	}
	return v
}

// lifetime is a freshness lifetime and where it comes from.
type lifetime struct {
	value  time.Duration
	source lifetimeSource
}

type lifetimeSource uint8

const (
	unsaid       lifetimeSource = iota
	fromStatus                  // Policy.StatusTTL
	fromRule                    // Policy.TTL
	fromSMaxAge                 // 5.2.2.10
	fromMaxAge                  // 5.2.2.1
	fromExpires                 // 5.3
	fromDefault                 // Policy.DefaultTTL
	fromModified                // 4.2.2
)

// byOrigin reports whether the origin itself said how long the response is fresh.
func (s lifetimeSource) byOrigin() bool {
	return s == fromSMaxAge || s == fromMaxAge || s == fromExpires
}

// lifetime finds the freshness lifetime: the rule's word, then the origin's (4.2.1), then a default or a guess (4.2.2). responseTime
// stands for Date where there is none; while it is not known either, an Expires counts as far off.
func (j *judgement) lifetime(responseTime time.Time) lifetime {
	l := j.ruledLifetime()
	if l.source == unsaid {
		l = j.explicitLifetime(responseTime)
		if j.policy.IgnoreOrigin && l.value == 0 {
			l.source = unsaid
		}
	}
	if l.source == unsaid {
		l = j.guessedLifetime(responseTime)
	}
	l.value = min(max(l.value, 0), maxDelta)
	return l
}

func (j *judgement) ruledLifetime() lifetime {
	status, p := j.exchange.Status, j.policy
	if ttl, ok := p.StatusTTL[status]; ok && !explicitOnly(status) {
		return lifetime{ttl, fromStatus}
	}
	if p.HasTTL && takesRuleTTL(status) && j.exchange.Method != "POST" {
		return lifetime{p.TTL, fromRule}
	}
	return lifetime{}
}

func (j *judgement) explicitLifetime(responseTime time.Time) lifetime {
	if j.sMaxAge.set {
		return lifetime{j.sMaxAge.value, fromSMaxAge}
	}
	if j.maxAge.set {
		return lifetime{j.maxAge.value, fromMaxAge}
	}
	resp := j.exchange.Response
	if _, lines := resp.Field("Expires"); lines == 0 || j.targeted {
		return lifetime{}
	}
	date, dated := dateField(resp, "Date", responseTime)
	if !dated {
		date = responseTime
	}
	// An invalid Expires, "0" above all, is in the past (5.3).
	expires, ok := dateField(resp, "Expires", date)
	switch {
	case !ok:
		return lifetime{0, fromExpires}
	case date.IsZero():
		return lifetime{maxDelta, fromExpires}
	default:
		return lifetime{expires.Sub(date), fromExpires}
	}
}

func (j *judgement) guessedLifetime(responseTime time.Time) lifetime {
	status, resp := j.exchange.Status, j.exchange.Response
	if j.exchange.Method == "POST" || explicitOnly(status) {
		return lifetime{}
	}
	if j.policy.DefaultTTL > 0 && status < 400 && heuristicallyCacheable(status) {
		return lifetime{j.policy.DefaultTTL, fromDefault}
	}
	if !heuristicallyCacheable(status) && !j.public {
		return lifetime{}
	}
	date, dated := dateField(resp, "Date", responseTime)
	if !dated {
		date = responseTime
	}
	modified, ok := dateField(resp, "Last-Modified", date)
	if !ok || !modified.Before(date) {
		return lifetime{}
	}
	return lifetime{min(date.Sub(modified)/heuristicShare, heuristicMax), fromModified}
}
