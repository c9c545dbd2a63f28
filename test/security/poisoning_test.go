package security

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/cacheproxy/cacheproxy/internal/badorigin"
)

// unkeyed are fields that origins and frameworks have built into pages, redirects
// or errors, or have taken for another URL, method or client, though no cache has
// them in its key. All were used against real sites.
var unkeyed = []string{
	"X-Forwarded-Host", "X-Forwarded-Scheme", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Forwarded-Server", "X-Forwarded-Prefix",
	"X-Forwarded-Path", "X-Forwarded-Ssl", "X-Forwarded-Uri", "X-Forwarded-Url", "X-Forwarded-By", "X-Forwarded-For", "X-Forwarded",
	"X-Forwarded-Method", "X-Forwarded-Protocol", "X-Forwarded-Context", "X-Forwarded-For-Original", "X-Forwarder-For", "Forwarded",
	"Forwarded-For", "X-Host", "X-Original-Host", "X-Backend-Host", "X-Http-Host-Override", "X-Proxy-Host", "Proxy-Host",
	"X-Original-Url", "X-Original-Uri", "X-Original-Path", "X-Rewrite-Url", "X-Rewrite-Uri", "X-Override-Url", "X-Request-Uri",
	"Request-Uri", "X-Http-Destinationurl", "Destination-Url", "Base-Url", "X-Script-Name", "X-Envoy-Original-Path",
	"X-Http-Method-Override", "X-Http-Method", "X-Method-Override",
	"X-Scheme", "X-Url-Scheme", "Front-End-Https", "X-Arr-Ssl", "X-Https", "Fastly-Host", "Fastly-Ssl", "Cf-Visitor", "Cloudfront-Forwarded-Proto",
	"X-Real-Ip", "X-Client-Ip", "Client-Ip", "X-Cluster-Client-Ip", "True-Client-Ip", "Cf-Connecting-Ip", "Fastly-Client-Ip", "X-Remote-Addr",
	"X-Remote-Ip", "X-Originating-Ip", "X-Original-Forwarded-For", "X-Proxyuser-Ip", "X-Azure-Clientip", "X-Azure-Socketip",
	"X_forwarded_host", "X_Forwarded_Proto", "X-Forwarded_Host", "HTTP_X_FORWARDED_HOST",
	"Proxy", "X-Middleware-Subrequest", "X-Invoke-Path", "X-Invoke-Status",
}

// The origin mirrors every field that it gets. None of these may reach it from an
// attacker, or what he wrote would be in everybody's page.
func TestPoisoningByUnkeyedFields(t *testing.T) {
	h := newHouse(t, "")
	for i, name := range unkeyed {
		t.Run(name, func(t *testing.T) {
			h.t = t
			target := fmt.Sprintf("/unkeyed/%d", i)
			before := len(h.origin.Requests())
			h.ask(get(target, name+": evil.example", strings.ToLower(name)+": evil.example"))
			a := h.innocent(get(target), "evil")
			if !a.hit() {
				t.Errorf("%s keeps the page out of the cache: %v", name, a)
			}
			h.seen(before, "GET "+target)
		})
	}
}

// A trusted proxy's word counts, and is in the key: no two hosts share a page.
func TestPoisoningThroughATrustedProxy(t *testing.T) {
	h := newHouse(t, "trusted_proxies: [127.0.0.0/8]\n")
	h.ask(get("/trusted", "X-Forwarded-Host: evil.example"))
	h.innocent(get("/trusted"), "evil")
	h.ask(get("/trusted/scheme", "X-Forwarded-Proto: https"))
	if a := h.innocent(get("/trusted/scheme")); a.hit() {
		t.Errorf("the page of https serves http: %v", a)
	}
}

