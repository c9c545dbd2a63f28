package rfc9111

import (
	"errors"
	"slices"
	"strconv"
	"strings"
)

// Range is a part of a representation, in bytes.
type Range struct{ Start, Length int64 }

// ErrUnsatisfiable is returned by ParseRange where no byte of the representation was asked for: the answer is 416.
var ErrUnsatisfiable = errors.New("range not satisfiable")

// maxRanges is how many ranges one request may ask for. More, or overlapping ones, are not worth answering (RFC 9110, 14.2 and 17.15).
const maxRanges = 10

// ParseRange resolves a Range field (RFC 9110, 14.2) against a representation of size bytes. Ranges without a byte in it are left out;
// those that remain keep their order. nil without an error means that the field is to be ignored: another unit, a syntax error, too
// many or overlapping ranges, or an empty representation, of which no range can be sent.
func ParseRange(value string, size int64) ([]Range, error) {
	unit, set, ok := strings.Cut(trim(value), "=")
	if !ok || !EqualFold(unit, "bytes") || size == 0 {
		return nil, nil
	}
	var ranges []Range
	n := 0
	for spec, rest := nextName(set); spec != ""; spec, rest = nextName(rest) {
		r, valid := parseRangeSpec(spec, size)
		if n++; !valid || n > maxRanges {
			return nil, nil
		}
		if r.Length > 0 {
			ranges = append(ranges, r)
		}
	}
	if n == 0 || overlap(ranges) {
		return nil, nil
	}
	if len(ranges) == 0 {
		return nil, ErrUnsatisfiable
	}
	return ranges, nil
}

// parseRangeSpec parses "first-last", "first-" or "-suffix". Length is 0 where the range is not satisfiable (RFC 9110, 14.1.2).
func parseRangeSpec(spec string, size int64) (r Range, valid bool) {
	from, to, ok := strings.Cut(spec, "-")
	if !ok || from == "" && to == "" {
		return Range{}, false
	}
	first, okFirst := parsePosition(from)
	last, okLast := parsePosition(to)
	switch {
	case from == "":
		n := min(last, size)
		return Range{size - n, n}, okLast
	case to == "":
		last = size - 1
		okLast = true
	case first > last:
		return Range{}, false
	}
	return Range{first, max(min(last, size-1)-first+1, 0)}, okFirst && okLast
}

// parsePosition parses digits alone. A number too large to hold becomes the largest.
func parsePosition(s string) (n int64, ok bool) {
	for i := range len(s) {
		if !isDigit(s[i]) {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil || errors.Is(err, strconv.ErrRange)
}

func overlap(ranges []Range) bool {
	if len(ranges) < 2 {
		return false
	}
	sorted := slices.Clone(ranges)
	slices.SortFunc(sorted, func(a, b Range) int {
		if a.Start < b.Start {
			return -1
		}
		return 1
	})
	for i, r := range sorted[1:] {
		if r.Start < sorted[i].Start+sorted[i].Length {
			return true
		}
	}
	return false
}

// ParseContentRange parses "bytes first-last/complete" (RFC 9110, 14.4). complete is -1 where it is "*". ok is false for anything
// else, the unsatisfied form "bytes */complete" included.
func ParseContentRange(value string) (first, last, complete int64, ok bool) {
	unit, rest, _ := strings.Cut(trim(value), " ")
	span, size, sized := strings.Cut(rest, "/")
	from, to, dashed := strings.Cut(span, "-")
	if !EqualFold(unit, "bytes") || !sized || !dashed {
		return 0, 0, 0, false
	}
	first, okFirst := parseExact(from)
	last, okLast := parseExact(to)
	complete, okSize := int64(-1), true
	if size != "*" {
		complete, okSize = parseExact(size)
		okSize = okSize && complete > last
	}
	if !okFirst || !okLast || !okSize || first > last {
		return 0, 0, 0, false
	}
	return first, last, complete, true
}

// parseExact parses digits alone, and not what is too large to hold.
func parseExact(s string) (n int64, ok bool) {
	u, err := strconv.ParseUint(s, 10, 63)
	return int64(u), err == nil
}

// usablePart reports whether a 206 has one part of known place (3.3; RFC 9110, 15.3.7.1) whose declared length, where there is one,
// is that of the content.
func usablePart(resp Fields) bool {
	value, lines := resp.Field("Content-Range")
	first, last, _, ok := ParseContentRange(value)
	if lines != 1 || !ok {
		return false
	}
	length, lines := resp.Field("Content-Length")
	n, ok := parseExact(trim(length))
	return lines == 0 || lines == 1 && ok && n == last-first+1
}

// Combinable reports whether parts of the two responses are parts of one representation (3.4): they share a strong validator.
func Combinable(a, b *Meta) bool {
	if a.Validators.ETag != "" || b.Validators.ETag != "" {
		return stronglyEqual(a.Validators.ETag, b.Validators.ETag)
	}
	return a.Validators.LastModified == b.Validators.LastModified && strongLastModified(a) && strongLastModified(b)
}
