package tiers

// Frequency estimates how often k was asked for lately, up to 16 times; see
// [Memory.Hottest]. It is 0 for what is not there.
func (m *Memory[K, V]) Frequency(k K) int {
	s := m.shardOf(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.index[k]; !ok {
		return 0
	}
	return s.sketch.estimate(m.spread(k))
}
