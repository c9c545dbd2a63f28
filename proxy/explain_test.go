package proxy_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/proxy"
	"github.com/cacheproxy/cacheproxy/rules"
)

// TestExplain asks about requests and answers of the origin, with and without a cache to look into.
func TestExplain(t *testing.T) {
	o := newShop(t, plain("Cache-Control: max-age=60"))
	ttl := time.Minute
	r := newRig(t, o.URL, []rules.Spec{
		{Name: "off", Match: rules.MatchSpec{Paths: []string{"/off/**"}}, Cache: &rules.CacheSpec{Pattern: "off"}},
		{Name: "debug", Match: rules.MatchSpec{Paths: []string{"/debug/**"}}, Cache: &rules.CacheSpec{Bypass: `request.headers["x-debug"] == "1"`}},
		{Name: "pages", Match: rules.MatchSpec{Paths: []string{"/**"}}, Cache: &rules.CacheSpec{TTL: &ttl}},
	})
	r.get("/stored", "Host: shop.example")
	plan := r.proxy.Plan()
	header := func(lines ...string) http.Header {
		h := http.Header{}
		for _, l := range lines {
			name, value, _ := strings.Cut(l, ": ")
			h.Add(name, value)
		}
		return h
	}
	for _, tc := range []struct {
		name           string
		offline        bool
		q              proxy.Question
		result, reason string
		step           string // some step says this
	}{
		{"a hit", false, proxy.Question{Method: "GET", URL: "http://shop.example/stored"}, "hit", "l1", "a response with status 200"},
		{"a miss", false, proxy.Question{Method: "GET", URL: "http://shop.example/other"}, "miss", "uri-miss", "the route's ttl is 1m0s"},
		{"offline nothing is known", true, proxy.Question{Method: "GET", URL: "http://shop.example/stored"}, "unknown", "", "not known"},
		{"what hangs on the response is named", true, proxy.Question{Method: "GET", URL: "http://shop.example/x"}, "unknown", "", "not given"},
		{"a response with a cookie", true, proxy.Question{Method: "GET", URL: "http://shop.example/x", Response: header("Set-Cookie: a=b")}, "unknown", "set-cookie", "not stored: set-cookie"},
		{"a response that is stored", true, proxy.Question{Method: "GET", URL: "http://shop.example/x", Response: header("Vary: Accept")}, "unknown", "", "stored, fresh for 60 s; varies by Accept"},
		{"an error does not get the route's ttl", true, proxy.Question{Method: "GET", URL: "http://shop.example/x", Status: 503}, "unknown", "status", "not stored: status"},
		{"the pattern off", false, proxy.Question{Method: "GET", URL: "http://shop.example/off/x"}, "bypass", "pattern-off", "the route's pattern is off"},
		{"a bypass", false, proxy.Question{Method: "GET", URL: "http://shop.example/debug/x", Header: header("X-Debug: 1")}, "bypass", "bypass", "bypass condition"},
		{"an unsafe method", false, proxy.Question{Method: "POST", URL: "http://shop.example/x"}, "pass", "method", "invalidates http://shop.example/x"},
		{"a URL without normal form", false, proxy.Question{Method: "GET", URL: "http://shop.example/..%2fx"}, "error", "invalid-target", "refused with 400"},
		{"a request with no-store", false, proxy.Question{Method: "GET", URL: "http://shop.example/stored", Header: header("Cache-Control: no-store")}, "pass", "request-no-store", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := r.cache
			if tc.offline {
				c = nil
			}
			e, err := plan.Explain(t.Context(), c, tc.q)
			if err != nil {
				t.Fatal(err)
			}
			var steps strings.Builder
			for i, s := range e.Steps {
				if s.N != i+1 {
					t.Errorf("step %d has the number %d", i+1, s.N)
				}
				steps.WriteString(s.What + ": " + s.Result + "\n")
			}
			if e.Result != tc.result || e.Reason != tc.reason || !strings.Contains(steps.String(), tc.step) {
				t.Errorf("got %q because of %q, want %q because of %q, and %q in\n%s", e.Result, e.Reason, tc.result, tc.reason, tc.step, steps.String())
			}
		})
	}
	if _, err := plan.Explain(t.Context(), nil, proxy.Question{Method: "GET", URL: "/no-host"}); err == nil {
		t.Error("a URL without host is accepted")
	}
	if o.asked.Load() != 1 {
		t.Error("explaining asked the origin")
	}
}
