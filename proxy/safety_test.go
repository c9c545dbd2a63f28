package proxy_test

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/cacheproxy/cacheproxy/internal/badorigin"
	"github.com/cacheproxy/cacheproxy/proxy"
	"github.com/cacheproxy/cacheproxy/rules"
)

func TestWhatIsForOneUserIsNotStored(t *testing.T) {
	for _, tc := range []struct {
		name     string
		request  []string
		response []string
		reason   string
		allow    rules.StoreSpec
	}{
		{"set-cookie", nil, []string{"Set-Cookie: a=b"}, "set-cookie", rules.StoreSpec{SetCookie: true}},
		{"authorization", []string{"Authorization: Basic x"}, nil, "authorization", rules.StoreSpec{Authorized: true}},
		{"authorization that Connection names", []string{"Authorization: Basic x", "Connection: Authorization"}, nil, "authorization", rules.StoreSpec{Authorized: true}},
		{"the echo of an Origin", []string{"Origin: https://evil.example"}, []string{"Access-Control-Allow-Origin: https://evil.example"}, "unkeyed-cors", rules.StoreSpec{UnkeyedCORS: true}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := newShop(t, plain(append(tc.response, "Cache-Control: max-age=60")...))
			r := newRig(t, o.URL, nil)
			r.want(r.get("/a", tc.request...), 200, "answer 1", "detail="+tc.reason)
			if a := r.get("/a"); a.body == "answer 1" || a.header.Get("Age") != "" {
				t.Errorf("the next client got %q", a.body)
			}
			r = newRig(t, o.URL, []rules.Spec{route(rules.CacheSpec{Store: tc.allow})})
			first := r.get("/a", tc.request...)
			r.want(r.get("/a"), 200, first.body, "hit")
		})
	}
}

func TestAClientCannotPassForSomebodyElse(t *testing.T) {
	o := newShop(t, plain("Cache-Control: no-store"))
	sent := []string{
		"X-Forwarded-For: 10.1.1.1", "X-Forwarded-Host: evil.example", "X-Forwarded-Proto: https", "X-Forwarded-Prefix: /evil", "Forwarded: for=10.1.1.1",
		"X-HTTP-Method-Override: DELETE", "X-Method-Override: DELETE", "X-Original-URL: /admin", "X-Rewrite-URL: /admin", "X-Real-IP: 10.1.1.1",
		"X_Forwarded_For: 10.1.1.1", "Some_Name: 1",
	}
	r := newRig(t, o.URL, nil)
	r.get("/a", sent...)
	got := o.last().Header
	for _, line := range sent {
		name, value, _ := strings.Cut(line, ": ")
		if strings.Contains(strings.Join(got[http.CanonicalHeaderKey(name)], ","), value) {
			t.Errorf("the origin was told %s: %q", name, got[http.CanonicalHeaderKey(name)])
		}
	}
	if got.Get("X-Forwarded-For") != "127.0.0.1" || got.Get("X-Forwarded-Proto") != "http" || !strings.Contains(got.Get("Via"), "cacheproxy") {
		t.Errorf("what the proxy says of the client is missing: %v", got)
	}

	trust := func(p *proxy.Plan, _ *rules.Options) {
		p.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	}
	r = newRig(t, o.URL, nil, trust)
	r.get("/a", sent...)
	got = o.last().Header
	if got.Get("X-Forwarded-For") != "10.1.1.1, 127.0.0.1" || got.Get("X-Forwarded-Host") != "evil.example" || got.Get("X-Forwarded-Proto") != "https" {
		t.Errorf("a trusted proxy's word is lost: %v", got)
	}
}

func TestConnectionCannotRemoveWhatTheProxyAdds(t *testing.T) {
	o := newShop(t, plain("Cache-Control: no-store"))
	r := newRig(t, o.URL, nil)
	r.get("/a", "Connection: X-Forwarded-For, Via, X-Forwarded-Proto, X-Private", "X-Private: 1")
	got := o.last().Header
	if got.Get("X-Forwarded-For") == "" || got.Get("Via") == "" || got.Get("X-Forwarded-Proto") == "" {
		t.Errorf("the origin was told %v", got)
	}
	if got.Get("X-Private") != "" {
		t.Error("a hop-by-hop field was forwarded")
	}
}

