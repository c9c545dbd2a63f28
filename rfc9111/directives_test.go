package rfc9111

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestParseDelta(t *testing.T) {
	tests := []struct {
		in   string
		want time.Duration
		ok   bool
	}{
		{"0", 0, true},
		{"3600", time.Hour, true},
		{"003600", time.Hour, true},
		{"2147483647", (1<<31 - 1) * time.Second, true},
		{"2147483648", maxDelta, true}, // 1.2.2
		{"2147483649", maxDelta, true},
		{"99999999999", maxDelta, true},
		{strings.Repeat("9", 1000), maxDelta, true},
		{"", 0, false},
		{"-1", 0, false},
		{"+1", 0, false},
		{"1.0", 0, false},
		{"1a", 0, false},
		{"a1", 0, false},
		{"1 ", 0, false},
		{"'1'", 0, false},
		{"٣", 0, false},
	}
	for _, tt := range tests {
		if got, ok := parseDelta(tt.in); got != tt.want || ok != tt.ok {
			t.Errorf("parseDelta(%q) = %v, %t, want %v, %t", tt.in, got, ok, tt.want, tt.ok)
		}
	}
}

func TestResponseDirectives(t *testing.T) {
	seconds := func(n int) delta { return delta{time.Duration(n) * time.Second, true} }
	tests := []struct {
		section, value string
		want           responseDirectives
	}{
		{"5.2", "", responseDirectives{}},
		{"5.2", "unknown, other=1", responseDirectives{}},
		{"5.2", "No-StOrE", responseDirectives{noStore: true}},
		{"5.2, in ASCII", "no-ſtore", responseDirectives{}},
		{"5.2", "max-age=1,s-maxage=2", responseDirectives{maxAge: seconds(1), sMaxAge: seconds(2)}},
		{"5.2.2", "private, public, must-revalidate, proxy-revalidate, must-understand, immutable",
			responseDirectives{private: true, public: true, mustRevalidate: true, proxyRevalidate: true, mustUnderstand: true, immutable: true}},
		{"5.2.2.1", "MaX-aGe=3600", responseDirectives{maxAge: seconds(3600)}},
		{"5.2", `max-age="3600"`, responseDirectives{maxAge: seconds(3600)}},
		{"5.2", `max-age="36\00"`, responseDirectives{maxAge: seconds(3600)}},
		{"4.2.1", "max-age='3600'", responseDirectives{maxAge: seconds(0)}},
		{"4.2.1", "max-age=3600.0", responseDirectives{maxAge: seconds(0)}},
		{"4.2.1", "max-age=-3600", responseDirectives{maxAge: seconds(0)}},
		{"4.2.1", "max-age=3600a", responseDirectives{maxAge: seconds(0)}},
		{"4.2.1", "max-age", responseDirectives{maxAge: seconds(0)}},
		{"4.2.1", "max-age=", responseDirectives{maxAge: seconds(0)}},
		{"4.2.1", "max-age =3600", responseDirectives{maxAge: seconds(0)}},
		{"4.2.1", "max-age= 3600", responseDirectives{maxAge: seconds(0)}},
		{"4.2.1", `max-age= "3600"`, responseDirectives{maxAge: seconds(0)}},
		{"4.2.1", `max-age="3600"x`, responseDirectives{maxAge: seconds(0)}},
		{"4.2.1, the first counts", "max-age=1, max-age=2", responseDirectives{maxAge: seconds(1)}},
		{"5.2, quoted strings hide", `ext="max-age=3600, no-store", max-age=1`, responseDirectives{maxAge: seconds(1)}},
		{"5.2, quoted strings hide", `max-age=1, ext="a\", max-age=3600"`, responseDirectives{maxAge: seconds(1)}},
		{"an open quote hides nothing that forbids", `ext="a, no-store, max-age=3600, public, stale-if-error=9`,
			responseDirectives{noStore: true, maxAge: seconds(0)}},
		{"5.2.2.5, an argument changes nothing", "no-store=1", responseDirectives{noStore: true}},
		{"5.2.2.4", "no-cache", responseDirectives{noCache: true}},
		{"5.2.2.4", `no-cache="Set-Cookie, x-b"`, responseDirectives{noCacheFields: []string{"Set-Cookie", "X-B"}}},
		{"5.2.2.4", "no-cache=set-cookie", responseDirectives{noCacheFields: []string{"Set-Cookie"}}},
		{"5.2.2.4, no names forbid all", `no-cache=""`, responseDirectives{noCache: true}},
		{"5.2.2.4, a bad name forbids all", `no-cache="a b"`, responseDirectives{noCache: true}},
		{"5.2.2.4, both forms", `no-cache="a", no-cache`, responseDirectives{noCache: true, noCacheFields: []string{"A"}}},
		{"5.2.2.7", `private="x"`, responseDirectives{privateFields: []string{"X"}}},
		{"5861 3, 4", "stale-while-revalidate=5, stale-if-error=6",
			responseDirectives{staleWhileRevalidate: seconds(5), staleIfError: seconds(6)}},
		{"5861, what is no number permits nothing", "stale-while-revalidate=x, stale-if-error", responseDirectives{}},
	}
	for _, tt := range tests {
		if got := parseResponseDirectives(tt.value); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %q\n got %+v\nwant %+v", tt.section, tt.value, got, tt.want)
		}
	}
}

