package invalidation

import (
	"hash/maphash"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Standing is what is known about something that carries a [Stamp]. The higher,
// the less may be done with it.
type Standing uint8

// The standings.
const (
	// Valid: no record since its birth selects it.
	Valid Standing = iota
	// Cut: its lifetime ends at the time that [State.Until] says.
	Cut
	// Stale: it may be served stale, where that is allowed at all, while it is
	// refreshed.
	Stale
	// Judge: it is Stale where it is asked for often, and Invalid where not.
	Judge
	// Unsure: it was born before the oldest record that is remembered, or in
	// another epoch. It must be validated before it is used.
	Unsure
	// Invalid: a record since its birth selects it. It must be fetched anew,
	// without its validators.
	Invalid
)

var standingNames = [...]string{"valid", "cut", "stale", "judge", "unsure", "invalid"}

// String names the standing for logs and test failures.
func (s Standing) String() string {
	if int(s) < len(standingNames) {
		return standingNames[s]
	}
	return "standing(" + strconv.Itoa(int(s)) + ")"
}

// State is the applied log in memory: of each thing that was selected the last
// record of each class that selects it, in bounded space.
//
// All that is applied here is counted by ticks: records of the log, and purges
// that could not be logged yet. A tick is of this process only; segments say
// which one a position in the log had. So one number decides what was before
// what, and a log that begins anew, in another epoch, takes nothing away from
// what was known.
//
// Check is called at every hit by everybody, Apply at every purge by one. What
// orders them is tick: Apply raises it only when all that the record changes can
// be seen, and Check reads it before anything else. So a Check that reads the
// new value sees the record, and one that reads the old value may note its
// finding only up to that, and looks again the next time.
type State struct {
	seeds [kinds]maphash.Seed
	salts [classes]uint64 // so that a hash has a row of its own in each class

	tick atomic.Uint64 // of the last record applied
	here atomic.Pointer[Birth]

	lease     atomic.Pointer[lease]
	partition atomic.Uint32

	mu       sync.RWMutex // guards the following, and writes of the preceding
	rows     rows
	last     [kinds][classes]uint64 // tick of the last record that selects so
	loose    uint64                 // tick of the last record that may hit what has not told its tags yet
	patterns []pattern              // the newest last; what is in it is never changed
	floor    uint64                 // records up to this tick may have been forgotten
	segments []segment              // of the epoch, the oldest first; never empty
	// unlogged are the ticks of the first and the last purge here that the log does
	// not hold yet; 0: it holds all.
	unlogged struct{ first, last uint64 }
	lost     lost
}

// lost are the purges here that the log will never hold. What was born elsewhere
// counts as born before all of them, up to a position that the log had after the
// last of them.
type lost struct {
	first, last uint64 // ticks; 0: there are none
	at          int64  // of the last; see row
	open        bool   // the log has not been read since: that position is not known yet
	until       Seq
}

// covers reports whether what was born elsewhere at seq may be older than they are.
func (l *lost) covers(seq Seq) bool { return l.first > 0 && (l.open || seq <= l.until) }

// pattern is a selector that must be compared with each URI.
type pattern struct {
	*matcher
	source    Selector
	class     class
	tick      uint64
	at, until int64 // see row
}

// segment says that the record at seq was applied at tick, and so on for those
// behind it, up to the next segment.
type segment struct {
	seq  Seq
	tick uint64
}

const (
	// maxPatterns is how many patterns are remembered: each is compared with each
	// thing that is asked for after it.
	maxPatterns = 4096
	// maxSegments is how often within an epoch purges that wait for the log may
	// have come between its records, until older positions are forgotten.
	maxSegments = 1024
)

// NewState returns a state that remembers at most maxRows URLs, keys, tags and
// groups that were purged, at about 80 bytes each. Past that the longest unpurged
// are forgotten, and what was born before they were purged becomes Unsure. A
// maxRows below 1 is taken as 1.
func NewState(maxRows int) *State {
	s := &State{rows: newRows(max(maxRows, 1)), segments: []segment{{0, 1}}}
	for i := range s.seeds {
		s.seeds[i] = maphash.MakeSeed()
	}
	for i := range s.salts {
		s.salts[i] = rand.Uint64()
	}
	s.SetOnPartition(Revalidate)
	s.stand(Position{}, 1)
	return s
}

// stand makes known where the state stands. The caller holds the lock, and has
// made all changes.
func (s *State) stand(at Position, tick uint64) {
	s.here.Store(&Birth{at, tick})
	s.tick.Store(tick)
}

// Birth returns the birth of whatever is requested from an origin from now on.
func (s *State) Birth() Birth { return *s.here.Load() }

// Applied returns the position of the last record applied.
func (s *State) Applied() Position { return s.here.Load().Position }

// Begin makes at the position that is applied, without the records before it: a
// log that was never read, one that begins anew in another epoch, or one that has
// forgotten records which were not read in time. What was born in another epoch,
// or before at, is Unsure from then on. What was applied so far stays in force.
// A position of the same epoch that has been applied changes nothing.
func (s *State) Begin(at Position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begin(at)
}

func (s *State) begin(at Position) {
	here := s.Birth()
	switch {
	case at.Epoch != here.Epoch:
		if !s.lost.open {
			s.lost = lost{} // all of this epoch is younger
		}
		s.segments = append(s.segments[:0], segment{at.Seq, here.tick + 1})
	case at.Seq > here.Seq:
		s.floor = here.tick + 1
		s.continued(at.Seq, here.tick+1)
	default:
		return
	}
	s.stand(at, here.tick+1)
}

// continued notes that the record seq has the tick. The caller holds the lock.
func (s *State) continued(seq Seq, tick uint64) {
	last := s.segments[len(s.segments)-1]
	if last.tick+uint64(seq-last.seq) == tick {
		return
	}
	if len(s.segments) == maxSegments {
		s.segments = append(s.segments[:0], s.segments[maxSegments/2:]...)
	}
	s.segments = append(s.segments, segment{seq, tick})
}

// Apply makes a record count. A record that was applied before is ignored. A gap
// in the sequence means that records were missed: what was born before it is
// Unsure from then on; and so is what was born in another epoch than the last
// record applied. Records come in the order of their log.
// It returns the birth of what is requested next.
func (s *State) Apply(r Record) Birth {
	compiled := compileAll(r.Selectors)
	s.mu.Lock()
	defer s.mu.Unlock()
	here := s.Birth()
	if r.Epoch == here.Epoch && r.Seq <= here.Seq {
		return here
	}
	if r.Epoch != here.Epoch || r.Seq > here.Seq+1 {
		s.begin(Position{r.Epoch, r.Seq - 1})
	}
	tick := s.tick.Load() + 1
	s.continued(r.Seq, tick)
	s.remember(&r, compiled, tick)
	s.stand(r.Position, tick)
	return s.Birth()
}

// ApplyHere makes a record count that has no place in the log yet. When it has
// got one it is applied again, and hits what was born in between once more: too
// much, never too little.
func (s *State) ApplyHere(r Record) Birth {
	return s.applyHere(&r, func(tick uint64) {
		if s.unlogged.last = tick; s.unlogged.first == 0 {
			s.unlogged.first = tick
		}
	})
}

// ApplyAlone is ApplyHere for a record that will never be in the log.
func (s *State) ApplyAlone(r Record) Birth {
	return s.applyHere(&r, func(tick uint64) {
		if s.lost.last, s.lost.at, s.lost.open = tick, r.At.UnixNano(), true; s.lost.first == 0 {
			s.lost.first = tick
		}
	})
}

// applyHere makes a record count that has no place in the log; note takes note of
// its tick.
func (s *State) applyHere(r *Record, note func(tick uint64)) Birth {
	compiled := compileAll(r.Selectors)
	s.mu.Lock()
	defer s.mu.Unlock()
	tick := s.tick.Load() + 1
	s.remember(r, compiled, tick)
	note(tick)
	s.stand(s.Applied(), tick)
	return s.Birth()
}

// caughtUp says that the log had nothing behind what is applied when it answered
// a question that was asked at a birth: what is born elsewhere behind that is
// younger than all that was purged here by then.
func (s *State) caughtUp(asked Birth) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lost.open && s.lost.last <= asked.tick {
		s.lost.open, s.lost.until = false, s.Applied().Seq
	}
}

