package rfc9111

import (
	"net/http"
	"strings"
	"time"
)

// Conditions returns the values of If-None-Match and If-Modified-Since for a validation of the given stored responses (4.3.1); "" means
// that the field is left out. If-Modified-Since is for one response alone: with several, only their entity tags tell them apart.
func Conditions(ms ...*Meta) (ifNoneMatch, ifModifiedSince string) {
	if len(ms) == 1 {
		return ms[0].Validators.ETag, ms[0].Validators.LastModified
	}
	var tags []string
	seen := map[string]bool{}
	for _, m := range ms {
		// One that is not well formed would break the list for the others.
		if tag := m.Validators.ETag; !seen[tag] && wellFormed(tag) {
			seen[tag] = true
			tags = append(tags, tag)
		}
	}
	return strings.Join(tags, ", "), ""
}

// wellFormed reports whether tag is an entity tag (RFC 9110, 8.8.3).
func wellFormed(tag string) bool {
	opaque := strings.TrimPrefix(tag, "W/")
	if len(opaque) < 2 || opaque[0] != '"' || opaque[len(opaque)-1] != '"' {
		return false
	}
	for _, c := range []byte(opaque[1 : len(opaque)-1]) {
		if c <= ' ' || c == '"' || c == 0x7f {
			return false
		}
	}
	return true
}

// Preconditions evaluates the request's If-None-Match, or else its If-Modified-Since, against a stored response (4.3.2; RFC 9110, 13.2):
// 304, or 0 where the response is to be sent whole. The entity tags of its encoded forms are as good as its own. If-Match and If-Unmodified-Since are for the origin alone. It does not allocate
// for single-line fields.
func Preconditions(req Fields, m *Meta) int {
	if m.Status < 200 || m.Status > 299 {
		return 0 // RFC 9110, 13.2.1
	}
	if _, lines := req.Field("If-None-Match"); lines > 0 {
		if NamedForms(req, m) != 0 {
			return http.StatusNotModified
		}
		return 0
	}
	if since, lines := req.Field("If-Modified-Since"); lines == 1 && !modifiedSince(since, m) {
		return http.StatusNotModified
	}
	return 0
}

// modifiedSince reports whether the stored response was modified after the given date; where it has no Last-Modified its Date counts.
// A date that is none counts as no condition.
func modifiedSince(since string, m *Meta) bool {
	if since == m.Validators.LastModified {
		_, ok := parseDate(since, m.ResponseTime)
		return !ok
	}
	limit, ok := parseDate(since, m.ResponseTime)
	if !ok {
		return true
	}
	modified, ok := parseDate(m.Validators.LastModified, m.ResponseTime)
	if !ok {
		modified = m.Date.Truncate(time.Second)
	}
	return modified.After(limit)
}

// RangeApplies evaluates If-Range (RFC 9110, 13.1.5): whether the request's Range is to be answered from the stored response. It is
// true where there is no If-Range. An entity tag must be equal and strong, a date equal and strong (RFC 9110, 8.8.2.2). All forms of
// an encoded response have one date: from a client that may hold another form than the response itself it says nothing.
func RangeApplies(req Fields, m *Meta) bool {
	value, lines := req.Field("If-Range")
	if lines == 0 {
		return true
	}
	value = trim(value)
	if strings.IndexByte(value, '"') >= 0 {
		return stronglyEqual(value, m.Validators.ETag)
	}
	if m.Flags&Encodes != 0 && PreferredCoding(req, everyCoding, allCodings) != Identity {
		return false
	}
	date, ok := parseDate(value, m.ResponseTime)
	if !ok || !strongLastModified(m) {
		return false
	}
	modified, _ := parseDate(m.Validators.LastModified, m.ResponseTime)
	return date.Equal(modified)
}

// weaklyEqual is the weak comparison of entity tags (RFC 9110, 8.8.3.2).
func weaklyEqual(a, b string) bool {
	return b != "" && strings.TrimPrefix(a, "W/") == strings.TrimPrefix(b, "W/")
}

// stronglyEqual is the strong comparison.
func stronglyEqual(a, b string) bool { return a == b && isStrong(a) }

// isStrong reports whether an entity tag is a strong validator. What is not well formed never is.
func isStrong(tag string) bool { return wellFormed(tag) && tag[0] == '"' }

// strongLastModified reports whether Last-Modified is a strong validator: at least a second older than Date (RFC 9110, 8.8.2.2), so that
// the representation cannot have changed again within the same second.
func strongLastModified(m *Meta) bool {
	modified, ok := parseDate(m.Validators.LastModified, m.ResponseTime)
	return ok && m.Date.Sub(modified) >= time.Second
}
