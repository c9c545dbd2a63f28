package cache

import (
	"time"

	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// Query asks for the stored response to a GET or HEAD. It belongs to the caller, who may use it again.
type Query struct {
	Key    rfc9111.Key
	Fields rfc9111.Fields // the request's, with the fields that Vary may name already normalised
	Policy *rfc9111.Policy
	Rule   uint64
	Now    time.Time
	Range  string // the request's Range field where it may be answered from a stored part; else ""
	// First says that another query for the same follows where nothing is stored, so that this one is not counted among those that
	// decide what is worth its room.
	First bool

	peek bool // what the remote tier has stays there
}

// Tier says where a stored response was found.
type Tier uint8

// The tiers.
const (
	L1 Tier = iota // memory
	L2             // the remote tier
)

// String returns the name of the tier in metrics and logs.
func (t Tier) String() string {
	if t == L2 {
		return "l2"
	}
	return "l1"
}

// Outcome is what was found and what may be done with it.
type Outcome struct {
	// Entry is the selected response; nil where nothing fits. It is set for a stale or unusable entry too, whose validators and
	// stale body may still be of use.
	Entry *Entry
	// Forms are the encoded forms of Entry.
	Forms Forms
	// Others are responses of the same resource that the request does not select but that a validation may name by their entity tags
	// (RFC 9111, 4.3.1); set where Forward is ForwardVaryMiss. If-Modified-Since must not be sent for their sake: that one variant is
	// as old as another says nothing.
	Others []*Entry
	// Tier is where Entry was found.
	Tier Tier
	// Mark is what FindRemote has seen of the key's purges, for the Share of what is fetched now.
	Mark string
	// Standing is what the log says of Entry.
	Standing invalidation.Standing
	Decision rfc9111.Decision
	// Uncacheable reports that responses of this key could not be stored lately: nobody waits in line for one. Because is why.
	Uncacheable bool
	Because     rfc9111.Reason
}

// Find looks up the stored response in memory. It never blocks on anything but one shard's lock, and does not allocate, except where
// the answer is to come from the origin (Others) or from a stored part.
func (c *Cache) Find(q *Query) Outcome {
	get := c.memory.Get
	if q.First {
		get = c.memory.Hit
	}
	v, ok := get(q.Key.Hash)
	if !ok || !v.of(q.Key) {
		return Outcome{Decision: decideMiss(q, rfc9111.ForwardURIMiss, rfc9111.ReasonURIMiss)}
	}
	s := c.choose(&v, q)
	var o Outcome
	if s.entry == nil {
		o.Decision = decideMiss(q, s.miss, s.reason)
		if s.miss == rfc9111.ForwardVaryMiss {
			o.Others = c.others(&v, q)
		}
	} else {
		o.Entry, o.Standing, o.Forms = s.entry, s.standing, v.formsOf(s.entry)
		o.Decision = c.decide(q, &s)
	}
	if m := v.mark(); q.Now.Before(m.until) {
		o.Uncacheable, o.Because = true, m.because
	}
	return o
}

// selection is the entry that was chosen, or why none was.
type selection struct {
	entry    *Entry
	standing invalidation.Standing
	miss     rfc9111.Forward
	reason   rfc9111.Reason
}

// choose selects among the variants (RFC 9111, 4.1): of those that the request matches the newest, a complete one before a part.
func (c *Cache) choose(v *Variants, q *Query) selection {
	s := selection{miss: rfc9111.ForwardURIMiss, reason: rfc9111.ReasonURIMiss}
	if m := v.mark(); q.Now.Before(m.until) {
		s.reason = m.because
	}
	for _, e := range v.entries() {
		if e.encoded() {
			continue
		}
		standing := c.usable(e, q.Now)
		switch {
		case !e.retained(q.Now):
		case e.Rule != q.Rule:
			s.reason = rfc9111.ReasonRuleChanged
		case standing == invalidation.Invalid && c.state.CutOff(q.Now) == invalidation.Bypass:
			s.reason = rfc9111.ReasonUnsure
		case standing == invalidation.Invalid:
			s.reason = rfc9111.ReasonPurged
		case !e.SelectedBy(q.Fields):
			s.miss = rfc9111.ForwardVaryMiss
		case s.entry == nil || better(e, s.entry):
			s.entry, s.standing = e, standing
		}
	}
	if s.miss == rfc9111.ForwardVaryMiss {
		s.reason = rfc9111.ReasonVaryMiss
	}
	return s
}

// others returns the responses that the request does not select but that a validation may name. Only an entity tag can name one
// (RFC 9110, 8.8.3): it is unique among all representations of a resource, which a date is not. Many origins have one weak tag for a
// response in all codings, so none is asked about in a coding that the request does not accept.
func (c *Cache) others(v *Variants, q *Query) []*Entry {
	var others []*Entry
	for _, e := range v.entries() {
		if e.Rule == q.Rule && !e.IsPartial() && !e.encoded() && e.etag.size > 0 && e.retained(q.Now) && e.readable(q.Fields) &&
			c.standing(e) < invalidation.Unsure {
			others = append(others, e)
		}
	}
	return others
}

// readable reports whether the request accepts all codings that the entry's origin has given it.
func (e *Entry) readable(req rfc9111.Fields) bool {
	for name, value := range e.Fields() {
		if name == "Content-Encoding" && !rfc9111.AcceptsCodings(req, value) {
			return false
		}
	}
	return true
}

// SelectedBy reports whether a request with these fields selects the entry (RFC 9111, 4.1). It does not allocate for single-line fields.
func (e *Entry) SelectedBy(req rfc9111.Fields) bool {
	for v := range e.VariesBy() {
		if !v.Selects(req) {
			return false
		}
	}
	return true
}

func better(a, b *Entry) bool {
	if a.IsPartial() != b.IsPartial() {
		return b.IsPartial()
	}
	am, bm := a.Facts(), b.Facts()
	return rfc9111.Newer(&am, &bm)
}

// decideMiss asks for the verdict where nothing fits, and says why nothing does. What the request itself says, such as no-store, is
// the better reason.
func decideMiss(q *Query, miss rfc9111.Forward, why rfc9111.Reason) rfc9111.Decision {
	d := rfc9111.Decide(q.Fields, nil, miss, rfc9111.Constraint{}, q.Now)
	if d.Reason == rfc9111.ReasonURIMiss {
		d.Reason = why
	}
	return d
}

// decide asks for the verdict on the chosen entry. A part that does not hold what was asked for is a miss, called a partial hit.
func (c *Cache) decide(q *Query, s *selection) rfc9111.Decision {
	constraint := c.constraint(s.entry, s.standing, q.Now)
	m := s.entry.Facts()
	if s.entry.IsPartial() && !(s.entry.Covers(q.Range) && rfc9111.RangeApplies(q.Fields, &m)) {
		return rfc9111.Decide(q.Fields, nil, rfc9111.ForwardPartial, constraint, q.Now)
	}
	return rfc9111.Decide(q.Fields, &m, rfc9111.ForwardMiss, constraint, q.Now)
}

// Covers reports whether the part that the entry holds contains all of the single range that value asks for.
func (e *Entry) Covers(value string) bool {
	if !e.IsPartial() {
		return true
	}
	if value == "" || e.Part.Complete < 0 {
		return false
	}
	ranges, err := rfc9111.ParseRange(value, e.Part.Complete)
	if err != nil || len(ranges) != 1 {
		return false
	}
	r := ranges[0]
	return r.Start >= e.Part.First && r.Start+r.Length <= e.Part.First+e.body
}