func TestAFillCarriesNothingOfOneClientsConditions(t *testing.T) {
	o := newShop(t, plain("Cache-Control: max-age=60"))
	r := newRig(t, o.URL, nil)
	_, err := r.try(t.Context(), "GET", "/a", "a body", `If-Match: "x"`, `If-None-Match: "y"`, "If-Modified-Since: Mon, 01 Jan 2018 00:00:00 GMT",
		"If-Unmodified-Since: Mon, 01 Jan 2018 00:00:00 GMT", "Range: bytes=0-1", `If-Range: "x"`, "Date: Mon, 01 Jan 2018 00:00:00 GMT")
	if err != nil {
		t.Fatal(err)
	}
	for name := range o.last().Header {
		if strings.HasPrefix(name, "If-") || name == "Range" || name == "Date" || name == "Content-Type" {
			t.Errorf("the origin saw %s", name)
		}
	}
	if o.last().ContentLength > 0 {
		t.Error("the body of the GET was forwarded")
	}
	r.want(r.get("/a"), 200, "answer 1", "hit")
}

func TestIgnoredParametersAreNotForwarded(t *testing.T) {
	o := newShop(t, plain("Cache-Control: max-age=60"))
	ignore := rules.QuerySpec{Mode: "ignore", Names: []string{"utm_*"}}
	r := newRig(t, o.URL, []rules.Spec{route(rules.CacheSpec{Key: rules.KeySpec{Query: ignore}})})
	r.get("/a?utm_source=x&id=1")
	if got := o.last().URL.RawQuery; got != "id=1" {
		t.Errorf("the origin saw %q", got)
	}
	r.want(r.get("/a?id=1&utm_source=evil"), 200, "answer 1", "hit")
	ignore.Forward = true
	r = newRig(t, o.URL, []rules.Spec{route(rules.CacheSpec{Key: rules.KeySpec{Query: ignore}})})
	r.get("/a?utm_source=x&id=1")
	if got := o.last().URL.RawQuery; got != "utm_source=x&id=1" {
		t.Errorf("forward: true, the origin saw %q", got)
	}
}

func TestTheOriginSeesTheURLThatWasKeyed(t *testing.T) {
	o := newShop(t, plain("Cache-Control: max-age=60"))
	r := newRig(t, o.URL, nil)
	ask := func(target string) string {
		return r.raw("GET " + target + " HTTP/1.1\r\nHost: Shop.Example:80\r\nConnection: close\r\n\r\n")
	}
	ask("/a/../b/./%7euser%2fx?q=%7e")
	if got := o.last().RequestURI; got != "/b/~user%2Fx?q=~" {
		t.Errorf("the origin saw %q", got)
	}
	if got := ask("/b/~user%2Fx?q=~"); !strings.Contains(got, "; hit") {
		t.Errorf("another spelling of the same URL is another key:\n%s", got)
	}
	if got := ask("http://shop.example/b/~user%2fx?q=~"); !strings.Contains(got, "; hit") {
		t.Errorf("the absolute form of the same URL is another key:\n%s", got)
	}
	before := o.asked.Load()
	for _, bad := range []string{"/a%00b", "/..%2f..%2fetc", "/a%2", "/%5c..%5cx"} {
		if got := ask(bad); !strings.HasPrefix(got, "HTTP/1.1 400") {
			t.Errorf("%q is not refused:\n%s", bad, got)
		}
	}
	if o.asked.Load() != before {
		t.Error("a refused URL reached the origin")
	}
}

