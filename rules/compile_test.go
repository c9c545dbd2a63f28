package rules

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/rfc9111"
)

func TestCompileMistakes(t *testing.T) {
	second := time.Second
	negative := -time.Second
	for _, tt := range []struct {
		spec Spec
		want string // the error, without "routes[0]."
	}{
		{Spec{Upstream: "none"}, `upstream: there is no upstream "none"; there are api, shop`},
		{Spec{Name: "default"}, `name: "default" is reserved`},
		{Spec{Name: "a\nb"}, "name: a name has"},
		{Spec{Name: strings.Repeat("a", 101)}, "name: a name has"},

		{Spec{Match: MatchSpec{Hosts: []string{"a", ""}}}, "match.hosts[1]: is empty"},
		{Spec{Match: MatchSpec{Hosts: []string{"a:80"}}}, "match.hosts[0]: has a port"},
		{Spec{Match: MatchSpec{Hosts: []string{"http://a"}}}, "match.hosts[0]: is a URL"},
		{Spec{Match: MatchSpec{Hosts: []string{"a/b"}}}, "match.hosts[0]: has a path"},
		{Spec{Match: MatchSpec{Hosts: []string{"bücher.example"}}}, "match.hosts[0]: is no ASCII"},
		{Spec{Match: MatchSpec{Hosts: []string{"a b"}}}, `match.hosts[0]: can never match: ' ' does not occur in a host`},
		{Spec{Match: MatchSpec{Hosts: []string{"[::1"}}}, "match.hosts[0]: is no IPv6 address"},
		{Spec{Match: MatchSpec{Hosts: []string{"[::1]:80"}}}, "match.hosts[0]: is no IPv6 address"},
		{Spec{Match: MatchSpec{Hosts: []string{"[1.2.3.4]"}}}, "match.hosts[0]: is no IPv6 address"},
		{Spec{Match: MatchSpec{Paths: []string{""}}}, "match.paths[0]: is empty"},
		{Spec{Match: MatchSpec{Paths: []string{"/a", "b"}}}, "match.paths[1]: can never match: a path begins with /"},
		{Spec{Match: MatchSpec{Paths: []string{"*.jpg"}}}, "match.paths[0]: can never match: a path begins with /; write /**.jpg"},
		{Spec{Match: MatchSpec{Paths: []string{"/a/../b"}}}, "match.paths[0]: can never match: .. is resolved"},
		{Spec{Match: MatchSpec{Paths: []string{"/a/%2E"}}}, "match.paths[0]: can never match: %2E is resolved"},
		{Spec{Match: MatchSpec{Paths: []string{"/a?b"}}}, "match.paths[0]: can never match: a path ends before the query"},
		{Spec{Match: MatchSpec{Paths: []string{"/a%2"}}}, "match.paths[0]: can never match: an escape that is none at byte 2"},
		{Spec{Match: MatchSpec{Paths: []string{`/a\b`}}}, "match.paths[0]: can never match: a backslash at byte 2"},
		{Spec{Match: MatchSpec{Hosts: []string{".example.com"}}}, "match.hosts[0]: can never match: a host begins with no dot; write **.example.com"},
		{Spec{Match: MatchSpec{Hosts: []string{"a..b"}}}, "match.hosts[0]: can never match: a host has no two dots"},
		{Spec{Match: MatchSpec{Methods: []string{"get"}}}, "match.methods[0]: methods are case-sensitive; write GET"},
		{Spec{Match: MatchSpec{Methods: []string{"GET", "A B"}}}, `match.methods[1]: "A B" is no method`},
		{Spec{Match: MatchSpec{Headers: map[string]OneOrMany{"a b": {"*"}}}}, `match.headers.a b: "a b" is no field name`},
		{Spec{Match: MatchSpec{Headers: map[string]OneOrMany{"host": {"a"}}}}, "match.headers.host: the host is matched by match.hosts"},
		{Spec{Match: MatchSpec{Headers: map[string]OneOrMany{"x-a": {"1"}, "X-A": {"2"}}}}, "match.headers.x-a: X-A is given twice"},
		{Spec{Match: MatchSpec{Headers: map[string]OneOrMany{"x-a": {}}}}, `match.headers.x-a: names no value; "*" is presence`},
		{Spec{Match: MatchSpec{Headers: map[string]OneOrMany{"x-a": {"a", "b\n"}}}}, "match.headers.x-a[1]: can never match"},
		{Spec{Match: MatchSpec{Query: map[string]OneOrMany{"q": {"\x00"}}}}, "match.query.q: can never match"},
		{Spec{Match: MatchSpec{When: "request.path"}}, "match.when: is a string; a condition must be true or false"},
		{Spec{Match: MatchSpec{When: "response.status == 200"}}, "match.when: response is not known yet"},

		{Spec{Rewrite: Rewrite{StripPrefix: "api"}}, "rewrite.strip_prefix: can never match: a path begins with /"},
		{Spec{Rewrite: Rewrite{StripPrefix: "/api/**"}}, "rewrite.strip_prefix: is a plain path; * is no wildcard here"},
		{Spec{Rewrite: Rewrite{AddPrefix: "/a/../b"}}, "rewrite.add_prefix: can never match: .. is resolved"},

		{Spec{Headers: HeaderSpec{Request: HeaderRules{Set: map[string]string{"connection": "x"}}}}, "headers.request.set.connection: Connection belongs to the connection"},
		{Spec{Headers: HeaderSpec{Request: HeaderRules{Set: map[string]string{"host": "x"}}}}, "headers.request.set.host: Host is set by the upstream's host setting"},
		{Spec{Headers: HeaderSpec{Request: HeaderRules{Set: map[string]string{"Range": "x"}}}}, "headers.request.set.Range: Range would make"},
		{Spec{Headers: HeaderSpec{Request: HeaderRules{Set: map[string]string{"X-A": "a\r\nB: c"}}}}, "headers.request.set.X-A: a field value has no line breaks"},
		{Spec{Headers: HeaderSpec{Request: HeaderRules{Set: map[string]string{"X-A": " a"}}}}, "headers.request.set.X-A: a field value has no"},
		{Spec{Headers: HeaderSpec{Request: HeaderRules{Remove: []string{"x", "a:b"}}}}, `headers.request.remove[1]: "a:b" is no field name`},
		{Spec{Headers: HeaderSpec{Response: HeaderRules{Set: map[string]string{"Content-Length": "1"}}}}, "headers.response.set.Content-Length: Content-Length belongs"},
		{Spec{Headers: HeaderSpec{Response: HeaderRules{Remove: []string{"transfer-encoding"}}}}, "headers.response.remove[0]: Transfer-Encoding belongs"},
		{Spec{Headers: HeaderSpec{Response: HeaderRules{Set: map[string]string{"x": "1"}, Remove: []string{"X"}}}}, "headers.response.remove[0]: X is named twice"},

		{Spec{Cache: &CacheSpec{Pattern: "refresh-ahead"}}, "cache.pattern: refresh-ahead is not built yet"},
		{Spec{Cache: &CacheSpec{Pattern: "audit"}}, "cache.pattern: audit is not built yet"},
		{Spec{Cache: &CacheSpec{Pattern: "on"}}, `cache.pattern: "on" is no pattern; write cache-aside or off`},
		{Spec{Cache: &CacheSpec{Tiers: []string{"l2"}}}, "cache.tiers: l2 stands behind memory"},
		{Spec{Cache: &CacheSpec{Tiers: []string{"l3"}}}, `cache.tiers[0]: "l3" is no tier`},
		{Spec{Cache: &CacheSpec{Tiers: []string{"l1", "l1"}}}, "cache.tiers[1]: l1 is named twice"},
		{Spec{Cache: &CacheSpec{Tiers: []string{}}}, "cache.tiers: names no tier; to cache nothing write pattern: off"},
		{Spec{Cache: &CacheSpec{TTL: &negative}}, "cache.ttl: is negative"},
		{Spec{Cache: &CacheSpec{StaleWhileRevalidate: &negative}}, "cache.stale_while_revalidate: is negative"},
		{Spec{Cache: &CacheSpec{StaleIfError: &negative}}, "cache.stale_if_error: is negative"},
		{Spec{Cache: &CacheSpec{StatusTTL: map[int]time.Duration{404: -1}}}, "cache.status_ttl[404]: is negative"},
		{Spec{Cache: &CacheSpec{StatusTTL: map[int]time.Duration{103: second}}}, "cache.status_ttl[103]: is no status of a final response"},
		{Spec{Cache: &CacheSpec{StatusTTL: map[int]time.Duration{600: second}}}, "cache.status_ttl[600]: is no status of a final response"},
		{Spec{Cache: &CacheSpec{StatusTTL: map[int]time.Duration{304: second}}}, "cache.status_ttl[304]: a 304 is never stored"},
		{Spec{Cache: &CacheSpec{StatusTTL: map[int]time.Duration{416: second}}}, "cache.status_ttl[416]: answers one request alone"},
		{Spec{Cache: &CacheSpec{When: "1 +"}}, "cache.when: column 4: Syntax error"},
		{Spec{Cache: &CacheSpec{Bypass: "response.status == 1"}}, "cache.bypass: response is not known yet"},
		{Spec{Cache: &CacheSpec{MaxObjectBytes: ptr(int64(0))}}, "cache.max_object_bytes: must be more than 0"},
		{Spec{Cache: &CacheSpec{Collapse: CollapseSpec{Wait: &negative}}}, "cache.collapse.wait: is negative"},
		{Spec{Cache: &CacheSpec{Key: KeySpec{Query: QuerySpec{Mode: "some"}}}}, `cache.key.query.mode: "some" is no mode`},
		{Spec{Cache: &CacheSpec{Key: KeySpec{Query: QuerySpec{Names: []string{"a"}}}}}, "cache.key.query.names: has a meaning only with"},
		{Spec{Cache: &CacheSpec{Key: KeySpec{Headers: []string{"x-a", "X-A"}}}}, "cache.key.headers[1]: X-A is named twice"},
		{Spec{Cache: &CacheSpec{Key: KeySpec{Headers: []string{"Host"}}}}, "cache.key.headers[0]: Host is in the key by key.host"},
		{Spec{Cache: &CacheSpec{Key: KeySpec{Cookies: []string{"a=b"}}}}, `cache.key.cookies[0]: "a=b" is no cookie name`},
		{Spec{Cache: &CacheSpec{Key: KeySpec{Cookies: []string{"a", "a"}}}}, "cache.key.cookies[1]: a is named twice"},
		{Spec{Cache: &CacheSpec{Vary: VarySpec{Normalize: map[string][]string{"accept-encoding": {"br"}}}}}, "cache.vary.normalize.accept-encoding: Accept-Encoding is always normalised"},
		{Spec{Cache: &CacheSpec{Vary: VarySpec{Normalize: map[string][]string{"cookie": {"br"}}}}}, "cache.vary.normalize.cookie: Cookie says who is asking"},
		{Spec{Cache: &CacheSpec{Vary: VarySpec{Normalize: map[string][]string{"x": {}}}}}, "cache.vary.normalize.x: names no value"},
		{Spec{Cache: &CacheSpec{Vary: VarySpec{Normalize: map[string][]string{"x": {"a", "\n"}}}}}, `cache.vary.normalize.x[1]: "\n" is no value of X`},
		{Spec{Cache: &CacheSpec{Vary: VarySpec{Normalize: map[string][]string{"accept-language": {"en;q=1"}}}}}, `cache.vary.normalize.accept-language[0]: "en;q=1" is no value`},
		{Spec{Cache: &CacheSpec{Vary: VarySpec{Normalize: map[string][]string{"x": {"a"}}, Sort: []string{"x"}}}}, "cache.vary.sort[0]: X is named twice"},
		{Spec{Cache: &CacheSpec{Vary: VarySpec{Sort: []string{"accept-encoding"}}}}, "cache.vary.sort[0]: Accept-Encoding is always normalised"},
	} {
		table, _, errs := Compile([]Spec{tt.spec}, testOptions)
		if table != nil || len(errs) != 1 {
			t.Errorf("want %s: table %v, errors %v", tt.want, table, errs)
			continue
		}
		if got := strings.TrimPrefix(errs[0].Error(), "routes[0]."); !strings.HasPrefix(got, tt.want) {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
}

func TestCompileReportsAllMistakesInOrder(t *testing.T) {
	_, _, errs := Compile([]Spec{
		{Name: "a", Upstream: "x", Match: MatchSpec{Hosts: []string{"a:1", "b:1"}, When: "1"}},
		{Name: "b"},
		{Name: "a", Cache: &CacheSpec{Pattern: "x", StatusTTL: map[int]time.Duration{1: 1, 2: 2}}},
	}, testOptions)
	var got []string
	for _, err := range errs {
		got = append(got, fmt.Sprint(err.Route, " ", strings.Join(err.Path, ".")))
	}
	want := []string{"0 upstream", "0 match.hosts.0", "0 match.hosts.1", "0 match.when",
		"2 name", "2 cache.pattern", "2 cache.status_ttl.1", "2 cache.status_ttl.2"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestUpstreams(t *testing.T) {
	for _, tt := range []struct {
		options Options
		spec    Spec
		want    string // the route's upstream, or the error
	}{
		{Options{DefaultUpstream: "a", Upstreams: []string{"a", "b"}}, Spec{}, "a"},
		{Options{DefaultUpstream: "a", Upstreams: []string{"a", "b"}}, Spec{Upstream: "b"}, "b"},
		{Options{Upstreams: []string{"b", "a"}}, Spec{}, "routes[0].upstream: is missing, and there is no default_upstream; there are a, b"},
		{Options{}, Spec{}, "routes[0].upstream: is missing, and there is no default_upstream; none is configured"},
		{Options{}, Spec{Upstream: "a"}, `routes[0].upstream: there is no upstream "a"; none is configured`},
	} {
		table, _, errs := Compile([]Spec{tt.spec}, tt.options)
		got := fmt.Sprint(errs)
		if len(errs) == 0 {
			got = table.Routes()[0].Upstream
		}
		if strings.Trim(got, "[]") != strings.Trim(tt.want, "[]") && got != "["+tt.want+"]" {
			t.Errorf("%+v of %+v: %s, want %s", tt.spec, tt.options, got, tt.want)
		}
	}
}

func TestDefaultRoute(t *testing.T) {
	table, _, errs := Compile(nil, Options{DefaultUpstream: "shop", MaxObjectBytes: 5, DefaultTTL: time.Minute, TargetedFields: []string{"cdn-cache-control"}})
	if errs != nil {
		t.Fatal(errs)
	}
	r := table.Match(get("http://a/"))
	if len(table.Routes()) != 1 || table.Routes()[0] != r {
		t.Fatalf("routes %v", table.Routes())
	}
	want := rfc9111.Policy{DefaultTTL: time.Minute, StaleWhileRevalidate: -1, StaleIfError: -1, Targeted: []string{"Cdn-Cache-Control"}}
	if !reflect.DeepEqual(r.Policy, want) {
		t.Errorf("policy %+v, want %+v", r.Policy, want)
	}
	if r.Name != "default" || r.Index != 0 || r.Upstream != "shop" || r.MaxObjectBytes != 5 || r.CollapseWait != 10*time.Second || r.Off || r.Spec.Name != "default" {
		t.Errorf("route %+v", r)
	}
	table, _, _ = Compile(nil, Options{})
	if r := table.Match(get("http://a/")); r.Upstream != "" {
		t.Errorf("without upstreams: %q", r.Upstream)
	}
}

func TestCompiledPolicy(t *testing.T) {
	o := testOptions
	o.MaxLifetime, o.DefaultTTL = time.Hour, time.Second
	spec := Spec{Name: "a", Cache: &CacheSpec{
		TTL: ptr(time.Duration(0)), RespectOrigin: ptr(false), StaleWhileRevalidate: ptr(time.Duration(0)), StaleIfError: ptr(time.Minute),
		StatusTTL: map[int]time.Duration{404: time.Second}, Store: StoreSpec{SetCookie: true, Authorized: true, UnkeyedCORS: true, Post: true},
		Pattern: "off", Tiers: []string{"l1"}, CompleteRanges: true, MaxObjectBytes: ptr(int64(7)), Collapse: CollapseSpec{Wait: ptr(time.Duration(0))},
	}, Headers: HeaderSpec{
		Request:  HeaderRules{Set: map[string]string{"x-a": "1"}, Remove: []string{"x-c", "x-b"}},
		Response: HeaderRules{Remove: []string{"server"}},
	}}
	table, _, errs := Compile([]Spec{spec}, o)
	if errs != nil {
		t.Fatal(errs)
	}
	r := table.Routes()[0]
	want := rfc9111.Policy{HasTTL: true, DefaultTTL: time.Second, MaxLifetime: time.Hour, StaleWhileRevalidate: 0, StaleIfError: time.Minute,
		StatusTTL: map[int]time.Duration{404: time.Second}, IgnoreOrigin: true, StoreCookies: true, StoreAuthorized: true, StoreUnkeyedCORS: true, StorePost: true}
	if !reflect.DeepEqual(r.Policy, want) {
		t.Errorf("policy %+v, want %+v", r.Policy, want)
	}
	if !r.Off || !r.CompleteRanges || r.MaxObjectBytes != 7 || r.CollapseWait != 0 {
		t.Errorf("route %+v", r)
	}
	if !maps.Equal(r.Request.Set, map[string]string{"X-A": "1"}) || !slices.Equal(r.Request.Remove, []string{"X-B", "X-C"}) || !slices.Equal(r.Response.Remove, []string{"Server"}) {
		t.Errorf("header rules %+v %+v", r.Request, r.Response)
	}
	if !reflect.DeepEqual(*r.Spec, spec) {
		t.Errorf("spec %+v, want %+v", *r.Spec, spec)
	}
}

func TestWarnings(t *testing.T) {
	o := testOptions
	o.MaxLifetime = time.Hour
	spec := Spec{Name: "a", Cache: &CacheSpec{TTL: ptr(2 * time.Hour), StaleIfError: ptr(2 * time.Hour), StaleWhileRevalidate: ptr(time.Hour),
		RespectOrigin: ptr(false), StatusTTL: map[int]time.Duration{404: 2 * time.Hour, 301: time.Hour},
		Store: StoreSpec{SetCookie: true, Authorized: true, UnkeyedCORS: true, Post: true}}}
	_, warnings, errs := Compile([]Spec{{Name: "b"}, spec}, o)
	if errs != nil {
		t.Fatal(errs)
	}
	var got []string
	for _, w := range warnings {
		if w.Route != 1 || w.Msg == "" {
			t.Errorf("warning %v", w)
		}
		got = append(got, strings.Join(w.Path, "."))
	}
	want := []string{"cache.ttl", "cache.stale_if_error", "cache.status_ttl.404", "cache.respect_origin", "cache.store.set_cookie",
		"cache.store.authorized", "cache.store.unkeyed_cors", "cache.store.post"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if _, warnings, _ := Compile([]Spec{spec}, testOptions); len(warnings) != len(want)-3 {
		t.Errorf("without max_lifetime: %v", warnings)
	}
}

func TestDefaultNames(t *testing.T) {
	table := mustCompile(t,
		Spec{Match: MatchSpec{Paths: []string{"/a"}}},
		Spec{Match: MatchSpec{Paths: []string{"/b"}, Hosts: []string{}}},
		Spec{Match: MatchSpec{Paths: []string{"/b"}}, Upstream: "api"},
	)
	seen := map[string]bool{}
	for _, r := range table.Routes()[:3] {
		if len(r.Name) != 12 || seen[r.Name] {
			t.Errorf("name %q", r.Name)
		}
		seen[r.Name] = true
	}
	if got, want := table.Routes()[0].Name, "73b7c91f6f5e"; got != want {
		t.Errorf("name %s, want %s: keys of unnamed routes would change with the program", got, want)
	}
	_, _, errs := Compile([]Spec{{Match: MatchSpec{Paths: []string{"/b"}}}, {}, {Match: MatchSpec{Paths: []string{"/b"}, Hosts: []string{}}, Upstream: "shop"}}, testOptions)
	if len(errs) != 1 || !strings.HasPrefix(errs[0].Error(), "routes[2].match: is the same as that of routes[0]") {
		t.Errorf("the same route twice: %v", errs)
	}
}

func TestCompileKeepsSpecs(t *testing.T) {
	specs := []Spec{{Name: "a"}, {Name: "b"}}
	table := mustCompile(t, specs...)
	specs[0].Name = "changed"
	if got := table.Routes()[0].Spec.Name; got != "a" {
		t.Errorf("the spec of the first route is named %q", got)
	}
}
