package security

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cacheproxy/cacheproxy/internal/badorigin"
)

// fussy is an origin that refuses what many refuse, and lets its errors be cached,
// as servers do that add a lifetime to everything.
func fussy(lifetime string) badorigin.Handler {
	return func(c *badorigin.Conn, r *badorigin.Request) {
		status := 200
		head := strings.ToLower(string(r.Raw))
		switch {
		case len(r.Raw) > 8<<10:
			status = 400
		case strings.ContainsAny(strings.ReplaceAll(head, "\r\n", ""), "\r\n\a\x00"):
			status = 400
		case strings.Contains(head, "method-override"), strings.Contains(head, "x-http-method"):
			status = 405
		case r.Method != "GET":
			status = 404
		case strings.Contains(head, "range: bytes=9"):
			status = 416
		case strings.Contains(head, "if-match"):
			status = 412
		case strings.Contains(head, "expect:"):
			status = 417
		case strings.Contains(head, "x-forwarded-proto: nothttps"), strings.Contains(head, "x-forwarded-port"):
			status = 301
		case strings.Contains(head, "content-type: evil"), strings.Contains(head, "transfer-encoding"), len(r.Body) > 0:
			status = 400
		}
		body := reflection(r)
		if status != 200 {
			body = "error"
		}
		lines := []string{"Cache-Control: " + lifetime}
		if lifetime == "" {
			lines = nil
		}
		c.Respond(status, body, lines...)
	}
}

// By one request that is refused, a page is not taken from everybody: cache-poisoned
// denial of service. The origin lets its errors be cached, or says nothing.
func TestErrorCaching(t *testing.T) {
	big := strings.Repeat("x", 12<<10)
	for _, lifetime := range []string{"max-age=3600", ""} {
		h := newHouse(t, "")
		h.origin.SetHandler(fussy(lifetime))
		cases := 0
		for name, text := range map[string]func(string) string{
			"an oversize header": func(p string) string { return get(p, "X-Oversize: "+big) },
			"many headers": func(p string) string {
				return get(p, strings.Split(strings.Repeat("X-Many: y\n", 900)+"X-Many: y", "\n")...)
			},
			"an oversize cookie":          func(p string) string { return get(p, "Cookie: a="+big) },
			"too large for us":            func(p string) string { return get(p, "X-Oversize: "+strings.Repeat(big, 4)) },
			"a bell":                      func(p string) string { return get(p, "X-Meta: a\ab") },
			"a line end":                  func(p string) string { return get(p, "X-Meta: a\nb") },
			"a carriage return":           func(p string) string { return get(p, "X-Meta: a\rb") },
			"a zero byte":                 func(p string) string { return get(p, "X-Meta: a\x00b") },
			"method override":             func(p string) string { return get(p, "X-HTTP-Method-Override: POST") },
			"method override, another":    func(p string) string { return get(p, "X-Method-Override: DELETE", "X-HTTP-Method: PUT") },
			"method override, underscore": func(p string) string { return get(p, "X_HTTP_Method_Override: DELETE") },
			"another method":              func(p string) string { return request("OPTIONS", p, "Host: shop.example") },
			"a method of his own":         func(p string) string { return request("EVIL", p, "Host: shop.example") },
			"HEAD":                        func(p string) string { return request("HEAD", p, "Host: shop.example") },
			"a range that cannot be":      func(p string) string { return get(p, "Range: bytes=99999-") },
			"a condition that fails":      func(p string) string { return get(p, `If-Match: "nothing"`) },
			"an expectation":              func(p string) string { return get(p, "Expect: 100-continue", "Content-Length: 0") },
			"an expectation that is none": func(p string) string { return get(p, "Expect: evil") },
			"a scheme that is none":       func(p string) string { return get(p, "X-Forwarded-Proto: nothttps", "X-Forwarded-Scheme: nothttps") },
			"a port":                      func(p string) string { return get(p, "X-Forwarded-Port: 1") },
			"a content type":              func(p string) string { return get(p, "Content-Type: evil") },
			"a body":                      func(p string) string { return get(p, "Content-Length: 4") + "evil" },
			"a coding that is none":       func(p string) string { return get(p, "Transfer-Encoding: evil") },
			"an upgrade":                  func(p string) string { return get(p, "Connection: Upgrade", "Upgrade: evil/1") },
			"a version that is none":      func(p string) string { return "GET " + p + " HTTP/9.9\r\nHost: shop.example\r\n\r\n" },
		} {
			t.Run(name+" "+lifetime, func(t *testing.T) {
				h.t = t
				cases++
				target := fmt.Sprintf("/errors/%d", cases)
				h.exchange(h.dial(), text(target), silence/3)
				h.innocent(get(target))
			})
		}
	}
}

// An origin that fails once does not fail everybody for longer.
func TestErrorOfTheOriginPasses(t *testing.T) {
	h := newHouse(t, "")
	for _, status := range []int{400, 403, 429, 500, 502, 503, 504} {
		h.origin.SetHandler(func(c *badorigin.Conn, r *badorigin.Request) { c.Respond(status, "error") })
		target := "/passes/" + strings.Repeat("x", status-399)
		if a := h.ask(get(target)); a.status != status {
			t.Errorf("%v", a)
		}
		h.origin.SetHandler(mirror)
		h.innocent(get(target))
	}
}
