package invalidation

import (
	"hash/maphash"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Standing is what is known about something that carries a [Stamp].
type Standing uint8

const (
	// Valid: no record since its birth selects it.
	Valid Standing = iota
	// Unsure: it was born before the oldest record that is remembered, or in
	// another epoch. It must be validated before it is used.
	Unsure
	// Invalid: a record since its birth selects it. It must be fetched anew,
	// without its validators.
	Invalid
)

// String names the standing for logs and test failures.
func (s Standing) String() string {
	switch s {
	case Valid:
		return "valid"
	case Unsure:
		return "unsure"
	case Invalid:
		return "invalid"
	}
	return "standing(" + strconv.Itoa(int(s)) + ")"
}

// State is the applied log in memory: of each URI the last record that selects
// it, in bounded space.
//
// Check is called at every hit by everybody, Apply at every purge by one. What
// orders them is applied: Apply raises it only when all that the record changes
// can be seen, and Check reads it before anything else. So a Check that reads
// the new value sees the record, and one that reads the old value may note its
// finding only up to that, and looks again the next time.
type State struct {
	seed maphash.Seed

	epoch   atomic.Uint64 // set once, by the first record or by the purger
	applied atomic.Uint64 // sequence number of the last record applied
	all     atomic.Uint64 // sequence number of the last record that selects everything
	floor   atomic.Uint64 // records up to this one may have been forgotten

	mu   sync.RWMutex // guards rows
	rows rows
}

// NewState returns a state that remembers the last record of at most maxRows
// URIs, at about 60 bytes each. Past that the longest unpurged are forgotten,
// and what was born before they were purged becomes Unsure. A maxRows below 1
// is taken as 1.
func NewState(maxRows int) *State {
	return &State{seed: maphash.MakeSeed(), rows: newRows(max(maxRows, 1))}
}

// Applied returns the position of the last record applied. It is the birth of
// whatever is requested from an origin from now on.
func (s *State) Applied() Position {
	return Position{Epoch(s.epoch.Load()), Seq(s.applied.Load())}
}

// Check says whether what carries st still holds. Where nothing was logged since
// st was last found Valid, which is nearly always, it costs two atomic loads.
// It never allocates.
func (s *State) Check(st *Stamp) Standing {
	applied := s.applied.Load()
	checked := st.checked.Load()
	if checked > applied {
		return Valid
	}
	standing := s.look(st, checked)
	if standing == Valid {
		// Not where it lost against another Check: that one has looked too, and
		// perhaps further. Only on Valid: else it would be Valid the next time.
		st.checked.CompareAndSwap(checked, applied+1)
	}
	return standing
}

// look searches the records from sequence number since on. Since is 0 where st
// was born in an unknown past: then every record counts, and none is no proof.
func (s *State) look(st *Stamp, since uint64) Standing {
	unknown := since == 0
	since = max(since, 1)
	if s.all.Load() >= since {
		return Invalid
	}
	s.mu.RLock()
	hit := s.rows.last(st.uri) >= since || s.rows.last(st.any) >= since
	// Under the lock, because a row and its number change places: what is
	// forgotten raises the floor before the lock is released.
	forgotten := s.floor.Load() >= since
	s.mu.RUnlock()
	switch {
	case hit:
		return Invalid
	case forgotten || unknown:
		return Unsure
	}
	return Valid
}

// Apply makes a record count. Records must come in the order of their log and
// from one caller at a time. A record that was applied before is ignored. A gap
// in the sequence means that records were missed: what was born before it is
// Unsure from then on. A record of another epoch than the first is a bug of the
// caller, and panics.
func (s *State) Apply(r Record) {
	s.begin(r.Epoch)
	seq := uint64(r.Seq)
	applied := s.applied.Load()
	if seq <= applied {
		return
	}
	s.mu.Lock()
	if seq > applied+1 {
		s.floor.Store(seq - 1)
	}
	for _, sel := range r.Selectors {
		s.remember(sel, seq, r.At)
	}
	s.mu.Unlock()
	s.applied.Store(seq) // last: see the comment of State
}

// begin fixes the epoch. The position before the first record is the same in
// every epoch, so what was born before begin stays as valid as it was.
func (s *State) begin(e Epoch) {
	if s.epoch.Load() == uint64(e) || s.applied.Load() == 0 && s.epoch.CompareAndSwap(0, uint64(e)) {
		return
	}
	panic("invalidation: a record of epoch " + e.String() + " in the state of epoch " + Epoch(s.epoch.Load()).String())
}

// remember notes the record seq for one selector. The caller holds the lock.
func (s *State) remember(sel Selector, seq uint64, at time.Time) {
	if sel.Kind != KindURL {
		// KindAll; and a kind that this program does not know selects everything:
		// too much, never too little.
		s.all.Store(seq)
		return
	}
	if forgotten := s.rows.set(s.hash([]byte(sel.Value)), seq, at.Unix()); forgotten != 0 {
		s.floor.Store(max(s.floor.Load(), forgotten))
	}
}

// Prune forgets the records that were logged before the given time, and returns
// how many URIs it forgot. Nothing that was born before them may be in use any
// more, so before is now less the longest lifetime that anything stamped has:
// what is older nevertheless becomes Unsure.
func (s *State) Prune(before time.Time) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, forgotten := s.rows.prune(before.Unix())
	s.floor.Store(max(s.floor.Load(), forgotten))
	return n
}
