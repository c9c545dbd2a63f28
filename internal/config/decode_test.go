package config

import (
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/proxy/upstream"
)

const shop = "upstreams: { shop: { targets: [{ url: 'http://127.0.0.1:3000' }] } }\n"

func loadText(text string, names map[string]string) (*Config, Warnings, error) {
	return load(Options{Env: envOf(names)}, "f.yaml", []byte(text))
}

// TestUpstreamDefaults: an upstream from the file begins like one from --upstream.
func TestUpstreamDefaults(t *testing.T) {
	c, _, err := loadText(shop, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.Upstreams["shop"], upstream.DefaultOptions("http://127.0.0.1:3000"); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestReservedIsWhole: each entry of the tables is reached by testdata/reserved.yaml, and none is a key that is built.
func TestReservedIsWhole(t *testing.T) {
	text, err := os.ReadFile("testdata/reserved.golden")
	if err != nil {
		t.Fatal(err)
	}
	refused := strings.NewReplacer("[0]", "[]", "[1]", "[]", ".shop", ".*").Replace(string(text))
	for _, path := range slices.Sorted(maps.Keys(reservedKeys)) {
		if !strings.Contains(refused, fmt.Sprintf(" %s: %q is reserved", path, path[strings.LastIndexAny(path, ".")+1:])) {
			t.Errorf("%s is not refused as reserved", path)
		}
	}
	for path, values := range reservedValues {
		for value := range values {
			if !strings.Contains(refused, fmt.Sprintf("%q is reserved", value)) {
				t.Errorf("%s: %s is not refused as reserved", path, value)
			}
		}
	}
}

// TestAliases: an alias is its anchor's value, a merge key adds what is not there.
func TestAliases(t *testing.T) {
	c, _, err := loadText(`
default_upstream: a
upstreams:
  a: &a { targets: [{ url: "http://127.0.0.1:1" }], host: target, timeout: &t { connect: 5s, idle: 1s } }
  b: *a
  c:
    <<: *a
    host: preserve
    timeout: { <<: [{ idle: 7s }, *t], response_header: 9s }
`, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(c.Upstreams["a"], c.Upstreams["b"]) {
		t.Errorf("b is %+v, want %+v", c.Upstreams["b"], c.Upstreams["a"])
	}
	want := c.Upstreams["a"]
	want.Host = "preserve"
	want.Timeout.Connect, want.Timeout.ResponseHeader, want.Timeout.Idle = 5*time.Second, 9*time.Second, 7*time.Second
	if got := c.Upstreams["c"]; !reflect.DeepEqual(got, want) {
		t.Errorf("c is %+v, want %+v", got, want)
	}
}

// TestAliasBombs: a few lines cannot cost much time or memory, however they refer to one another and to themselves.
func TestAliasBombs(t *testing.T) {
	nest := func(format, join string) string {
		var b strings.Builder
		for i := 1; i <= 9; i++ {
			one := fmt.Sprintf("*x%d", i-1)
			fmt.Fprintf(&b, format, i, strings.Join(slices.Repeat([]string{one}, 10), join))
		}
		return b.String()
	}
	for name, c := range map[string]struct{ text, want string }{
		"routes":       {shop + "routes: &r [{ match: { hosts: &h [" + strings.Repeat("a,", 999) + "a] } }" + strings.Repeat(", { match: { hosts: *h } }", 200) + "]\n", "the aliases of this file stand for more than 100000 values"},
		"merge lists":  {shop + "cache:\n  x0: &x0 { name: a }\n" + nest("  x%d: &x%[1]d { <<: [%s] }\n", ", ") + "log: { <<: *x9 }\n", "the aliases of this file stand for more than 100000 values"},
		"own merge":    {shop + "log: &l { <<: *l, level: info }\n", "merge keys (<<) lead more than 16 levels deep"},
		"own element":  {shop + "routes: &r [*r]\n", "wants a mapping"},
		"own value":    {"upstreams: &u { shop: *u }\n", `unknown key "shop"`},
		"own key":      {shop + "log: &l { *l : 1 }\n", "a key must be a name, not a mapping"},
		"own map":      {shop + "routes: [{ match: { headers: &h { a: *h } } }]\n", "wants a list"},
		"merged lists": {shop + "log: { <<: &m [*m, *m] }\n", "wants mappings in its list, not a list"},
		"looked up":    {"upstreams: { <<: &m [*m, *m], shop: { targets: [], <<: *m } }\n", "wants mappings in its list, not a list"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := loadText(c.text, nil) // which does not return in the life of a test where nothing bounds it
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %.500v\nwant %s", err, c.want)
			}
		})
	}
}

// TestExpand: ${NAME}, ${NAME:-default} and $${, wherever they stand in a text.
func TestExpand(t *testing.T) {
	e := &environment{lookup: envOf(map[string]string{"A": "a", "EMPTY": "", "NESTED": "${A}", "DOLLAR": "$", "A1_b": "x"})}
	for text, want := range map[string]string{
		"plain":                "plain",
		"${A}":                 "a",
		"-${A}-${A1_b}-":       "-a-x-",
		"${EMPTY}":             "",
		"${EMPTY:-d}":          "d",
		"${UNSET:-d}":          "d",
		"${UNSET:-}":           "",
		"${A:-d}":              "a",
		"${UNSET:-a:-b}":       "a:-b",
		"${UNSET:-http://h/$}": "http://h/$",
		"${NESTED}":            "${A}",
		"$${A}":                "${A}",
		"$${A}${A}":            "${A}a",
		"a$":                   "a$",
		"$$":                   "$$",
		"$A":                   "$A",
		"${DOLLAR}{A}":         "${A}",
		"}${A}{":               "}a{",
	} {
		if got, err := e.expand(text); got != want || err != nil {
			t.Errorf("expand(%q) = %q, %v; want %q", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"${UNSET}":   "UNSET is not set",
		"${":         "${ without a }",
		"${A":        "${ without a }",
		"${}":        "names nothing",
		"${A-d}":     "names nothing",
		"${1A}":      "names nothing",
		"${ A }":     "names nothing",
		"${É}":       "names nothing",
		"${UNSET:-":  "${ without a }",
		"${A:?oops}": "names nothing",
	} {
		if got, err := e.expand(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("expand(%q) = %q, %v; want an error with %q", text, got, err, want)
		}
	}
}

// TestValuesStayValues: whatever a name stands for, it is the text of one scalar.
func TestValuesStayValues(t *testing.T) {
	for _, value := range []string{"x\nadmin: { address: ':1' }", "[a, b]", "{ a: b }", "*a", "# c", "null", "~", `"`, "${A}", "- a", "true"} {
		c, _, err := loadText(shop+"routes: [{ rewrite: { add_prefix: '' }, cache: { key: { version: '${V}' } } }]\n", map[string]string{"V": value})
		if err != nil {
			t.Errorf("%q: %v", value, err)
		} else if got := c.Routes[0].Cache.Key.Version; got != value {
			t.Errorf("%q became %q", value, got)
		}
	}
}

func manyRoutes(n int) string {
	var b strings.Builder
	b.WriteString(shop + "routes:\n")
	for i := range n {
		fmt.Fprintf(&b, "  - name: r%d\n    match: { hosts: [h%[1]d.example.com], paths: [\"/a/**\"] }\n    upstream: shop\n    cache: { ttl: 60s, stale_if_error: 1d, key: { query: { mode: ignore, names: [\"utm_*\"] } } }\n", i)
	}
	return b.String()
}

// BenchmarkLoad: what does a reload of 1,000 routes cost?
func BenchmarkLoad(b *testing.B) {
	text := manyRoutes(1000)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := loadText(text, nil); err != nil {
			b.Fatal(err)
		}
	}
}
