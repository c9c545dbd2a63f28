package invalidation

// Matching returns whether a URI is selected by a pattern, for those who list
// what a purge would hit. The error matches [ErrEmpty] or [ErrSelector].
func Matching(pattern string) (func(uri []byte) bool, error) {
	s := Selector{KindPattern, pattern}
	if err := s.validate(); err != nil {
		return nil, err
	}
	m, err := compile(s)
	if err != nil {
		return nil, err
	}
	return func(uri []byte) bool { return m.matches(uri, nil) }, nil
}
