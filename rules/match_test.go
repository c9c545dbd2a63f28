package rules

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestMatch(t *testing.T) {
	for _, tt := range []struct {
		name  string
		match MatchSpec
		yes   []*request
		no    []*request
	}{
		{"nothing asked", MatchSpec{}, []*request{get("http://a/"), newRequest("OPTIONS", "http://a/x")}, nil},
		{"host", MatchSpec{Hosts: []string{"Shop.Example.com"}},
			[]*request{get("http://shop.example.com/"), get("https://shop.example.com:8443/x")},
			[]*request{get("http://xshop.example.com/"), get("http://example.com/"), get("http://shop.example.com.evil.test/")}},
		{"host glob", MatchSpec{Hosts: []string{"*.example.com", "b.test"}},
			[]*request{get("http://a.example.com/"), get("http://b.test/")},
			[]*request{get("http://a.b.example.com/"), get("http://example.com/"), get("http://a.b.test/")}},
		{"address", MatchSpec{Hosts: []string{"[2001:DB8:0::1]"}},
			[]*request{get("http://[2001:db8::1]/"), get("http://[2001:db8::1]:8080/")},
			[]*request{get("http://[2001:db8::2]/")}},
		{"dot at the end", MatchSpec{Hosts: []string{"a.test."}}, []*request{get("http://a.test/")}, []*request{get("http://a/")}},
		{"path", MatchSpec{Paths: []string{"/products/**", "/sale"}},
			[]*request{get("http://a/products"), get("http://a/products/1/2?x"), get("http://a/sale")},
			[]*request{get("http://a/products2"), get("http://a/sale/1"), get("http://a/")}},
		{"path in normal form", MatchSpec{Paths: []string{"/%7euser/%2f/caf\u00e9/*"}},
			[]*request{get("http://a/~user/%2F/caf%C3%A9/x")},
			[]*request{get("http://a/%7euser/%2f/caf%c3%a9/x")}},
		{"method", MatchSpec{Methods: []string{"GET", "PUT"}},
			[]*request{get("http://a/"), newRequest("HEAD", "http://a/"), newRequest("PUT", "http://a/")},
			[]*request{newRequest("POST", "http://a/"), newRequest("get", "http://a/")}},
		{"header presence", MatchSpec{Headers: map[string]OneOrMany{"x-beta": {"*"}}},
			[]*request{get("http://a/", "X-Beta: a/b"), get("http://a/", "X-Beta:")},
			[]*request{get("http://a/", "X-Other: 1")}},
		{"header values", MatchSpec{Headers: map[string]OneOrMany{"x-beta": {"on", "yes-*"}}},
			[]*request{get("http://a/", "X-Beta: on"), get("http://a/", "X-Beta: yes-1"), get("http://a/", "X-Beta: off, on"),
				get("http://a/", "X-Beta: off", "X-Beta: on")},
			[]*request{get("http://a/", "X-Beta: once"), get("http://a/", "X-Beta: ON"), get("http://a/")}},
		{"header list as a whole", MatchSpec{Headers: map[string]OneOrMany{"accept": {"text/html, *"}}},
			[]*request{get("http://a/", "Accept: text/html, x")}, []*request{get("http://a/", "Accept: x, text/html")}},
		{"query", MatchSpec{Query: map[string]OneOrMany{"page": {"1*", "a b"}, "q": {"*"}}},
			[]*request{get("http://a/?q&page=12"), get("http://a/?page=9&page=1&q=x/y"), get("http://a/?%70age=a+b&q"), get("http://a/?page=a%20b&q")},
			[]*request{get("http://a/?page=1"), get("http://a/?q=1&page=2"), get("http://a/?q&page=1/2"), get("http://a/?q;page=1"), get("http://a/")}},
		{"when", MatchSpec{When: `request.headers["x-a"] == "1" && request.path.startsWith("/p")`},
			[]*request{get("http://a/p", "X-A: 1")}, []*request{get("http://a/p"), get("http://a/q", "X-A: 1")}},
		{"all together", MatchSpec{Hosts: []string{"a"}, Paths: []string{"/x"}, Methods: []string{"GET"},
			Headers: map[string]OneOrMany{"h": {"1"}}, Query: map[string]OneOrMany{"q": {"1"}}, When: "true"},
			[]*request{get("http://a/x?q=1", "H: 1")},
			[]*request{get("http://b/x?q=1", "H: 1"), get("http://a/y?q=1", "H: 1"), newRequest("POST", "http://a/x?q=1", "H: 1"),
				get("http://a/x?q=2", "H: 1"), get("http://a/x?q=1", "H: 2")}},
	} {
		table := mustCompile(t, Spec{Name: "it", Match: tt.match})
		for _, r := range tt.yes {
			if got := table.Match(r); got.Name != "it" {
				t.Errorf("%s: %s %v %v has route %s", tt.name, r.method, r.target, r.header, got.Name)
			}
		}
		for _, r := range tt.no {
			if got := table.Match(r); got.Name != DefaultName || got.Index != 1 {
				t.Errorf("%s: %s %v %v has route %s", tt.name, r.method, r.target, r.header, got.Name)
			}
		}
	}
}

