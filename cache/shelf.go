package cache

import (
	"context"
	"encoding/binary"
	"slices"
	"sync"
	"time"

	"github.com/cacheproxy/cacheproxy/tiers"
)

// shelf is the memory tier with the arena that its entries lie in. It speaks of Variants, which have pointers; what it keeps for
// nearly all of them has none.
type shelf struct {
	memory *tiers.Memory[[16]byte, ref] // of the single entry of a key, in the arena, or else of what is in others
	arena  *arena                       // nil: each entry has a block of its own
	index  index                        // of what is stored, by its hashes
	budget int64                        // of both, in bytes

	mu     sync.Mutex // guards changes of others
	others table[several, *several]
}

func (s *shelf) init(o Options) {
	s.budget = o.MaxBytes
	s.index.init()
	var rest int64
	s.arena, rest = newArena(o.MaxBytes)
	s.memory = tiers.New(tiers.Options[[16]byte, ref]{
		MaxBytes: rest,
		Policy:   o.Policy,
		Hash:     func(k [16]byte) uint64 { return binary.LittleEndian.Uint64(k[:]) },
		Cost:     func(_ [16]byte, r ref) int64 { return s.there(r).cost() },
		Expires:  func(r ref) time.Time { return s.there(r).expires() },
		OnRemove: func(_ [16]byte, r ref, _ tiers.RemoveReason) {
			entries := s.there(r).entries()
			s.forget(r)
			s.discard(entries)
		},
	})
}

// Run frees expired entries until ctx ends.
func (s *shelf) Run(ctx context.Context) error { return s.memory.Run(ctx) }

// Stats counts the holes of the arena as used.
func (s *shelf) Stats() tiers.Stats {
	stats := s.memory.Stats()
	stats.Bytes += s.arena.holes()
	stats.MaxBytes = s.budget
	return stats
}

// there returns the variants of a name that cannot change meanwhile: it was read under the shard's lock, or has been taken out of the
// tier and not been discarded.
func (s *shelf) there(r ref) *Variants {
	v, _ := s.look(r)
	return &v
}

// look returns the variants of a name, or false where they have changed since it was read.
func (s *shelf) look(r ref) (v Variants, ok bool) {
	switch {
	case r == 0:
		return v, true
	case r&inChunk != 0:
		v.one[0] = s.arena.entry(r)
		return v, v.one[0] != nil
	default:
		v.more = s.others.get(r)
		return v, v.more != nil
	}
}

// put returns the name for v, which takes the place of old.
func (s *shelf) put(old ref, v Variants) ref {
	e := v.one[0]
	switch {
	case v.more == nil && e == nil:
		s.forget(old)
		return 0
	case v.more == nil && e.home != 0:
		s.forget(old)
		return e.home
	case v.more == nil:
		v.more = &several{key: e.Key(), entries: []*Entry{e}}
	case v.more.name != 0 && v.more.name == old:
		return old // it was left as it is
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if old != 0 && old&inChunk == 0 {
		s.others.remove(old)
	}
	return s.others.put(v.more)
}

// forget lets the name go where it is not of an entry, whose name goes with its chunk.
func (s *shelf) forget(r ref) {
	if r != 0 && r&inChunk == 0 {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.others.remove(r)
	}
}

// moves is how often a reader looks again where what it looked for has just moved. It moves once in many thousand requests.
const moves = 4

// Get returns the variants under k and notes the access.
func (s *shelf) Get(k [16]byte) (Variants, bool) { return s.read(k, s.memory.Get) }

// Hit is Get for who asks once more where there are none: that is not noted.
func (s *shelf) Hit(k [16]byte) (Variants, bool) { return s.read(k, s.memory.Hit) }

// Peek returns the variants under k without noting the access.
func (s *shelf) Peek(k [16]byte) (Variants, bool) { return s.read(k, s.memory.Peek) }

func (s *shelf) read(k [16]byte, get func([16]byte) (ref, bool)) (Variants, bool) {
	for range moves {
		r, ok := get(k)
		if !ok {
			break
		}
		if v, ok := s.look(r); ok {
			return v, true
		}
	}
	return Variants{}, false
}

// Update replaces the variants under k, as [tiers.Memory.Update] does. Entries that f puts in must be adopted by the arena first, and
// those that it takes out be discarded afterwards, unless it returns false, which discards all.
func (s *shelf) Update(k [16]byte, f func(old Variants, ok bool) (Variants, bool)) {
	s.memory.Update(k, func(old ref, ok bool) (ref, bool) {
		v, keep := f(*s.there(old), ok)
		if !keep {
			return 0, false // the tier tells of old
		}
		return s.put(old, v), true
	})
}

// fits reports whether the memory tier has room for all of v under one key.
func (s *shelf) fits(v *Variants) bool { return v.cost() <= s.memory.MaxCost() }

// adopt returns e, or a copy of it, as it is to be stored. It must be called before anybody can find it.
func (s *shelf) adopt(e *Entry) *Entry {
	s.index.add(e.hash, e.Tags())
	return s.arena.adopt(e)
}

// discard lets go of the memory of entries that adopt has returned and that are not stored, or not any more.
func (s *shelf) discard(entries []*Entry) {
	for _, e := range entries {
		s.index.remove(e.hash, e.Tags())
		s.arena.release(e)
	}
	if len(entries) == 0 {
		return
	}
	if chunk := s.arena.overdue(); chunk != nil {
		chunk.each(s.move)
	}
}

// move copies the entry to another place in the arena, where it is still stored.
func (s *shelf) move(e *Entry) {
	if s.memory.Swap(e.hash, func(old ref) (ref, bool) {
		v := s.there(old)
		at := slices.Index(v.entries(), e)
		if at < 0 {
			return old, false
		}
		moved := s.arena.adopt(e)
		return s.put(old, v.moved(at, moved)), true
	}) {
		s.arena.release(e)
	}
}
