package tiers

// Stats is what a Memory holds and what left it since it was made.
type Stats struct {
	// Bytes is the cost of all entries, bookkeeping included; MaxBytes is
	// what it is bounded by.
	Bytes, Entries, MaxBytes int64

	// Removed counts the values that left, by RemoveReason.
	Removed [removeReasons]uint64
}

// Stats returns the counters. Each shard is read at its own moment.
func (m *Memory[K, V]) Stats() Stats {
	total := Stats{MaxBytes: m.maxBytes}
	for _, s := range m.shards {
		s.mu.Lock()
		total.Bytes += s.bytes
		total.Entries += int64(len(s.index))
		for r, n := range s.removed {
			total.Removed[r] += n
		}
		s.mu.Unlock()
	}
	return total
}
