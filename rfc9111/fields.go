package rfc9111

import (
	"net/http"
	"strings"
)

// Fields is what the rules of HTTP need to see of a header section.
type Fields interface {
	// Field returns the combined value of a field (RFC 9110, 5.3: the lines joined by ", ") and from how many lines it came; 0 lines
	// mean that the field is absent. The name is in canonical form (http.CanonicalHeaderKey).
	Field(name string) (value string, lines int)
}

// Header adapts an http.Header to Fields. The header's keys must be in canonical form. Converting it to Fields does not allocate.
type Header http.Header

// Field returns the combined value. It allocates only where there are several lines to join.
func (h Header) Field(name string) (value string, lines int) {
	switch v := h[name]; len(v) {
	case 0:
		return "", 0
	case 1:
		return v[0], 1
	default:
		return strings.Join(v, ", "), len(v)
	}
}

// hopByHop names the fields that belong to one connection and are never stored (3.1; RFC 9110, 7.6.1). Connection names more.
var hopByHop = []string{
	"Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
	"Proxy-Authenticate", "Proxy-Authentication-Info", "Proxy-Authorization",
}

// trim removes the optional whitespace round a value (RFC 9110, 5.6.3).
func trim(s string) string {
	for s != "" && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for s != "" && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}

// nextMember cuts the first member off a list (RFC 9110, 5.6.1), without the whitespace round it. Commas within double quotes do not
// separate; a backslash does not escape, for an entity tag may end in one (RFC 9110, 8.8.3). Empty members are skipped: member is ""
// only at the end of the list.
func nextMember(list string) (member, rest string) {
	for list != "" {
		end := memberEnd(list)
		member, rest = trim(list[:end]), ""
		if end < len(list) {
			rest = list[end+1:]
		}
		if member != "" {
			return member, rest
		}
		list = rest
	}
	return "", ""
}

func memberEnd(list string) int {
	quoted := false
	for i := range len(list) {
		switch list[i] {
		case '"':
			quoted = !quoted
		case ',':
			if !quoted {
				return i
			}
		}
	}
	return len(list)
}

// nextName cuts the first member off a list of tokens, where quotes have no meaning.
func nextName(list string) (name, rest string) {
	for list != "" {
		name, rest, _ = strings.Cut(list, ",")
		if name = trim(name); name != "" {
			return name, rest
		}
		list = rest
	}
	return "", ""
}

// EqualFold compares without regard to case. Unlike strings.EqualFold it knows ASCII alone, as the grammars do: "ſ" is no "s".
func EqualFold(s, t string) bool {
	if len(s) != len(t) {
		return false
	}
	for i := range len(s) {
		if lower(s[i]) != lower(t[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c |= 0x20
	}
	return c
}

// isToken reports whether s is a token (RFC 9110, 5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		if !isTokenByte(s[i]) {
			return false
		}
	}
	return s != ""
}

func isTokenByte(c byte) bool {
	return isAlpha(c) || isDigit(c) || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

func isAlpha(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
