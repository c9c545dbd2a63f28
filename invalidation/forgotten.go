package invalidation

// Forgotten reports whether records since the birth of what carries st may have
// been forgotten here, so that nobody can say whether they selected it. What
// Check calls Unsure though nothing is forgotten is of another epoch alone: all
// that was ever applied here is known, and does not select it.
func (s *State) Forgotten(st *Stamp) bool {
	checked := st.checked.Load()
	s.mu.RLock()
	defer s.mu.RUnlock()
	since, _ := s.since(st, checked)
	return s.floor >= since
}
