package rules

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/cacheproxy/cacheproxy/rfc9111"
)

func TestConditions(t *testing.T) {
	r := get("https://shop.example.com:8443/a/b?q=x+y&q=2&e&n%5B%5D=1", "X-A: 1", "X-A: 2", "Cookie: sid=abc; theme=dark")
	response := rfc9111.Header(http.Header{"Content-Type": {"text/html"}, "X-Empty": {""}})
	for source, want := range map[string]bool{
		`request.method == "GET"`:                                            true,
		`request.scheme == "https"`:                                          true,
		`request.host == "shop.example.com"`:                                 true,
		`request.path == "/a/b"`:                                             true,
		`request.query["q"] == "x y"`:                                        true,
		`request.query["n[]"] == "1"`:                                        true,
		`request.query["missing"] == ""`:                                     true,
		`"e" in request.query && !("missing" in request.query)`:              true,
		`request.query.q.startsWith("x")`:                                    true,
		`request.headers["x-a"] == "1, 2"`:                                   true,
		`request.headers["X-A"] == "1, 2"`:                                   true,
		`request.headers["x-missing"] == ""`:                                 true,
		`request.headers["host"] == "shop.example.com:8443"`:                 true,
		`has(request.headers.cookie) && !has(request.headers.missing)`:       true,
		`"x-a" in request.headers`:                                           true,
		`"x-b" in request.headers`:                                           false,
		`request.cookies["theme"] == "dark" && request.cookies.sid != ""`:    true,
		`request.cookies["none"] == ""`:                                      true,
		`client.ip == "192.0.2.7"`:                                           true,
		`response.status == 200`:                                             true,
		`response.status in [200, 203]`:                                      true,
		`response.headers["content-type"].matches("^text/(html|plain)$")`:    true,
		`response.headers["missing"] == ""`:                                  true,
		`"x-empty" in response.headers && response.headers["x-empty"] == ""`: true,
		`["a", "b"].exists(s, request.path.endsWith(s))`:                     true,
		`request.headers["x-" + request.query["none"] + "a"] == "1, 2"`:      true,
		`request.method == "GET" ? request.path == "/" : true`:               false,
		`.request.method == "GET"`:                                           true,
	} {
		c, err := compileCondition(source, true)
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		if got := c.evaluate(r, 200, response, !want); got != want {
			t.Errorf("%s is %v", source, got)
		}
		if c.failures.Load() != 0 {
			t.Errorf("%s ended in an error", source)
		}
		if reads := strings.Contains(source, "response."); c.readsResponse != reads {
			t.Errorf("%s reads the response: %v", source, c.readsResponse)
		}
	}
}

func TestConditionOfClientWithoutAddress(t *testing.T) {
	for ip, want := range map[netip.Addr]string{
		{}:                                    "",
		netip.MustParseAddr("::ffff:1.2.3.4"): "1.2.3.4",
		netip.MustParseAddr("2001:DB8::1"):    "2001:db8::1",
	} {
		r := get("http://a/")
		r.client = ip
		c, err := compileCondition(`client.ip == "`+want+`"`, false)
		if err != nil {
			t.Fatal(err)
		}
		if !c.evaluate(r, 0, nil, false) {
			t.Errorf("client %v is not %q", ip, want)
		}
	}
}

// Cookies of several lines are found, however they are separated.
func TestConditionOfSeveralCookieLines(t *testing.T) {
	c, err := compileCondition(`request.cookies["b"] == "2" && request.cookies["c"] == "3"`, false)
	if err != nil {
		t.Fatal(err)
	}
	if !c.evaluate(get("http://a/", "Cookie: a=1", "Cookie: b=2; c=3"), 0, nil, false) {
		t.Error("not found")
	}
}