// What belongs to a request and not to the page does not reach the origin when it
// is asked for everybody.
func TestPoisoningByRequest(t *testing.T) {
	h := newHouse(t, "")
	for name, text := range map[string]func(target string) string{
		"fat GET": func(target string) string { return get(target, "Content-Length: 11") + "param=evil\n" },
		"fat GET, form": func(target string) string {
			return get(target, "Content-Type: application/x-www-form-urlencoded", "Content-Length: 11") + "param=evil\n"
		},
		"fat GET, parts": func(target string) string {
			return get(target, "Transfer-Encoding: chunked") + "b\r\nparam=evil\n\r\n0\r\nX-Forwarded-Host: evil\r\n\r\n"
		},
		"range":         func(target string) string { return get(target, "Range: bytes=0-3") },
		"odd range":     func(target string) string { return get(target, "Range: evil=0-3") },
		"If-Match":      func(target string) string { return get(target, `If-Match: "evil"`) },
		"If-None-Match": func(target string) string { return get(target, `If-None-Match: "evil"`) },
		"If-Range":      func(target string) string { return get(target, `If-Range: "evil"`, "Range: bytes=0-3") },
		"If-Modified":   func(target string) string { return get(target, "If-Modified-Since: Fri, 31 Dec 2100 00:00:00 GMT") },
		"If-Unmodified": func(target string) string { return get(target, "If-Unmodified-Since: Fri, 01 Jan 1971 00:00:00 GMT") },
		"Expect":        func(target string) string { return get(target, "Expect: 100-continue", "Content-Length: 0") },
		"Upgrade": func(target string) string {
			return get(target, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: evil")
		},
		"TE":           func(target string) string { return get(target, "Connection: TE", "TE: evil") },
		"HEAD":         func(target string) string { return request("HEAD", target, "Host: shop.example") },
		"Max-Forwards": func(target string) string { return get(target, "Max-Forwards: 0") },
		"Via":          func(target string) string { return get(target, "Via: 1.1 cacheproxy") },
	} {
		t.Run(name, func(t *testing.T) {
			h.t = t
			target := unique(t)
			before := len(h.origin.Requests())
			h.ask(text(target))
			h.innocent(get(target), "evil")
			h.seen(before, "GET "+target) // once for both: the first has left something for the second
			if r := h.origin.Requests()[before]; len(r.Body) > 0 {
				t.Errorf("the origin got the content %q", r.Body)
			}
		})
	}
}

// By Connection a client can take fields out of a request. It cannot take out what
// the page depends on, what the proxy adds, or what says that a user is concerned.
func TestPoisoningByHopByHop(t *testing.T) {
	h := newHouse(t, "")
	h.origin.SetHandler(func(c *badorigin.Conn, r *badorigin.Request) {
		c.Respond(200, reflection(r), "Cache-Control: max-age=3600", "Vary: Accept-Language")
	})
	for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Via", "Host", "Cookie", "Content-Length", "Cache-Control", "Accept-Language"} {
		t.Run(name, func(t *testing.T) {
			h.t = t
			target := unique(t)
			before := len(h.origin.Requests())
			h.ask(get(target, "Connection: close, "+name, "Accept-Language: evil"))
			a := h.innocent(get(target, "Accept-Language: en"), "evil")
			first := h.origin.Requests()[before]
			for _, own := range []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Via", "Host"} {
				if first.Header.Get(own) == "" {
					t.Errorf("the origin was not told %s: %q", own, first.Raw)
				}
			}
			if !strings.Contains(a.body, "Accept-Language: en\n") {
				t.Errorf("%v", a)
			}
		})
	}
	before := len(h.origin.Requests())
	h.ask(get("/account", "Connection: Authorization", "Authorization: Bearer victim"))
	h.innocent(get("/account"), "victim")
	if n := len(h.targets(before)); n != 2 {
		t.Errorf("the origin saw %d requests: what was for one user was stored", n)
	}
}

// One separator of parameters counts, for the key and for the origin: what is not
// in the key is not sent on.
func TestPoisoningByUnkeyedQuery(t *testing.T) {
	for name, tt := range map[string]struct{ query, attack, plain string }{
		"none":                  {"mode: none", "?callback=evil", ""},
		"none, absolute":        {"mode: none", "?callback=evil&", ""},
		"ignored":               {"mode: ignore, names: [utm_*]", "?a=1&utm_content=evil", "?a=1"},
		"cloaked by ;":          {"mode: ignore, names: [utm_*]", "?callback=a&utm_content=x;callback=evil", "?callback=a"},
		"cloaked by ?":          {"mode: ignore, names: [utm_*]", "?callback=a&utm_content=x?callback=evil", "?callback=a"},
		"cloaked by an escape":  {"mode: ignore, names: [utm_*]", "?callback=a&utm%5Fcontent=x%26callback=evil", "?callback=a"},
		"cloaked by a line end": {"mode: ignore, names: [utm_*]", "?callback=a&utm_content=x%0d%0aevil:%20evil", "?callback=a"},
		"not allowed":           {"mode: allow, names: [a]", "?a=1&callback=evil", "?a=1"},
		"not allowed, twice":    {"mode: allow, names: [a]", "?callback=evil&a=1&callback=evil", "?a=1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, "routes: [{ name: all, cache: { key: { query: { "+tt.query+" } } } }]\n")
			h.ask(get("/q" + tt.attack))
			h.innocent(get("/q"+tt.plain), "evil")
			for _, r := range h.origin.Requests() {
				if strings.Contains(r.Target, "evil") {
					t.Errorf("the origin saw %q", r.Target)
				}
			}
		})
	}
}

