package rfc9111

import (
	"reflect"
	"testing"
	"time"

	"github.com/dunglas/httpsfv"
)

func TestParseTargeted(t *testing.T) {
	seconds := func(n int) delta { return delta{time.Duration(n) * time.Second, true} }
	tests := []struct {
		section, value string
		want           *responseDirectives // nil: the field is ignored
	}{
		{"9213 2.1", "max-age=60", &responseDirectives{maxAge: seconds(60)}},
		{"9213 2.1", "max-age=60, foobar, private", &responseDirectives{maxAge: seconds(60), private: true}},
		{"9213 2.1", "max-age=99999999999", &responseDirectives{maxAge: delta{maxDelta, true}}},
		{"9213 2.1, negative is stale", "max-age=-1", &responseDirectives{maxAge: seconds(0)}},
		{"9213 2.1, parameters are ignored", "max-age=60;a=b", &responseDirectives{maxAge: seconds(60)}},
		{"9213 2.1, s-maxage", "s-maxage=60, must-revalidate, immutable, stale-if-error=5, stale-while-revalidate=6",
			&responseDirectives{sMaxAge: seconds(60), mustRevalidate: true, immutable: true, staleIfError: seconds(5), staleWhileRevalidate: seconds(6)}},
		{"9213 2.1, the last of equal members counts (9651 4.2.2)", "max-age=1, max-age=2", &responseDirectives{maxAge: seconds(2)}},
		{"9213 2.1, false", "no-store=?0", &responseDirectives{}},
		{"9213 2.1, true", "no-store=?1, public, must-understand, proxy-revalidate",
			&responseDirectives{noStore: true, public: true, mustUnderstand: true, proxyRevalidate: true}},
		{"9213 2.1, names", `no-cache="a, b", private=c`, &responseDirectives{noCacheFields: []string{"A", "B"}, privateFields: []string{"C"}}},
		{"9213 2.1, no names forbid all", `no-cache="", private="a b"`, &responseDirectives{noCache: true, private: true}},
		{"9213 2.1, unqualified", "no-cache", &responseDirectives{noCache: true}},
		{"9213 2.1, unknown alone", "foo", &responseDirectives{}},
		{"9213 2.1, an unknown inner list", "foo=(a b), max-age=1", &responseDirectives{maxAge: seconds(1)}},
		{"Surrogate-Control with content", `max-age=5, content="ESI/1.0"`, &responseDirectives{maxAge: seconds(5)}},
		{"9213 2.2, empty", "", nil},
		{"9213 2.2, no structured field", "max-age=10000, &&&&&", nil},
		{"9213 2.2, key in upper case", "MaX-aGe=3600", nil},
		{"9213 2.2, space before =", "max-age =100", nil},
		{"9213 2.2, space after =", "max-age= 100", nil},
		{"wrong type, string", `max-age="10000"`, nil},
		{"wrong type, decimal", "max-age=1.5", nil},
		{"wrong type, boolean", "max-age", nil},
		{"wrong type, inner list", "max-age=(1 2)", nil},
		{"wrong type of a flag", "max-age=60, no-store=1", nil},
		{"wrong type of names", "private=1", nil},
	}
	for _, tt := range tests {
		got, ok := parseTargeted(tt.value)
		if ok != (tt.want != nil) {
			t.Errorf("%s: %q: ok = %t", tt.section, tt.value, ok)
			continue
		}
		if tt.want != nil {
			if tt.want.targeted = true; !reflect.DeepEqual(got, *tt.want) {
				t.Errorf("%s: %q\n got %+v\nwant %+v", tt.section, tt.value, got, *tt.want)
			}
		}
	}
}

// TestTargetedOrder: the first field of the list that is valid and not empty counts, and then Cache-Control and Expires do not (RFC
// 9213, 2.2).
func TestTargetedOrder(t *testing.T) {
	tests := []struct {
		name  string
		lines []string
		want  time.Duration
	}{
		{"the more specific", []string{"Surrogate-Control: max-age=1", "CDN-Cache-Control: max-age=2", "Cache-Control: max-age=3"}, 2 * time.Second},
		{"the other", []string{"Surrogate-Control: max-age=1", "Cache-Control: max-age=3"}, time.Second},
		{"invalid falls back to the next", []string{"CDN-Cache-Control: &", "Surrogate-Control: max-age=1", "Cache-Control: max-age=3"}, time.Second},
		{"empty falls back", []string{"CDN-Cache-Control: ", "Cache-Control: max-age=3"}, 3 * time.Second},
		{"Expires is ignored", []string{"CDN-Cache-Control: foo", "Cache-Control: max-age=3", at("Expires", time.Hour)}, 0},
		{"two lines are one dictionary", []string{"CDN-Cache-Control: foo", "CDN-Cache-Control: max-age=4"}, 4 * time.Second},
		{"not in the list", []string{"Other-Cache-Control: max-age=5", "Cache-Control: max-age=3"}, 3 * time.Second},
	}
	for _, tt := range tests {
		if m := received(tt.lines...); m.Lifetime != tt.want {
			t.Errorf("%s: lifetime of %q = %v, want %v", tt.name, tt.lines, m.Lifetime, tt.want)
		}
	}
}

// FuzzParseTargeted holds that only a dictionary counts, and that no-store in one cannot be lost.
func FuzzParseTargeted(f *testing.F) {
	for _, seed := range []string{"max-age=1", "no-store", `a="b", c=?1`, "private=(a b)", "no-cache=x;y=z", "max-age=1.0"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		_, ok := parseTargeted(s)
		dict, err := httpsfv.UnmarshalDictionary([]string{s})
		if ok && (err != nil || len(dict.Names()) == 0) {
			t.Errorf("%q counts, though it is no dictionary: %v", s, err)
		}
		if !ok {
			return
		}
		if r, ok := parseTargeted(s + ", no-store"); !ok || !r.noStore {
			t.Errorf("no-store is not seen behind %q", s)
		}
	})
}
