package rules

import (
	"slices"
	"strings"
	"testing"
)

// RFC 9110, 12.5.3, of the codings br, zstd and gzip.
func TestNormalizeEncoding(t *testing.T) {
	r := mustRoute(t, CacheSpec{})
	for value, want := range map[string]string{
		"gzip":                    "gzip",
		"x-gzip":                  "gzip",
		"GZip":                    "gzip",
		"gzip, deflate, br, zstd": "br, zstd, gzip",
		"zstd;q=0.1 , br;q=1.000": "br, zstd",
		"br;q=0, gzip":            "gzip",
		"br;q=0.000, gzip":        "gzip",
		"br ; Q=0, gzip":          "gzip",
		"br;q=0.001":              "br",
		"*":                       "br, zstd, gzip",
		"*;q=0":                   "identity",
		"br;q=0, *":               "zstd, gzip",
		"*, br;q=0":               "zstd, gzip",
		"gzip;q=0.5, *;q=0":       "gzip",
		"x-gzip;q=0, *":           "br, zstd",
		"gzip;q=0, gzip":          "identity", // the first counts
		"gzip, gzip;q=0":          "gzip",
		"deflate":                 "identity",
		"identity":                "identity",
		"identity;q=0":            "identity",
		"":                        "identity",
		"gzip;q=2":                "identity", // no weight
		"gzip;q=":                 "identity",
		"gzip;q=0.1234":           "identity",
		"gzip;q=1.001":            "identity",
		"gzip;q=a":                "identity",
		"gzip;level=9;q=0.3":      "gzip",
		"gzipped, bro":            "identity",
		",, gzip,":                "gzip",
	} {
		if got := r.Normalize("Accept-Encoding", value); got != want {
			t.Errorf("Accept-Encoding: %s becomes %q, want %q", value, got, want)
		}
		if got := r.Normalize("Accept-Encoding", want); got != want {
			t.Errorf("Accept-Encoding: %s becomes %q", want, got)
		}
	}
}

// RFC 9110, 12.5.4, by RFC 4647, 3.3.1 and 3.4.
func TestNormalizeLanguage(t *testing.T) {
	r := mustRoute(t, CacheSpec{Vary: VarySpec{Normalize: map[string][]string{"accept-language": {"en", "de", "pt-BR", "zh-Hant"}}}})
	for value, want := range map[string]string{
		"de":                                "de",
		"DE":                                "de",
		"de-CH":                             "de",      // lookup: shortened
		"de-x-private":                      "de",      // lookup: "x" goes with what follows it
		"zh-Hant-CN-x-private1":             "zh-Hant", // the RFC's own example
		"pt":                                "pt-BR",   // basic filtering
		"zh":                                "zh-Hant",
		"pt-PT":                             "en", // neither
		"fr":                                "en",
		"":                                  "en",
		"fr, de;q=0.1":                      "de",
		"en;q=0.5, de;q=0.8":                "de",
		"de, en":                            "de",
		"en;q=0, de;q=0.1":                  "de",
		"*":                                 "en",
		"en;q=0, *":                         "de",
		"en;q=0, de;q=0, *;q=0.5":           "pt-BR",
		"*;q=0.1, de;q=0.2":                 "de",
		"en;q=0, de;q=0, pt;q=0, zh;q=0, *": "en", // all refused: the first
		"de;q=nonsense, pt":                 "pt-BR",
	} {
		if got := r.Normalize("Accept-Language", value); got != want {
			t.Errorf("Accept-Language: %s becomes %q, want %q", value, got, want)
		}
	}
}

func TestNormalizeOthers(t *testing.T) {
	r := mustRoute(t, CacheSpec{Vary: VarySpec{
		Normalize: map[string][]string{"x-device": {"desktop", "phone"}},
		Sort:      []string{"accept-language", "x-flags"},
	}})
	for _, tt := range []struct{ name, value, want string }{
		{"X-Device", "phone", "phone"},
		{"X-Device", "Phone", "desktop"},
		{"X-Device", "", "desktop"},
		{"Accept-Language", "de , en;q=0.5,  fr ;q=1", "de,en;q=0.5,fr;q=1"},
		{"Accept-Language", "fr;q=1, en; q=0.5,de", "de,en;q=0.5,fr;q=1"},
		{"X-Flags", `b, "y, x" ,"z\", a", a`, `"y, x","z\", a",a,b`},
		{"X-Flags", ", a,,", "a"},
		{"X-Flags", "a b", "a b"},
		{"Accept", "text/html, */*", "text/html, */*"},
	} {
		if got := r.Normalize(tt.name, tt.value); got != tt.want {
			t.Errorf("%s: %s becomes %q, want %q", tt.name, tt.value, got, tt.want)
		}
	}
	if got, want := r.Normalizes(), []string{"Accept-Encoding", "Accept-Language", "X-Device", "X-Flags"}; !slices.Equal(got, want) {
		t.Errorf("Normalizes: %v, want %v", got, want)
	}
	if got := mustRoute(t, CacheSpec{}).Normalizes(); !slices.Equal(got, []string{"Accept-Encoding"}) {
		t.Errorf("by default, Normalizes: %v", got)
	}
}

func TestNormalizeDoesNotAllocate(t *testing.T) {
	r := mustRoute(t, CacheSpec{Vary: VarySpec{Normalize: map[string][]string{"Accept-Language": {"en", "de"}}}})
	if n := testing.AllocsPerRun(100, func() {
		r.Normalize("Accept-Encoding", "gzip, deflate, br;q=0.9, *;q=0.1")
		r.Normalize("Accept-Language", "de-CH, en;q=0.5, *;q=0.1")
		r.Normalize("Accept", "*/*")
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzNormalize: a normal form is its own normal form, one of those that are allowed, and for sorted fields the same
// whatever the order of the members.
func FuzzNormalize(f *testing.F) {
	for _, value := range []string{"gzip, br;q=0", "*;q=0.5, de", "a, \"b, c\" ; q=\"1;2\", a", "de-CH-x-y;q=1.0", "\\\",\"", "a;;b,;"} {
		f.Add(value)
	}
	languages := []string{"en", "de-CH"}
	r := mustRoute(f, CacheSpec{Vary: VarySpec{
		Normalize: map[string][]string{"accept-language": languages, "x-a": {"1", "2"}}, Sort: []string{"x-sorted"}}})
	f.Fuzz(func(t *testing.T, value string) {
		for _, name := range r.Normalizes() {
			once := r.Normalize(name, value)
			if twice := r.Normalize(name, once); twice != once {
				t.Errorf("%s: %q becomes %q, and that %q", name, value, once, twice)
			}
		}
		if !slices.Contains(encodings[:], r.Normalize("Accept-Encoding", value)) {
			t.Errorf("Accept-Encoding: %q becomes %q", value, r.Normalize("Accept-Encoding", value))
		}
		if !slices.Contains(languages, r.Normalize("Accept-Language", value)) {
			t.Errorf("Accept-Language: %q becomes %q", value, r.Normalize("Accept-Language", value))
		}
		if strings.Contains(value, `"`) {
			return // turning it round would tear quoted strings apart
		}
		members := strings.Split(value, ",")
		slices.Reverse(members)
		if a, b := r.Normalize("X-Sorted", value), r.Normalize("X-Sorted", strings.Join(members, " ,")); a != b {
			t.Errorf("sorted, %q is %q, and turned round %q", value, a, b)
		}
	})
}
