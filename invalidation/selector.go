package invalidation

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Kind says how the value of a selector is to be read.
type Kind uint8

// The kinds.
const (
	// KindURL selects one URI with all its variants. The value is an absolute
	// URI exactly as stamps are given it ("http://host/path?query", the host
	// may be empty), or one without its scheme ("//host/path?query"), which
	// selects it under every scheme.
	KindURL Kind = iota
	// KindKey selects what is stored under a key. The value is the key's hash,
	// 32 hexadecimal digits.
	KindKey
	// KindTag selects what carries the tag that the value names.
	KindTag
	// KindGroup selects what is in a group of an origin (RFC 9875); see [Group].
	KindGroup
	// KindPattern selects the URIs that a pattern matches; see the package
	// comment.
	KindPattern
	// KindBan selects what regular expressions match; see [Ban].
	KindBan
	// KindAll selects everything. It has no value.
	KindAll

	kinds = iota
)

var kindNames = [kinds]string{"url", "key", "tag", "group", "pattern", "ban", "all"}

// String is the name of the kind in metrics and logs.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "kind(" + strconv.Itoa(int(k)) + ")"
}

// Selector names what a record hits.
type Selector struct {
	Kind  Kind
	Value string
}

// Group selects what is in a group of an origin, such as "https://example.com".
// Groups of different origins have nothing to do with each other (RFC 9875,
// section 2).
func Group(origin, name string) Selector { return Selector{KindGroup, origin + " " + name} }

// What can be wrong with the selectors of a purge.
var (
	// ErrEmpty is returned for a purge without selectors, and for a selector
	// that needs a value and has none. Such a purge would succeed and do nothing.
	ErrEmpty = errors.New("nothing is selected")
	// ErrSelector is returned for a selector that cannot select anything, or
	// that says something else than it does.
	ErrSelector = errors.New("not a selector")
)

// Bounds of a record. It is kept in the log, and applied by every instance.
const (
	MaxSelectors = 10_000   // in a record
	MaxValue     = 64 << 10 // bytes of a selector's value
	maxRecord    = 1 << 20  // bytes of all values together
)

// validate reports every selector that is wrong; the error matches ErrEmpty or
// ErrSelector, or both.
func validate(selectors []Selector) error {
	switch {
	case len(selectors) == 0:
		return fmt.Errorf("%w: a purge needs at least one selector", ErrEmpty)
	case len(selectors) > MaxSelectors:
		return fmt.Errorf("%w: %d of them, and one purge takes at most %d", ErrSelector, len(selectors), MaxSelectors)
	}
	var faults []error
	size := 0
	for i, s := range selectors {
		size += len(s.Value)
		if err := s.validate(); err != nil {
			faults = append(faults, fmt.Errorf("selector %d of kind %s: %w", i+1, s.Kind, err))
		}
	}
	if size > maxRecord {
		faults = append(faults, fmt.Errorf("%w: they have %d bytes together, and one purge takes at most %d", ErrSelector, size, maxRecord))
	}
	return errors.Join(faults...)
}

// What an empty value lacks.
var valueNames = [kinds]string{"URL", "key", "tag", "group", "pattern", "ban", ""}

func (s Selector) validate() error {
	if int(s.Kind) >= kinds {
		return fmt.Errorf("%w: the kind is unknown", ErrSelector)
	}
	if s.Kind == KindAll {
		if s.Value != "" {
			return fmt.Errorf("%w: it selects everything and takes no value, but has %q", ErrSelector, s.Value)
		}
		return nil
	}
	if s.Value == "" {
		return fmt.Errorf("%w: the %s is empty", ErrEmpty, valueNames[s.Kind])
	}
	if len(s.Value) > MaxValue {
		return fmt.Errorf("%w: it has %d bytes, and at most %d are taken", ErrSelector, len(s.Value), MaxValue)
	}
	switch s.Kind {
	case KindURL:
		if !isAbsolute(s.Value) {
			return fmt.Errorf("%w: %q does not begin with a scheme and two slashes, nor with two slashes", ErrSelector, s.Value)
		}
	case KindKey:
		if _, ok := keyOf(s.Value); !ok {
			return fmt.Errorf("%w: %q is not the 32 hexadecimal digits of a key", ErrSelector, s.Value)
		}
	case KindGroup:
		if origin, name, _ := strings.Cut(s.Value, " "); !strings.Contains(origin, "://") || name == "" {
			return fmt.Errorf("%w: %q is not an origin, a space and the group", ErrSelector, s.Value)
		}
	case KindPattern, KindBan:
		_, err := compile(s)
		return err
	}
	return nil
}

// keyOf reads the value of a KindKey.
func keyOf(value string) (key [16]byte, ok bool) {
	if len(value) != hex.EncodedLen(len(key)) {
		return key, false
	}
	_, err := hex.Decode(key[:], []byte(value))
	return key, err == nil
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