// Logged says that all that was given to ApplyHere up to a birth is in the log
// and has been applied from there. Until then nobody can say of what was born
// elsewhere whether it was before or after such a purge, and it counts as before.
func (s *State) Logged(at Birth) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unlogged.last <= at.tick {
		s.unlogged.first = 0
	}
}

// compileAll returns the matchers of those selectors that have one. It takes too
// long to be done under the lock.
func compileAll(selectors []Selector) (compiled []*matcher) {
	for i, sel := range selectors {
		if sel.Kind != KindPattern && sel.Kind != KindBan {
			continue
		}
		if compiled == nil {
			compiled = make([]*matcher, len(selectors))
		}
		if m, err := compile(sel); err == nil {
			compiled[i] = m
		}
	}
	return compiled
}

// remember notes a record. The caller holds the lock.
func (s *State) remember(r *Record, compiled []*matcher, tick uint64) {
	c := r.Strategy.class()
	at := r.At.UnixNano()
	until := r.At.Add(r.TTL).UnixNano()
	if r.Dependents {
		s.loose = tick
	}
	for i, sel := range r.Selectors {
		switch {
		case sel.Kind == KindURL || sel.Kind == KindKey:
			s.note(sel.Kind, c, row{hash: s.Hash(sel), tick: tick, at: at, until: until})
		case sel.Kind == KindTag || sel.Kind == KindGroup:
			s.loose = tick
			s.note(sel.Kind, c, row{hash: s.Hash(sel), tick: tick, at: at, until: until})
		case sel.Kind < KindAll && compiled[i] != nil:
			s.loose = tick
			s.add(pattern{compiled[i], sel, c, tick, at, until})
		case sel.Kind == KindAll:
			s.note(KindAll, c, row{hash: s.Hash(Selector{Kind: KindAll}), tick: tick, at: at, until: until})
		default:
			// A kind or an expression that only a later version of this program
			// understands ends everything.
			s.note(KindAll, end, row{hash: s.Hash(Selector{Kind: KindAll}), tick: tick, at: at})
		}
	}
}

