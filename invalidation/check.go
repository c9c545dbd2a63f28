package invalidation

import (
	"math"
	"time"
)

// Check says whether the bearer of st still holds; of tells more about it. Where
// nothing was applied since it was last found Valid, which is nearly always, it
// costs two atomic loads. It allocates nothing, save for a port in the URI where
// a pattern looks at host and path in one.
func (s *State) Check(st *Stamp, of Subject) Standing {
	if st.checked.Load() > s.tick.Load() {
		return Valid
	}
	standing, _ := s.look(st, of)
	return standing
}

// Until returns when the lifetime ends of what Check has called Cut, and the zero
// time where it is not.
func (s *State) Until(st *Stamp, of Subject) time.Time {
	standing, until := s.look(st, of)
	if standing != Cut {
		return time.Time{}
	}
	return time.Unix(0, until)
}

// look searches what was applied since st was last found Valid.
func (s *State) look(st *Stamp, of Subject) (standing Standing, until int64) {
	tick, checked := s.tick.Load(), st.checked.Load() // before all that follows
	tags := of.Tags()
	q := question{st: st, tags: tags}
	s.mu.RLock()
	// The rows, the floor and the patterns under one lock: what is forgotten
	// raises the floor before the lock is released.
	var sure bool
	q.since, sure = s.since(st, checked)
	standing, until = s.inRows(&q)
	if !sure || s.floor >= q.since {
		standing = max(standing, Unsure)
	}
	patterns := s.newPatterns(q.since)
	s.mu.RUnlock()
	if len(patterns) > 0 && standing < Invalid {
		standing, until = q.inPatterns(patterns, of, standing, until)
	}
	if standing == Valid {
		// Not where it lost against another Check: that one has looked too, and
		// perhaps further. Only on Valid: else it would be Valid the next time.
		st.checked.CompareAndSwap(checked, tick+1)
	}
	return standing, until
}

// question is what is asked about one stamp: which records from the tick since
// on select it.
type question struct {
	st    *Stamp
	tags  []uint64
	since uint64
}

// since returns the first tick that counts for st. It is not sure where st was
// born in an unknown past: then every record counts, and none is no proof. The
// caller holds the lock.
func (s *State) since(st *Stamp, checked uint64) (since uint64, sure bool) {
	here := s.Birth()
	if st.Born.Epoch != here.Epoch || here.Epoch == 0 {
		return max(checked, 1), false
	}
	if checked > 0 {
		return checked, true
	}
	// Born elsewhere. What this instance has not applied yet counts against it,
	// although it may have been born after it; and so does what it has purged
	// that the log does not hold yet.
	first := uint64(math.MaxUint64)
	if s.unlogged.first > 0 {
		first = s.unlogged.first
	}
	if s.lost.covers(st.Born.Seq) {
		first = min(first, s.lost.first)
	}
	seq, next := min(st.Born.Seq, here.Seq), here.tick+1
	for i := len(s.segments) - 1; i >= 0; i-- {
		g := s.segments[i]
		if g.seq <= seq {
			return min(g.tick+uint64(seq-g.seq)+1, next, first), true
		}
		next = g.tick
	}
	return 1, false
}

// standings are what the classes mean.
var standings = [classes]Standing{cut: Cut, soften: Stale, judge: Judge, end: Invalid}

// inRows returns the worst that the rows say. The caller holds the lock.
func (s *State) inRows(q *question) (Standing, int64) {
	for c := end; c > cut; c-- {
		if hit, _ := s.hit(q, c); hit {
			return standings[c], 0
		}
	}
	if hit, until := s.hit(q, cut); hit {
		return Cut, until
	}
	return Valid, 0
}

// hit reports whether a row of the class selects what is asked about; and of the
// class cut the earliest end.
func (s *State) hit(q *question, c class) (hit bool, until int64) {
	look := func(hash uint64) {
		if r := s.rows.get(hash ^ s.salts[c]); r.tick >= q.since {
			if !hit || r.until < until {
				until = r.until
			}
			hit = true
		}
	}
	if s.last[KindAll][c] >= q.since {
		look(s.Hash(Selector{Kind: KindAll}))
	}
	if s.last[KindURL][c] >= q.since {
		look(q.st.uri)
		look(q.st.bare)
	}
	if s.last[KindKey][c] >= q.since {
		look(q.st.key)
	}
	if max(s.last[KindTag][c], s.last[KindGroup][c], s.last[KindURL][c], s.last[KindKey][c]) >= q.since {
		for _, tag := range q.tags {
			look(tag)
		}
	}
	return hit, until
}

// newPatterns returns the patterns from a tick on. The caller holds the lock, and
// may read the result without it.
func (s *State) newPatterns(since uint64) []pattern {
	n := len(s.patterns)
	for n > 0 && s.patterns[n-1].tick >= since {
		n--
	}
	return s.patterns[n:]
}

// inPatterns returns the worst of what is known already and what the patterns say.
func (q *question) inPatterns(patterns []pattern, of Subject, standing Standing, until int64) (Standing, int64) {
	uri, names := of.URI(), of.TagNames()
	var on []byte
	if c, composed := of.(Composed); composed {
		on = c.DependsOn()
	}
	for i := range patterns {
		p := &patterns[i]
		worse := standings[p.class] > standing
		sooner := p.class == cut && standing == Cut && p.until < until
		if (worse || sooner) && (p.matches(uri, names) || p.selectsAny(on)) {
			standing, until = standings[p.class], p.until
		}
	}
	return standing, until
}

// MayBeInvalid reports whether a record since a birth, of those that make what
// they select Invalid, selects anything at all. Where there is none, Check does
// not call anything Invalid that was born there or later.
func (s *State) MayBeInvalid(born Position) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	since, _ := s.since(&Stamp{Born: born}, 0)
	for k := range s.last {
		if s.last[k][end] >= since {
			return true
		}
	}
	return false
}

// Joinable reports whether a request that comes now may join the fetch under way
// that carries st: whether nothing has been applied since its birth that selects
// it, or may do so once it has told its tags. It is for fetches whose response's
// head has not come yet.
func (s *State) Joinable(st *Stamp) bool {
	checked := st.checked.Load()
	if checked > s.tick.Load() {
		return true
	}
	q := question{st: st}
	s.mu.RLock()
	var sure bool
	q.since, sure = s.since(st, checked)
	standing, _ := s.inRows(&q)
	joinable := sure && standing == Valid && s.floor < q.since && s.loose < q.since
	s.mu.RUnlock()
	// Checked stays where it is: what the response depends on may be a URL that
	// was purged, and is known to Check only.
	return joinable
}
