package invalidation

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Kind says how the value of a selector is to be read.
type Kind uint8

const (
	// KindURL selects one URI with all its variants. The value is an absolute
	// URI exactly as stamps are given it ("http://host/path?query", the host
	// may be empty), or one without its scheme ("//host/path?query"), which
	// selects it under every scheme.
	KindURL Kind = iota
	// KindAll selects everything. It has no value.
	KindAll

	kinds = iota
)

// String is the name of the kind in metrics and logs.
func (k Kind) String() string {
	switch k {
	case KindURL:
		return "url"
	case KindAll:
		return "all"
	}
	return "kind(" + strconv.Itoa(int(k)) + ")"
}

// Selector names what a record hits.
type Selector struct {
	Kind  Kind
	Value string
}

// What can be wrong with the selectors of a purge.
var (
	// ErrEmpty is returned for a purge without selectors, and for a selector
	// that needs a value and has none. Such a purge would succeed and do nothing.
	ErrEmpty = errors.New("nothing is selected")
	// ErrSelector is returned for a selector that cannot select anything, or
	// that says something else than it does.
	ErrSelector = errors.New("not a selector")
)

// validate reports every selector that is wrong; the error matches ErrEmpty or
// ErrSelector, or both.
func validate(selectors []Selector) error {
	if len(selectors) == 0 {
		return fmt.Errorf("%w: a purge needs at least one selector", ErrEmpty)
	}
	var faults []error
	for i, s := range selectors {
		if err := s.validate(); err != nil {
			faults = append(faults, fmt.Errorf("selector %d of kind %s: %w", i+1, s.Kind, err))
		}
	}
	return errors.Join(faults...)
}

func (s Selector) validate() error {
	switch s.Kind {
	case KindURL:
		if s.Value == "" {
			return fmt.Errorf("%w: the URL is empty", ErrEmpty)
		}
		if !isAbsolute(s.Value) {
			return fmt.Errorf("%w: %q does not begin with a scheme and two slashes, nor with two slashes", ErrSelector, s.Value)
		}
	case KindAll:
		if s.Value != "" {
			return fmt.Errorf("%w: it selects everything and takes no value, but has %q", ErrSelector, s.Value)
		}
	default:
		return fmt.Errorf("%w: the kind is unknown", ErrSelector)
	}
	return nil
}

// isAbsolute reports whether v has an authority, empty or not, with or without
// a scheme before it (RFC 3986, sections 3 and 4.2).
func isAbsolute(v string) bool {
	scheme, _, found := strings.Cut(v, "//")
	if !found {
		return false
	}
	return scheme == "" || len(scheme) > 1 && strings.IndexByte(scheme, ':') == len(scheme)-1
}