// One name of the host counts, with its port: for the key and for the origin.
func TestPoisoningByHost(t *testing.T) {
	h := newHouse(t, "")
	for name, text := range map[string]string{
		"a port":                   request("GET", "/host", "Host: shop.example:1337"),
		"a port that is none":      request("GET", "/host", "Host: shop.example:evil"),
		"two":                      request("GET", "/host", "Host: shop.example", "Host: evil.example"),
		"a list":                   request("GET", "/host", "Host: shop.example, evil.example"),
		"with user information":    request("GET", "/host", "Host: evil.example@shop.example"),
		"with a path":              request("GET", "/host", "Host: shop.example/evil"),
		"with a space":             request("GET", "/host", "Host: shop.example evil"),
		"with a quote":             request("GET", "/host", `Host: shop.example"evil`),
		"folded":                   request("GET", "/host", "Host: shop.example", " evil.example"),
		"absolute form":            request("GET", "http://evil.example/host", "Host: shop.example"),
		"absolute form of another": request("GET", "http://shop.example/host", "Host: evil.example"),
		"absolute form with user":  request("GET", "http://evil@shop.example/host", "Host: shop.example"),
		"authority form":           request("GET", "evil.example:80", "Host: shop.example"),
		"another scheme":           request("GET", "https://shop.example/host", "Host: shop.example"),
		"no scheme":                request("GET", "//evil.example/host", "Host: shop.example"),
	} {
		t.Run(name, func(t *testing.T) {
			h.t = t
			h.ask(text)
			h.innocent(get("/host"), "evil", "1337")
		})
	}
}

// A redirect is shared only where nothing of one client is in it.
func TestPoisoningByRedirect(t *testing.T) {
	h := newHouse(t, "")
	h.origin.SetHandler(func(c *badorigin.Conn, r *badorigin.Request) {
		if r.Header.Get("X-Forwarded-Proto") != "http" || strings.Contains(fmt.Sprint(r.Header), "nothttps") {
			c.Respond(301, "", "Location: https://"+r.Header.Get("X-Forwarded-Host")+r.Target, "Cache-Control: max-age=3600")
			return
		}
		mirror(c, r)
	})
	h.ask(get("/redirect", "X-Forwarded-Scheme: nothttps", "X-Forwarded-Proto: nothttps", "X-Forwarded-Host: evil.example"))
	h.innocent(get("/redirect"), "evil")
}

// CORS headers made for one web origin are not given to another.
func TestPoisoningByOrigin(t *testing.T) {
	h := newHouse(t, "")
	h.origin.SetHandler(func(c *badorigin.Conn, r *badorigin.Request) {
		lines := []string{"Cache-Control: max-age=3600"}
		if o := r.Header.Get("Origin"); o != "" {
			lines = append(lines, "Access-Control-Allow-Origin: "+o, "Access-Control-Allow-Credentials: true")
		}
		c.Respond(200, r.Method+" "+r.Target+"\n", lines...)
	})
	h.ask(get("/cors", "Origin: https://evil.example"))
	h.innocent(get("/cors"), "evil")
}

// The response of the origin cannot give a client more than one response.
func TestResponseSplitting(t *testing.T) {
	h := newHouse(t, "")
	h.origin.SetHandler(func(c *badorigin.Conn, r *badorigin.Request) {
		if r.Path == "/split" {
			c.Send("HTTP/1.1 302 Found\r\nLocation: /a\r\nContent-Length: 0\r\n\r\n" + evilAnswer)
			return
		}
		mirror(c, r)
	})
	c := h.dial()
	answers, _ := h.exchange(c, get("/split")+get("/after"), silence)
	if len(answers) != 2 || answers[0].status != http.StatusFound || !strings.HasPrefix(answers[1].body, "GET /after\n") {
		t.Errorf("%v", answers)
	}
	h.innocent(get("/after"), "evil")
}

// Fields by which other caches show their insides, or are told what to do, do nothing.
func TestDebugFieldsDoNothing(t *testing.T) {
	h := newHouse(t, "")
	plain := h.ask(get("/debug"))
	for _, field := range []string{
		"Pragma: akamai-x-get-cache-key", "X-Cache-Debug: 1", "Fastly-Debug: 1", "X-Cache-Key: /evil", "Surrogate-Control: no-store",
		"X-Purge-Method: all", "Cache-Tag: evil", "X-Accel-Expires: 0",
	} {
		a := h.ask(get("/debug", field))
		names := func(a answer) (n []string) {
			for name := range a.header {
				if name != "Age" {
					n = append(n, name)
				}
			}
			slices.Sort(n)
			return n
		}
		if field != "Pragma: akamai-x-get-cache-key" && !a.hit() || !slices.Equal(names(a), names(plain)) || strings.Contains(a.header.Get("Cache-Status"), "key=") {
			t.Errorf("%s: %v", field, a)
		}
	}
}
