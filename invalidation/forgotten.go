package invalidation

// Forgotten reports whether there may have been records since the birth of what
// carries st that are not known here, so that nobody can say whether they
// selected it: they have been forgotten, or it was born in another instance and
// another epoch. What Check calls Unsure though nothing is forgotten is of
// another epoch alone: all that was applied here since its birth is known, and
// does not select it.
func (s *State) Forgotten(st *Stamp) bool {
	checked := st.checked.Load()
	s.mu.RLock()
	defer s.mu.RUnlock()
	since, sure := s.since(st, checked)
	return s.floor >= since || !sure && checked == 0
}