func TestFirstMatchWins(t *testing.T) {
	table := mustCompile(t,
		Spec{Name: "refused by header", Match: MatchSpec{Paths: []string{"/a/b", "/a/*"}, Headers: map[string]OneOrMany{"x": {"1"}}}},
		Spec{Name: "deep", Match: MatchSpec{Paths: []string{"/a/b/c"}}},
		Spec{Name: "wide", Match: MatchSpec{Hosts: []string{"*.test"}, Paths: []string{"/a/**"}}},
		Spec{Name: "exact", Match: MatchSpec{Hosts: []string{"x.test"}, Paths: []string{"/a/b"}}},
		Spec{Name: "rest"},
	)
	for url, want := range map[string]string{
		"http://x.test/a/b/c": "deep",
		"http://x.test/a/b":   "wide",
		"http://y/a/b":        "rest",
		"http://x.test/":      "rest",
	} {
		if got := table.Match(get(url)).Name; got != want {
			t.Errorf("%s has route %q, want %q", url, got, want)
		}
	}
	if got := table.Match(get("http://x.test/a/b", "X: 1")).Name; got != "refused by header" {
		t.Errorf("with X: 1: route %q", got)
	}
}

// A condition behind the route that fits is not evaluated.
func TestMatchStopsAtTheFirst(t *testing.T) {
	table := mustCompile(t,
		Spec{Name: "first", Match: MatchSpec{Paths: []string{"/a/**"}}},
		Spec{Name: "second", Match: MatchSpec{Paths: []string{"/a/b"}, When: `int(request.path) == 1`}},
	)
	table.Match(get("http://x/a/b"))
	if n := table.Routes()[1].ConditionErrors(); n != 0 {
		t.Errorf("the second route's condition was evaluated %d times", n)
	}
}

// A route whose path fits by several of its globs is judged once.
func TestMatchJudgesOnce(t *testing.T) {
	table := mustCompile(t, Spec{Name: "it", Match: MatchSpec{Paths: []string{"/a/**", "/a/b", "/**"}, When: `int(request.path) == 1`}})
	table.Match(get("http://x/a/b"))
	if n := table.Routes()[0].ConditionErrors(); n != 1 {
		t.Errorf("the condition was evaluated %d times", n)
	}
}

// The index finds what looking at one route after the other finds.
func TestMatchAgainstLinearSearch(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	pick := func(from ...string) string { return from[rng.IntN(len(from))] }
	hostPattern := func() string {
		return pick("a.test", "b.test", "*.test", "**.test", "a.*", "*", "x.a.test", "*a.test", "test")
	}
	host := func() string { return pick("a.test", "b.test", "x.a.test", "xa.test", "test", "c.org", "a.org:81") }
	segments := func(from ...string) string {
		var b strings.Builder
		for range 1 + rng.IntN(3) {
			b.WriteString("/" + pick(from...))
		}
		return b.String()
	}
	for range 60 {
		var specs []Spec
		for i := range 30 {
			m := MatchSpec{}
			for range rng.IntN(3) {
				m.Hosts = append(m.Hosts, hostPattern())
			}
			for range rng.IntN(3) {
				m.Paths = append(m.Paths, segments("a", "ab", "abc", "*", "**", "a*", "*b", "a**c"))
			}
			if rng.IntN(3) == 0 {
				m.Methods = []string{pick("GET", "POST")}
			}
			specs = append(specs, Spec{Name: fmt.Sprint(i), Match: m})
		}
		table := mustCompile(t, specs...)
		for range 200 {
			r := newRequest(pick("GET", "POST", "HEAD"), "http://"+host()+segments("a", "ab", "abc", "b", "", "ac"))
			if got, want := table.Match(r).Name, linearMatch(specs, r); got != want {
				t.Fatalf("%s %v: route %s, want %s of %+v", r.method, r.target, got, want, specs)
			}
		}
	}
}

// linearMatch is the oracle: regular expressions, route by route.
func linearMatch(specs []Spec, r *request) string {
	host, _, _ := strings.Cut(r.target.Host, ":")
	anyOf := func(patterns []string, sep byte, s string) bool {
		for _, p := range patterns {
			if regexpOf(p, sep).MatchString(s) {
				return true
			}
		}
		return len(patterns) == 0
	}
	for _, s := range specs {
		m := s.Match
		method := len(m.Methods) == 0 || m.Methods[0] == r.method || m.Methods[0] == "GET" && r.method == "HEAD"
		if method && anyOf(m.Hosts, '.', host) && anyOf(m.Paths, '/', r.target.Path) {
			return s.Name
		}
	}
	return DefaultName
}

func TestMatchDoesNotAllocate(t *testing.T) {
	table := mustCompile(t, manyRoutes(1000)...)
	r := get("http://shop-7.example.com/section-507/products/1?utm_source=x&page=1", "X-Beta: off, on")
	if got := table.Match(r); got.Name != "route-507" {
		t.Fatalf("route %s", got.Name)
	}
	if n := testing.AllocsPerRun(100, func() { table.Match(r) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestRequestWithoutPath(t *testing.T) {
	table := mustCompile(t, Spec{Name: "paths", Match: MatchSpec{Paths: []string{"/**"}}}, Spec{Name: "rest"})
	r := newRequest("OPTIONS", "http://a/")
	r.target.Path = "*"
	if got := table.Match(r); got.Name != "rest" {
		t.Errorf("OPTIONS * has route %s", got.Name)
	}
}
