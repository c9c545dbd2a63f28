package cache

import (
	"net/http"
	"slices"
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

// appendHeader appends the field lines of h by their names, and a last one of Vary where it is asked to.
func appendHeader(b []byte, h http.Header, vary string) []byte {
	var room [24]string
	names := room[:0]
	for name := range h {
		if kept(name) {
			names = append(names, name)
		}
	}
	if vary != "" && h["Vary"] == nil {
		names = append(names, "Vary")
	}
	slices.Sort(names)
	for _, name := range names {
		for _, v := range h[name] {
			b = appendLine(b, name, v)
		}
		if name == "Vary" && vary != "" {
			b = appendLine(b, name, vary)
		}
	}
	return b
}

func appendLine(b []byte, name, value string) []byte {
	b = append(b, name...)
	b = append(b, ": "...)
	b = appendValue(b, value)
	return append(b, '\r', '\n')
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
