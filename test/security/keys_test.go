package security

import (
	"strings"
	"testing"

	"github.com/cacheproxy/cacheproxy/internal/badorigin"
)

// Two requests that the origin may answer differently never share an answer. The
// origin mirrors what it sees, so what is served must say what was asked.
func TestKeyConfusion(t *testing.T) {
	h := newHouse(t, "")
	ask := func(host, target string) string { return request("GET", target, "Host: "+host) }
	for name, pair := range map[string][2]string{
		"case of the path":            {ask("a", "/Path"), ask("a", "/path")},
		"an encoded slash":            {ask("a", "/x%2fy"), ask("a", "/x/y")},
		"an encoded question mark":    {ask("a", "/x%3fy"), ask("a", "/x?y")},
		"an encoded hash":             {ask("a", "/x%23y"), ask("a", "/x")},
		"an encoded percent sign":     {ask("a", "/x%2541"), ask("a", "/xA")},
		"an encoded semicolon":        {ask("a", "/x%3by"), ask("a", "/x;y")},
		"an encoded line end":         {ask("a", "/x%0d%0ay"), ask("a", "/xy")},
		"a parameter of the path":     {ask("a", "/x;a=b"), ask("a", "/x")},
		"a slash at the end":          {ask("a", "/x/"), ask("a", "/x")},
		"two slashes":                 {ask("a", "//x"), ask("a", "/x")},
		"a plus sign":                 {ask("a", "/x?a+b"), ask("a", "/x?a%20b")},
		"an encoded plus sign":        {ask("a", "/x?a%2Bb"), ask("a", "/x?a+b")},
		"an encoded ampersand":        {ask("a", "/x?a=1%26b=2"), ask("a", "/x?a=1&b=2")},
		"an encoded equals sign":      {ask("a", "/x?a%3D1"), ask("a", "/x?a=1")},
		"order of equal names":        {ask("a", "/x?p=1&p=2"), ask("a", "/x?p=2&p=1")},
		"a name twice":                {ask("a", "/x?q=1&q=1"), ask("a", "/x?q=1")},
		"an empty value":              {ask("a", "/x?r="), ask("a", "/x?r")},
		"parameters by semicolons":    {ask("a", "/x?s=1;t=2"), ask("a", "/x?s=1&t=2")},
		"a semicolon cut off":         {ask("a", "/x?s=1;t=3"), ask("a", "/x?s=1")},
		"the port":                    {ask("a:81", "/x"), ask("a", "/x")},
		"the port of https":           {ask("a:443", "/x"), ask("a", "/x")},
		"a name that ends another":    {ask("ab", "/x"), ask("a", "/bx")},
		"host and path run together":  {ask("a", "/b/x"), ask("a:8000", "/x")},
		"path and query run together": {ask("a", "/x%3Fu=1"), ask("a", "/x?u=1")},
		"injected separators":         {ask("a", "/x?u=1__v=2"), ask("a", "/x?u=1&v=2")},
		"unicode":                     {ask("a", "/x%C3%A9"), ask("a", "/xe%CC%81")},
		"overlong UTF-8":              {ask("a", "/x%C0%AFy"), ask("a", "/x/y")},
		"absolute form":               {request("GET", "http://b/x", "Host: a"), ask("a", "/x")},
		"asterisk":                    {request("OPTIONS", "*", "Host: a"), ask("a", "/")},
	} {
		t.Run(name, func(t *testing.T) {
			h.t = t
			for _, order := range [][2]string{pair, {pair[1], pair[0]}} {
				h.ask(order[0])
				h.own(order[1])
			}
		})
	}
}

// own asks, and fails the test where the answer is not the one to this very request.
func (h *house) own(text string) answer {
	h.t.Helper()
	a := h.ask(text)
	method, rest, _ := strings.Cut(text, " ")
	target, rest, _ := strings.Cut(rest, " ")
	_, host, _ := strings.Cut(rest, "Host: ")
	host, _, _ = strings.Cut(host, "\r\n")
	if other, ok := strings.CutPrefix(target, "http://"); ok {
		host, target, _ = strings.Cut(other, "/")
		target = "/" + target
	}
	if a.status == 200 && method == "GET" && (!strings.HasPrefix(strings.ToUpper(a.body), strings.ToUpper("GET "+target+"\n")) || !strings.Contains(a.body, "\nHost: "+host+"\n")) {
		h.t.Errorf("asked for %q, got %v", text, a)
	}
	return a
}

