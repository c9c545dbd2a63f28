package cache

import (
	"net/http"
	"sort"
	"strings"
	"unsafe"
)

// kept reports whether the field is part of Head. Age and Content-Length are made for each response, and a name that would break the
// form of a field line is left out, as net/http does when it writes one: a handler in the same process may have set it.
func kept(name string) bool {
	return name != "" && name != "Age" && name != "Content-Length" && !strings.ContainsAny(name, "\x00\t\n\r :")
}

func renderedSize(h http.Header) int {
	n := 0
	for name, values := range h {
		if !kept(name) {
			continue
		}
		for _, v := range values {
			n += len(name) + len(v) + len(": \r\n")
		}
	}
	return n
}

func appendHeader(b []byte, h http.Header) []byte {
	names := make([]string, 0, len(h))
	for name := range h {
		if kept(name) {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	for _, name := range names {
		for _, v := range h[name] {
			b = append(b, name...)
			b = append(b, ": "...)
			b = appendValue(b, v)
			b = append(b, '\r', '\n')
		}
	}
	return b
}

// appendValue appends a field value; a CR, LF or NUL inside it becomes a space (RFC 9110, 5.5).
func appendValue(b []byte, v string) []byte {
	start := len(b)
	b = append(b, v...)
	for i := start; i < len(b); i++ {
		switch b[i] {
		case '\r', '\n', 0:
			b[i] = ' '
		}
	}
	return b
}

// lines yields the field lines of a rendered head. The strings alias head, which never changes, so they may be kept.
func lines(head []byte) func(yield func(name, value string) bool) {
	return func(yield func(name, value string) bool) {
		for rest := text(head); len(rest) > 0; {
			end := strings.IndexByte(rest, '\r')
			colon := strings.IndexByte(rest[:end], ':')
			if !yield(rest[:colon], rest[colon+2:end]) {
				return
			}
			rest = rest[end+2:]
		}
	}
}

// text returns b as a string without a copy. Only for bytes of an entry, of which each is written once, before it is read.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