// note sets the row of one selector in one class. The caller holds the lock.
func (s *State) note(k Kind, c class, r row) {
	if c == cut {
		// While an earlier cut runs, a later one does not lengthen it: it is in
		// force for what was born before both. An earlier one that has run out
		// left nothing that is fresh.
		switch old := *s.rows.get(r.hash ^ s.salts[cut]); {
		case old.tick == 0 || r.until <= old.until:
		case old.until > r.at:
			r.until = old.until
		default:
			if softened := s.rows.get(r.hash ^ s.salts[soften]); softened.tick < old.tick {
				s.note(k, soften, row{hash: r.hash, tick: old.tick, at: r.at})
			}
		}
	}
	r.hash ^= s.salts[c]
	s.floor = max(s.floor, s.rows.set(r))
	s.last[k][c] = max(s.last[k][c], r.tick)
}

// add appends a pattern to those that are remembered. The caller holds the lock;
// who reads has a slice of its own, which does not see what is changed here.
func (s *State) add(p pattern) {
	if p.class != cut {
		same := func(old pattern) bool { return old.source == p.source && old.class == p.class }
		if i := slices.IndexFunc(s.patterns, same); i >= 0 {
			s.patterns = slices.Concat(s.patterns[:i], s.patterns[i+1:])
		}
	}
	if len(s.patterns) == maxPatterns {
		s.floor = max(s.floor, s.patterns[0].tick)
		s.patterns = slices.Clone(s.patterns[1:])
	}
	s.patterns = append(s.patterns, p)
	s.last[p.source.Kind][p.class] = p.tick
}

// Prune forgets the records that were logged before the given time, and returns
// how many rows and patterns it forgot. Nothing that was born before them may be
// in use any more, so before is now less the longest lifetime that anything
// stamped has: what is older nevertheless becomes Unsure.
func (s *State) Prune(before time.Time) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, forgotten := s.rows.prune(before.UnixNano())
	old := 0
	for old < len(s.patterns) && s.patterns[old].at < before.UnixNano() {
		forgotten = max(forgotten, s.patterns[old].tick)
		old++
	}
	if old > 0 {
		s.patterns = slices.Clone(s.patterns[old:])
	}
	s.floor = max(s.floor, forgotten)
	if s.lost.at < before.UnixNano() {
		s.lost = lost{}
	}
	return n + old
}
