package tiers

import (
	"sync/atomic"
	"time"
)

// counters are what a Cache counts.
type counters struct {
	memoryHits, remoteHits, misses, collapsed      atomic.Uint64
	loads, refreshes, loadErrors, panics, loadTime atomic.Int64
	sets, deletes, unserializable                  atomic.Uint64
}

// CacheStats are the figures of a Cache since it was made.
type CacheStats struct {
	// MemoryHits and RemoteHits were found in memory and in Redis. Misses were
	// not found: of GetOrLoad, those that called their loader. Collapsed got
	// what another's call brought.
	MemoryHits, RemoteHits, Misses, Collapsed uint64

	// Loads is how often a loader was called, Refreshes how often of those in
	// the background. LoadErrors had no value, LoadPanics of those panicked.
	// LoadTime is how long all loads took together.
	Loads, Refreshes, LoadErrors, LoadPanics uint64
	LoadTime                                 time.Duration

	Sets, Deletes uint64
	// Unserializable values were loaded and returned, but not stored.
	Unserializable uint64

	// Memory is the memory tier. Remote is the tier in Redis and RemoteUp whether
	// it is asked at the moment; both are zero where there is none.
	Memory   Stats
	Remote   RemoteStats
	RemoteUp bool
}

// HitRate is the share of lookups, from 0 to 1, that called no loader of their
// own: those that found a value, and those that shared another's load. 0 where
// there were none.
func (s *CacheStats) HitRate() float64 {
	hits := s.MemoryHits + s.RemoteHits + s.Collapsed
	if hits+s.Misses == 0 {
		return 0
	}
	return float64(hits) / float64(hits+s.Misses)
}

// Stats returns the figures as they are now. Each is read at its own moment.
func (c *Cache[V]) Stats() CacheStats {
	n := &c.count
	s := CacheStats{
		MemoryHits: n.memoryHits.Load(), RemoteHits: n.remoteHits.Load(), Misses: n.misses.Load(), Collapsed: n.collapsed.Load(),
		Loads: uint64(n.loads.Load()), Refreshes: uint64(n.refreshes.Load()),
		LoadErrors: uint64(n.loadErrors.Load()), LoadPanics: uint64(n.panics.Load()), LoadTime: time.Duration(n.loadTime.Load()),
		Sets: n.sets.Load(), Deletes: n.deletes.Load(), Unserializable: n.unserializable.Load(),
		Memory: c.memory.Stats(),
	}
	if c.remote != nil {
		s.Remote, s.RemoteUp = c.remote.Stats(), c.remote.Up()
	}
	return s
}