func TestLimits(t *testing.T) {
	o := newShop(t, plain("Cache-Control: max-age=60"))
	r := newRig(t, o.URL, nil)
	r.want(r.get("/"+strings.Repeat("a", 9000)), 414, "*", "detail=limit")
	r.want(r.get("/?"+strings.Repeat("a&", 1001)), 400, "*", "detail=limit")
	if got := r.raw("CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 405") {
		t.Errorf("CONNECT: %q", got)
	}
	if o.asked.Load() != 0 {
		t.Error("a refused request reached the origin")
	}
}

func TestHeaderRules(t *testing.T) {
	o := newShop(t, plain("Cache-Control: max-age=60", "X-Powered-By: x"))
	spec := route(rules.CacheSpec{})
	spec.Headers = rules.HeaderSpec{
		Request:  rules.HeaderRules{Set: map[string]string{"X-Tenant": "t1", "X-Forwarded-For": "none"}, Remove: []string{"X-Junk"}},
		Response: rules.HeaderRules{Set: map[string]string{"X-Frame-Options": "DENY"}, Remove: []string{"X-Powered-By"}},
	}
	spec.Rewrite = rules.Rewrite{StripPrefix: "/api", AddPrefix: "/v2"}
	r := newRig(t, o.URL, []rules.Spec{spec})
	for _, state := range []string{"miss", "hit"} {
		a := r.get("/api/x", "X-Junk: 1", "X-Tenant: evil")
		if a.header.Get("X-Frame-Options") != "DENY" || a.header.Get("X-Powered-By") != "" {
			t.Errorf("%s: response fields %v", state, a.header)
		}
	}
	got := o.last()
	if got.URL.Path != "/v2/x" || got.Header.Get("X-Tenant") != "t1" || got.Header.Get("X-Junk") != "" || got.Header.Get("X-Forwarded-For") != "none" {
		t.Errorf("the origin saw %s %v", got.URL, got.Header)
	}
}

func TestHopByHopFieldsAreNotStored(t *testing.T) { // RFC 9111, 3.1; the public suite's tests of this look at nothing
	o := badorigin.New(t, badorigin.OK("answer 1", "Cache-Control: max-age=60", "Connection: X-Hop", "X-Hop: 1", "Keep-Alive: timeout=5",
		"Proxy-Authenticate: Basic", "Proxy-Connection: keep-alive", "Upgrade: h2c", "Te: trailers", "X-End: 1"))
	r := newRig(t, o.URL, nil)
	r.get("/a")
	a := r.get("/a")
	r.want(a, 200, "answer 1", "hit")
	for _, name := range []string{"X-Hop", "Keep-Alive", "Proxy-Authenticate", "Proxy-Connection", "Upgrade", "Te"} {
		if v := a.header.Get(name); v != "" {
			t.Errorf("%s: %q came from the cache", name, v)
		}
	}
	if a.header.Get("X-End") != "1" {
		t.Error("an end-to-end field was lost")
	}
}

func TestNoContentTypeIsGuessed(t *testing.T) { // RFC 9110, 7.7 and 8.3
	o := badorigin.New(t, badorigin.OK("<html>", "Cache-Control: max-age=60"))
	r := newRig(t, o.URL, nil)
	request := func(method, path string) string {
		return r.raw(method + " " + path + " HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
	}
	for name, answer := range map[string]string{"miss": request("GET", "/a"), "hit": request("GET", "/a"), "write": request("POST", "/b")} {
		if strings.Contains(answer, "Content-Type") || !strings.HasSuffix(answer, "<html>") {
			t.Errorf("%s: the origin sent no Content-Type, the client got\n%s", name, answer)
		}
	}
}

func TestARequestWithNoStoreIsNotStored(t *testing.T) { // RFC 9111, 5.2.1.5
	o := newShop(t, plain("Cache-Control: max-age=60"))
	r := newRig(t, o.URL, nil)
	r.want(r.get("/a", "Cache-Control: no-store"), 200, "answer 1", "request-no-store")
	r.want(r.get("/a"), 200, "answer 2", "fwd=uri-miss")
}
