package rfc9111

import (
	"fmt"
	"strings"
)

// Target is a target URI in normal form (RFC 3986, 6.2; RFC 9110, 4.2.3): scheme and host in lower case, no default port, no dot at the
// host's end, no dot segments, unreserved characters decoded, all others that need it as escapes in upper case. Matching, keys and
// forwarding all use this one form, so that none of them sees another URL than the others.
type Target struct {
	Scheme string // "http" or "https"
	Host   string // with the port where it is not the scheme's default
	Path   string // begins with "/", or is "*"
	Query  string // without the "?"; an empty query is the same as none
}

// TargetError says why a request target has no safe normal form.
type TargetError struct {
	Part   string // "scheme", "host", "port", "path", "query" or "target"
	Offset int    // of the byte that is wrong, within the part
	Why    string
}

func (e *TargetError) Error() string {
	return fmt.Sprintf("%s of the target URI, at byte %d: %s", e.Part, e.Offset, e.Why)
}

// ParseTarget brings a request target (RFC 9112, 3.2) into normal form, or says with a *TargetError why it has no safe one. The target is
// in origin form, in absolute form or "*"; scheme is that of the connection, authority the Host field. In the absolute form the URI's
// own authority counts (RFC 9112, 3.2.2), and its scheme must be the connection's (RFC 9110, 7.4).
//
// Refused are: control bytes, "#", an empty or odd host, user information, a port that is none; in the path a backslash, an escape that
// is none, an escaped zero byte, and whatever becomes a dot segment once "/" or "\" are decoded, escapes are decoded twice, or what
// follows a ";" is cut off, as some origins do. In a query, where browsers send them and no origin resolves segments, a backslash and a
// "%" that begins no escape are escaped.
//
// It does not allocate where everything is in normal form already.
func ParseTarget(scheme, authority, requestTarget string) (Target, error) {
	if scheme != "http" && scheme != "https" {
		return Target{}, &TargetError{"scheme", 0, "neither http nor https"}
	}
	if requestTarget == "*" {
		host, err := normalHost(scheme, authority)
		if err != nil {
			return Target{}, err
		}
		return Target{Scheme: scheme, Host: host, Path: "*"}, nil
	}
	if requestTarget == "" || requestTarget[0] != '/' {
		own, rest, ok := cutScheme(requestTarget)
		if !ok {
			return Target{}, &TargetError{"target", 0, "neither a path nor an absolute http or https URL"}
		}
		if own != scheme {
			return Target{}, &TargetError{"scheme", 0, "not the scheme of the connection"}
		}
		return parseAfterScheme(own, rest)
	}
	return parseTarget(scheme, authority, requestTarget)
}

// ParseURL is ParseTarget for an absolute http or https URL.
func ParseURL(rawURL string) (Target, error) {
	scheme, rest, ok := cutScheme(rawURL)
	if !ok {
		return Target{}, &TargetError{"scheme", 0, "not an absolute http or https URL"}
	}
	return parseAfterScheme(scheme, rest)
}

// cutScheme takes "http://" or "https://", in any case, off the front.
func cutScheme(s string) (scheme, rest string, ok bool) {
	for _, scheme := range [...]string{"http", "https"} {
		n := len(scheme) + len("://")
		if len(s) >= n && EqualFold(s[:len(scheme)], scheme) && s[len(scheme):n] == "://" {
			return scheme, s[n:], true
		}
	}
	return "", s, false
}

func parseAfterScheme(scheme, rest string) (Target, error) {
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	path := rest[end:]
	if path == "" {
		path = "/"
	} else if path[0] != '/' {
		path = "/" + path
	}
	return parseTarget(scheme, rest[:end], path)
}

// parseTarget is the origin form: pathAndQuery begins with "/".
func parseTarget(scheme, authority, pathAndQuery string) (Target, error) {
	host, err := normalHost(scheme, authority)
	if err != nil {
		return Target{}, err
	}
	path, query, _ := strings.Cut(pathAndQuery, "?")
	if path, err = normalPath(path); err != nil {
		return Target{}, err
	}
	if query, err = normalQuery(query); err != nil {
		return Target{}, err
	}
	return Target{Scheme: scheme, Host: host, Path: path, Query: query}, nil
}

// String returns the target as an absolute URL, which ParseURL turns into the same target. That of "*" is the URL without a path
// (RFC 9112, 3.3), which reads as "/".
func (t Target) String() string {
	if t.Path == "*" {
		return t.Scheme + "://" + t.Host
	}
	if t.Query == "" {
		return t.Scheme + "://" + t.Host + t.Path
	}
	return t.Scheme + "://" + t.Host + t.Path + "?" + t.Query
}

// RequestURI returns the target in origin form: path and query.
func (t Target) RequestURI() string {
	if t.Query == "" {
		return t.Path
	}
	return t.Path + "?" + t.Query
}

// Resolve resolves a URI reference against t (RFC 3986, 5.2), for Location and Content-Location. A fragment is dropped.
func (t *Target) Resolve(ref string) (Target, error) {
	ref, _, _ = strings.Cut(trim(ref), "#")
	path, query, queried := strings.Cut(ref, "?")
	switch {
	case ref == "":
		return *t, nil
	case hasScheme(ref):
		return ParseURL(ref)
	case strings.HasPrefix(ref, "//"):
		return parseAfterScheme(t.Scheme, ref[2:])
	case ref[0] == '/':
		return parseTarget(t.Scheme, t.Host, ref)
	case path == "" && queried:
		return parseTarget(t.Scheme, t.Host, t.Path+"?"+query)
	}
	base := t.Path[:strings.LastIndexByte(t.Path, '/')+1]
	if base == "" {
		base = "/"
	}
	return parseTarget(t.Scheme, t.Host, base+ref)
}

// hasScheme reports whether the reference begins with a scheme (RFC 3986, 3.1).
func hasScheme(ref string) bool {
	for i := range len(ref) {
		switch c := ref[i]; {
		case c == ':':
			return i > 0
		case isAlpha(c) || i > 0 && (isDigit(c) || c == '+' || c == '-' || c == '.'):
		default:
			return false
		}
	}
	return false
}

// SameOrigin reports whether both targets have one origin: scheme, host and port (RFC 9110, 4.3.1).
func SameOrigin(a, b *Target) bool { return a.Scheme == b.Scheme && a.Host == b.Host }