func TestConditionMistakes(t *testing.T) {
	for _, tt := range []struct {
		source       string
		withResponse bool
		want         string
	}{
		{`request.method`, true, "is a string; a condition must be true or false"},
		{`request.method == 1`, true, "column 16: found no matching overload"},
		{`request.method = "GET"`, true, "column 16: Syntax error"},
		{`request.verb == "GET"`, true, "request has no verb; it has cookies, headers, host, method, path, query, scheme"},
		{`client.port == 1`, true, "client has no port; it has ip"},
		{`response.status == 200`, false, "response is not known yet"},
		{`.response.status == 200`, false, "response is not known yet"},
		{`response.body == ""`, true, "response has no body; it has headers, status"},
		{`session.user == "a"`, true, "session is not built yet"},
		{`request == 1`, true, "request is no value by itself"},
		{`request["method"] == "GET"`, true, "request is no value by itself"},
		{`request.headers.exists(h, h == "x")`, true, `request.headers can only be asked for a name, as in request.headers["x"]`},
		{`.request.headers.exists(h, h == "x")`, true, "request.headers can only be asked for a name"},
		{`size(request.query) > 0`, true, "request.query can only be asked for a name"},
		{`request.cookies == request.headers`, true, "can only be asked for a name"},
		{`request.headers in [request.headers]`, true, "can only be asked for a name"},
		{`request.headers in ["a"]`, true, "request.headers can only be asked for a name"},
		{`has(request.headers)`, true, "request.headers can only be asked for a name"},
		{`request.headers[1] == ""`, true, "column 16: found no matching overload"},
		{`foo == 1`, true, "column 1: undeclared reference to 'foo'"},
		{`request.path.matches("(")`, true, "column 22: invalid matches argument"},
		{`topic == "x"`, true, "undeclared reference to 'topic'"},
	} {
		_, err := compileCondition(tt.source, tt.withResponse)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %s", tt.source, err, tt.want)
		}
	}
}

// An evaluation that ends in an error counts as false for when, as true for bypass, and is counted.
func TestConditionErrors(t *testing.T) {
	const fails = `int(request.query["n"]) > 1`
	table := mustCompile(t, Spec{Name: "a", Match: MatchSpec{When: fails}, Cache: &CacheSpec{Bypass: fails, When: fails}})
	r := table.Routes()[0]
	good, bad := get("http://a/?n=2"), get("http://a/?n=x")
	if table.Match(good) != r || !r.Bypass(good) || !r.Admits(good, 200, nil) {
		t.Error("a condition that is true does not hold")
	}
	if n := r.ConditionErrors(); n != 0 {
		t.Errorf("%d errors", n)
	}
	if table.Match(bad) == r || !r.Bypass(bad) || r.Admits(bad, 200, nil) {
		t.Error("an error counts as true for when or as false for bypass")
	}
	if n := r.ConditionErrors(); n != 3 {
		t.Errorf("%d errors, want 3", n)
	}
}

func TestRouteWithoutConditions(t *testing.T) {
	r := mustRoute(t, CacheSpec{})
	v := get("http://a/")
	if r.Bypass(v) || !r.Admits(v, 200, nil) || r.ReadsResponse() || r.ConditionErrors() != 0 {
		t.Error("a route without conditions bypasses or refuses")
	}
	if mustRoute(t, CacheSpec{When: `request.path == "/"`}).ReadsResponse() {
		t.Error("a condition over the request reads the response")
	}
	if !mustRoute(t, CacheSpec{When: `request.path == "/" || response.status == 200`}).ReadsResponse() {
		t.Error("a condition over the response does not read it")
	}
}

// What a condition may cost is bounded: the error counts as any other.
func TestConditionCostIsBounded(t *testing.T) {
	list := "[" + strings.Repeat("1,", 99) + "1]"
	c, err := compileCondition(list+".all(a, "+list+".all(b, "+list+".all(c, a + b + c > 0 && request.path != '')))", false)
	if err != nil {
		t.Fatal(err)
	}
	if !c.evaluate(get("http://a/"), 0, nil, true) || c.failures.Load() != 1 {
		t.Error("a million steps were taken")
	}
}

// FuzzCondition: what compiles also evaluates, to the end or to an error that is counted, and never panics.
func FuzzCondition(f *testing.F) {
	for _, source := range []string{
		`request.headers["a"] == "" && "b" in request.query`, `has(request.cookies.a) || response.status > 1`,
		`[1, 2].exists(x, x == response.status)`, `request.path.matches(request.query.q)`, `dyn(request.path) == 1`,
		`{"a": request.path}["b"] == ""`, `request.headers["a"][0] == ""`, `timestamp(request.path) > timestamp(0)`, `type(request.path) == string`,
	} {
		f.Add(source, "/a?q=(")
	}
	response := rfc9111.Header(http.Header{"A": {"1"}})
	f.Fuzz(func(t *testing.T, source, uri string) {
		if len(source) > 500 {
			t.Skip("as long as they come")
		}
		c, err := compileCondition(source, true)
		if err != nil {
			return
		}
		r := get("http://a" + uri)
		yes, no := c.evaluate(r, 200, response, true), c.evaluate(r, 200, response, false)
		if failed := c.failures.Load() > 0; failed != (yes != no) {
			t.Errorf("%s: %v and %v, %d failures", source, yes, no, c.failures.Load())
		}
	})
}
