package rfc9111

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// now is the time at which responses arrive in these tests.
var now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// fields makes a header section of "Name: value" lines.
func fields(lines ...string) Header {
	h := http.Header{}
	for _, line := range lines {
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			panic("no colon in " + line)
		}
		h.Add(name, strings.TrimPrefix(value, " "))
	}
	return Header(h)
}

// at writes the time d after now as a field line.
func at(name string, d time.Duration) string { return name + ": " + now.Add(d).Format(http.TimeFormat) }

// originPolicy is what a route without settings has.
func originPolicy() *Policy {
	return &Policy{
		StaleWhileRevalidate: -1, StaleIfError: -1, MaxLifetime: 24 * time.Hour,
		Targeted: []string{"Cdn-Cache-Control", "Surrogate-Control"},
	}
}

// exchange makes a GET of http://example.com/a.
func exchange(request Header, status int, response Header) *Exchange {
	return &Exchange{
		Method: "GET", Target: &Target{Scheme: "http", Host: "example.com", Path: "/a"},
		Request: request, Status: status, Response: response,
	}
}

// received makes the Meta of a 200 that took no time to arrive at now.
func received(lines ...string) *Meta {
	m := NewMeta(exchange(nil, 200, fields(lines...)), originPolicy(), now, now)
	return &m
}

func TestHeaderField(t *testing.T) {
	h := Header{"A": {"1"}, "B": {"1", "2"}, "C": {""}, "D": {}}
	for _, tt := range []struct {
		name, value string
		lines       int
	}{{"A", "1", 1}, {"B", "1, 2", 2}, {"C", "", 1}, {"D", "", 0}, {"E", "", 0}} {
		if value, lines := h.Field(tt.name); value != tt.value || lines != tt.lines {
			t.Errorf("Field(%s) = %q, %d, want %q, %d", tt.name, value, lines, tt.value, tt.lines)
		}
	}
}

func TestNextMember(t *testing.T) {
	tests := []struct {
		list string
		want []string
	}{
		{"", nil},
		{" , ,", nil},
		{"a", []string{"a"}},
		{" a ,\tb,,c ", []string{"a", "b", "c"}},
		{`"a,b", W/"c,d",e`, []string{`"a,b"`, `W/"c,d"`, "e"}},
		{`"a\", "b"`, []string{`"a\"`, `"b"`}}, // RFC 9110, 8.8.3: no escapes in entity tags
		{`"open, b`, []string{`"open, b`}},
	}
	for _, tt := range tests {
		var got []string
		for m, rest := nextMember(tt.list); m != ""; m, rest = nextMember(rest) {
			got = append(got, m)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("members of %q = %q, want %q", tt.list, got, tt.want)
		}
	}
}