// Requests that mean the same share an answer: the origin is asked once. It sees the
// form that is in the key, so that it cannot mean another.
func TestKeyNormalForm(t *testing.T) {
	h := newHouse(t, "")
	for name, forms := range map[string][]string{
		"host": {
			request("GET", "/normal/host", "Host: shop.example"), request("GET", "/normal/host", "Host: SHOP.example"),
			request("GET", "/normal/host", "Host: shop.example:80"), request("GET", "/normal/host", "Host: shop.example."),
			request("GET", "/normal/host", "Host: shop.example.:80"), request("GET", "/normal/host", "Host: shop.example:"),
			request("GET", "/normal/host", "Host: shop.example:0080"), request("GET", "http://Shop.Example:80/normal/host", "Host: evil"),
		},
		"path": {
			request("GET", "/normal/a~b", "Host: a"), request("GET", "/normal/%61%7eb", "Host: a"), request("GET", "/normal/%61%7Eb", "Host: a"),
			request("GET", "/./normal/x/../a~b", "Host: a"), request("GET", "/normal/%2e/a~b", "Host: a"), request("GET", "/normal/x/%2E%2e/a~b", "Host: a"),
		},
		"query": {request("GET", "/normal/q?%61=%7e%c3", "Host: a"), request("GET", "/normal/q?a=~%C3", "Host: a")},
	} {
		t.Run(name, func(t *testing.T) {
			h.t = t
			before := len(h.origin.Requests())
			for i, text := range forms {
				if a := h.ask(text); a.status != 200 || a.hit() != (i > 0) {
					t.Errorf("%q: %v", text, a)
				}
			}
			if n := len(h.targets(before)); n != 1 {
				t.Errorf("the origin saw %q", h.targets(before))
			}
		})
	}
	// What has no safe form gets to no origin.
	before := len(h.origin.Requests())
	for _, text := range []string{
		request("GET", "/x/..%2fy", "Host: a"), request("GET", "/x/%2e%2e%2fy", "Host: a"), request("GET", "/x/..%5cy", "Host: a"), request("GET", "/x\\..\\y", "Host: a"),
		request("GET", "/x/%252e%252e/y", "Host: a"), request("GET", "/x/..;/y", "Host: a"), request("GET", "/x/.;a=b/y", "Host: a"), request("GET", "/x%00y", "Host: a"),
		request("GET", "/x%2500y", "Host: a"), request("GET", "/x%zz", "Host: a"), request("GET", "/x%", "Host: a"), request("GET", "/x#y", "Host: a"), request("GET", "x", "Host: a"),
		request("GET", "/x", "Host: "), request("GET", "/x", "Host: a..b"), request("GET", "/x", "Host: [::1"), request("GET", "/x", "Host: a:99999"), request("GET", "/x", "Host: a,b"),
		request("GET", "/x?%00", "Host: a"), request("GET", "ftp://a/x", "Host: a"),
	} {
		if a := h.ask(text); a.status != 400 {
			t.Errorf("%q: %v", text, a)
		}
	}
	h.seen(before)
}

// Ten thousand parameters and more are refused, by default and where more are
// allowed: they are not cut off, which would let two requests share a key.
func TestKeyTooManyParameters(t *testing.T) {
	many := func(n int, last string) string { return "/many?" + strings.Repeat("a&", n-1) + last }
	h := newHouse(t, "")
	if a := h.ask(get(many(1001, "evil"))); a.status != 400 {
		t.Errorf("%v", a)
	}
	h.seen(0)
	h = newHouse(t, "limits: { query_params: 20000, url_bytes: 100KiB, header_bytes: 100KiB }\nroutes: [{ name: all, cache: { key: { query: { mode: all, sort: true } } } }]\n")
	if a := h.ask(get(many(10_001, "evil"))); a.status != 200 || !strings.Contains(a.body, "evil") {
		t.Errorf("%d", a.status)
	}
	h.innocent(get(many(10_001, "good")), "evil")
	if n := h.origin.Count(""); n != 2 {
		t.Errorf("the origin saw %d requests", n)
	}
	if a := h.ask(get(many(20_001, "evil"))); a.status != 400 {
		t.Errorf("%d", a.status)
	}
}

// A variant is chosen by what the origin was sent.
func TestKeyVariants(t *testing.T) {
	h := newHouse(t, "")
	h.origin.SetHandler(func(c *badorigin.Conn, r *badorigin.Request) {
		c.Respond(200, reflection(r), "Cache-Control: max-age=3600", "Vary: X-Tenant, Cookie")
	})
	for i, fields := range [][]string{
		{"X-Tenant: a"}, {"X-Tenant: b"}, {"X-Tenant: a, b"}, {"X-Tenant: a", "X-Tenant: c"}, {"X-Tenant: c", "X-Tenant: a"}, {"X-Tenant: A"}, {},
		{"X-Tenant: a", "Cookie: b"}, {"X-Tenant: a b"}, {"X-Tenant:"},
	} {
		a := h.ask(get("/variants", fields...))
		want := []string{}
		for _, f := range fields {
			if v, ok := strings.CutPrefix(f, "X-Tenant: "); ok {
				want = append(want, v)
			}
		}
		if line := "\nX-Tenant: " + strings.Join(want, ", ") + "\n"; len(want) > 0 && !strings.Contains(a.body, line) || len(fields) == 0 && strings.Contains(a.body, "X-Tenant") {
			t.Errorf("%d, %v: %v", i, fields, a)
		}
	}
	if n := h.origin.Count("/variants"); n < 9 {
		t.Errorf("the origin saw %d requests of 10 that differ", n)
	}
}
