package rfc9111

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestVaryNames(t *testing.T) {
	tests := []struct {
		lines []string
		want  []string
		star  bool
	}{
		{nil, nil, false},
		{[]string{"Vary: "}, nil, false},
		{[]string{"Vary: foo"}, []string{"Foo"}, false},
		{[]string{"Vary: b, a,,B"}, []string{"A", "B"}, false},
		{[]string{"Vary: b", "Vary: accept-encoding"}, []string{"Accept-Encoding", "B"}, false},
		{[]string{"Vary: *"}, nil, true},
		{[]string{"Vary: *, *"}, nil, true},
		{[]string{"Vary: , *"}, nil, true},
		{[]string{"Vary: ", "Vary: *"}, nil, true},
		{[]string{"Vary: *, Foo"}, nil, true},
		{[]string{"Vary: Foo, *"}, nil, true},
		{[]string{"Vary: Foo Bar"}, nil, true}, // no name: nobody can tell what it depends on
	}
	for _, tt := range tests {
		if names, star := VaryNames(fields(tt.lines...)); !slices.Equal(names, tt.want) || star != tt.star {
			t.Errorf("VaryNames(%q) = %q, %t, want %q, %t", tt.lines, names, star, tt.want, tt.star)
		}
	}
}

func TestMatches(t *testing.T) {
	tests := []struct {
		section      string
		vary         string
		stored, asks []string
		want         bool
	}{
		{"4.1", "Foo", []string{"Foo: 1"}, []string{"Foo: 1"}, true},
		{"4.1", "Foo", []string{"Foo: 1"}, []string{"Foo: 2"}, false},
		{"4.1, a prefix", "Foo", []string{"Foo: 1"}, []string{"Foo: 12"}, false},
		{"4.1, a prefix", "Foo", []string{"Foo: 12"}, []string{"Foo: 1"}, false},
		{"4.1, absent when stored", "Foo", nil, []string{"Foo: 1"}, false},
		{"4.1, absent now", "Foo", []string{"Foo: 1"}, nil, false},
		{"4.1, absent in both", "Foo", nil, nil, true},
		{"4.1, absent is not empty", "Foo", nil, []string{"Foo: "}, false},
		{"4.1, empty is not absent", "Foo", []string{"Foo: "}, nil, false},
		{"4.1, empty in both", "Foo", []string{"Foo: "}, []string{"Foo:  "}, true},
		{"4.1, others do not matter", "Foo", []string{"Foo: 1", "Bar: 1"}, []string{"Foo: 1", "Bar: 2"}, true},
		{"4.1, each counts", "Foo, Bar", []string{"Foo: 1", "Bar: 1"}, []string{"Foo: 1", "Bar: 2"}, false},
		{"4.1, each counts", "Foo, Bar", []string{"Foo: 1"}, []string{"Foo: 1"}, true},
		{"4.1, combined lines", "Foo", []string{"Foo: 1, 2"}, []string{"Foo: 1", "Foo: 2"}, true},
		{"4.1, whitespace", "Foo", []string{"Foo: 1,2"}, []string{"Foo:  1, 2 "}, true},
		{"4.1, whitespace", "Foo", []string{"Foo: 1 ,\t2"}, []string{"Foo: 1,2"}, true},
		{"4.1, whitespace within a member counts", "Foo", []string{"Foo: a b"}, []string{"Foo: ab"}, false},
		{"4.1, whitespace within a member counts", "Foo", []string{"Foo: a b"}, []string{"Foo: a  b"}, false},
		{"4.1, whitespace within quotes counts", "Foo", []string{`Foo: "a, b"`}, []string{`Foo: "a,b"`}, false},
		{"4.1, order counts", "Foo", []string{"Foo: 1, 2"}, []string{"Foo: 2, 1"}, false},
		{"4.1, case counts", "Foo", []string{"Foo: a"}, []string{"Foo: A"}, false},
		{"9110 12.5.4, case of languages", "Accept-Language", []string{"Accept-Language: en, de"}, []string{"Accept-Language: eN , De"}, true},
		{"9110 12.5.3, case of codings", "accept-encoding", []string{"Accept-Encoding: GZIP"}, []string{"Accept-Encoding: gzip"}, true},
		{"9110 12.5.4, order of languages counts", "Accept-Language", []string{"Accept-Language: en, de"}, []string{"Accept-Language: de, en"}, false},
	}
	for _, tt := range tests {
		m := NewMeta(exchange(fields(tt.stored...), 200, fields("Cache-Control: max-age=60", "Vary: "+tt.vary)), originPolicy(), now, now)
		if got := Matches(fields(tt.asks...), &m); got != tt.want {
			t.Errorf("%s: stored for %q, Vary: %s; Matches(%q) = %t, want %t", tt.section, tt.stored, tt.vary, tt.asks, got, tt.want)
		}
	}
}

func TestNewer(t *testing.T) {
	at := func(date, response time.Duration) *Meta {
		return &Meta{Date: now.Add(date), ResponseTime: now.Add(response)}
	}
	tests := []struct {
		section string
		a, b    *Meta
		want    bool
	}{
		{"4, by Date", at(1, 0), at(0, 5), true},
		{"4, by Date", at(0, 5), at(1, 0), false},
		{"then by arrival", at(1, 5), at(1, 0), true},
		{"not newer than itself", at(1, 5), at(1, 5), false},
	}
	for _, tt := range tests {
		if got := Newer(tt.a, tt.b); got != tt.want {
			t.Errorf("%s: Newer(%v, %v) = %t", tt.section, tt.a.Date, tt.b.Date, got)
		}
	}
}

// plainNormalize does what normalize does, by splitting and joining.
func plainNormalize(name, value string) string {
	var parts []string
	quoted, escaped := false, false
	var member strings.Builder
	for i := range len(value) {
		c := value[i]
		switch {
		case escaped:
			escaped = false
		case quoted && c == '\\':
			escaped = true
		case c == '"':
			quoted = !quoted
		case c == ',' && !quoted:
			parts = append(parts, member.String())
			member.Reset()
			continue
		case !quoted && foldsCase(name) && 'A' <= c && c <= 'Z':
			c |= 0x20
		}
		member.WriteByte(c)
	}
	parts = append(parts, member.String())
	for i, part := range parts {
		last := i == len(parts)-1
		part = strings.TrimLeft(part, " \t")
		if !last || !quoted { // an open quote reaches to the end
			part = strings.TrimRight(part, " \t")
		}
		parts[i] = part
	}
	return strings.Join(parts, ",")
}

// FuzzNormalize compares with the plain way, and holds that a normal form is its own.
func FuzzNormalize(f *testing.F) {
	for _, seed := range []string{"a , b", ` a  b ,"c , D\" , e", F `, ",,", `"open , `, "\t", `a "b" c ,d`, `\" , a`} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	f.Fuzz(func(t *testing.T, value string, language bool) {
		name := "Foo"
		if language {
			name = "Accept-Language"
		}
		got := normalize(name, value)
		if want := plainNormalize(name, value); got != want {
			t.Errorf("normalize(%s, %q) = %q, want %q", name, value, got, want)
		}
		if again := normalize(name, got); again != got {
			t.Errorf("normalize(%s, %q) = %q, and of that %q", name, value, got, again)
		}
		if !normalizesTo(name, value, got) {
			t.Errorf("normalizesTo(%s, %q, %q) = false", name, value, got)
		}
		if normalizesTo(name, value, got+"x") || got != "" && normalizesTo(name, value, got[:len(got)-1]) {
			t.Errorf("normalizesTo(%s, %q) is true for more than %q", name, value, got)
		}
	})
}