func TestRequestDirectives(t *testing.T) {
	seconds := func(n int) delta { return delta{time.Duration(n) * time.Second, true} }
	tests := []struct {
		section string
		lines   []string
		want    requestDirectives
	}{
		{"5.2.1", nil, requestDirectives{}},
		{"5.2.1.4", []string{"Cache-Control: no-cache"}, requestDirectives{noCache: true}},
		{"5.2.1.5", []string{"Cache-Control: a, No-Store"}, requestDirectives{noStore: true}},
		{"5.2.1.7", []string{"Cache-Control: only-if-cached"}, requestDirectives{onlyIfCached: true}},
		{"5.2.1.1, 5.2.1.3", []string{"Cache-Control: max-age=1", "Cache-Control: min-fresh=2"}, requestDirectives{maxAge: seconds(1), minFresh: seconds(2)}},
		{"5.2.1.2", []string{"Cache-Control: max-stale=3"}, requestDirectives{maxStale: seconds(3)}},
		{"5.2.1.2, no argument", []string{"Cache-Control: max-stale"}, requestDirectives{maxStale: delta{maxDelta, true}}},
		{"5.2.1.2, bad argument", []string{"Cache-Control: max-stale=x"}, requestDirectives{}},
		{"5.2.1.1, bad argument", []string{"Cache-Control: max-age=x"}, requestDirectives{}},
		{"5861 4", []string{"Cache-Control: stale-if-error=9"}, requestDirectives{staleIfError: seconds(9)}},
		{"5.4", []string{"Pragma: no-cache"}, requestDirectives{noCache: true}},
		{"5.4, others", []string{"Pragma: foo, No-Cache"}, requestDirectives{noCache: true}},
		{"5.4, Cache-Control wins", []string{"Pragma: no-cache", "Cache-Control: x"}, requestDirectives{}},
		{"5.4, extension", []string{"Pragma: x"}, requestDirectives{}},
	}
	for _, tt := range tests {
		if got := requestDirectivesOf(fields(tt.lines...)); got != tt.want {
			t.Errorf("%s: %q\n got %+v\nwant %+v", tt.section, tt.lines, got, tt.want)
		}
	}
}

// FuzzDirectives holds that nothing can hide a directive that forbids, neither before nor after it, and that what was read can be
// written so that it is read the same.
func FuzzDirectives(f *testing.F) {
	for _, seed := range []string{"max-age=1, no-cache", `a="b, c", d`, `a="b\", c`, `a="b"c, d= e`, "=,=,\"", "max-age=\"1", `no-cache="a, b"`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !parseResponseDirectives(s + ", no-store").noStore {
			t.Errorf("no-store is not seen behind %q", s)
		}
		if !parseResponseDirectives("no-store, " + s).noStore {
			t.Errorf("no-store is not seen before %q", s)
		}
		var all []directive
		var text []string
		for d, rest, ok := nextDirective(s); ok; d, rest, ok = nextDirective(rest) {
			if d.badArg || d.name == "" {
				return
			}
			all = append(all, d)
			if d.hasArg {
				escaped := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(d.arg)
				text = append(text, fmt.Sprintf(`%s="%s"`, d.name, escaped))
			} else {
				text = append(text, d.name)
			}
		}
		var again []directive
		for d, rest, ok := nextDirective(strings.Join(text, ", ")); ok; d, rest, ok = nextDirective(rest) {
			again = append(again, d)
		}
		if !reflect.DeepEqual(all, again) {
			t.Errorf("%q was read as %+v, and that, written as %q, as %+v", s, all, text, again)
		}
	})
}
