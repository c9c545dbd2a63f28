package security

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cacheproxy/cacheproxy/internal/badorigin"
)

// secret is on the page that only its user may see.
const secret = "the secret of the victim"

// A forgiving origin answers with the account page whatever comes after its name,
// as origins do that map paths to handlers, cut off parameters, or decode first.
func forgiving(fields ...string) badorigin.Handler {
	return func(c *badorigin.Conn, r *badorigin.Request) {
		if !strings.HasPrefix(r.Target, "/account") {
			c.Respond(200, "another page", "Cache-Control: max-age=60")
			return
		}
		page := "please log in"
		if strings.Contains(r.Header.Get("Cookie"), "sid=victim") {
			page = secret
		}
		c.Respond(200, page, append([]string{"Content-Type: text/html; charset=utf-8"}, fields...)...)
	}
}

// suffixes make a page look like something that everybody may have.
var suffixes = []string{
	"/x.css", "/x.js", "/logo.png", "/x.woff2", ".css", "/.css", ";x.css", ";/x.css", "/;x.css", "%3bx.css", "%23x.css", "%3fx.css", "%3Fx=1.css",
	"%2fx.css", "%2Fstatic%2Fx.css", "%0ax.css", "%0d%0ax.css", "%09x.css", "%20x.css", "%00x.css", "%2500.css", "%5cx.css", "$x.css", "!x.css", ",x.css",
	"~x.css", "@x.css", "|x.css", "%7cx.css", "%ffx.css", "/..%2fx.css", "/%2e%2e/x.css", "/..;/x.css", "?x.css", "?a=/x.css", "/x.css?y", "//x.css", "/x.css/", "/x.CSS",
	"/static/..%2f..%2faccount/x.css", "%252fx.css", "/x.css%00.html", "%u002fx.css", "#x.css",
}

// A victim is led to his page under the name of a file, with rules that cache files.
// Nobody else gets his page, whatever the origin says of it, or if it says nothing.
func TestDeception(t *testing.T) {
	for name, fields := range map[string][]string{
		"private":    {"Cache-Control: private"},
		"no-store":   {"Cache-Control: no-store"},
		"no-cache":   {"Cache-Control: no-cache"},
		"a cookie":   {"Set-Cookie: sid=victim"},
		"by cookie":  {"Cache-Control: max-age=60", "Vary: Cookie"},
		"not a word": nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, `
routes:
  - { name: files, match: { paths: ["/**/*.css", "/**/*.js", "/**/*.png", "/**/*.woff2", "/*.css", "/**.css"] }, cache: { ttl: 1h } }
  - { name: static, match: { paths: ["/static/**"] }, cache: { ttl: 1h } }
`)
			h.origin.SetHandler(forgiving(fields...))
			for _, suffix := range suffixes {
				h.ask(get("/account"+suffix, "Cookie: sid=victim"))
				for range 2 {
					if a := h.ask(get("/account" + suffix)); strings.Contains(a.body, secret) {
						t.Errorf("/account%s: a stranger gets %v", suffix, a)
					}
				}
			}
		})
	}
}

// A rule for a folder does not catch what the origin takes for another folder: the
// path that the rule is compared with is the one that is sent.
func TestDeceptionByPrefix(t *testing.T) {
	h := newHouse(t, `routes: [{ name: static, match: { paths: ["/static/**"] }, cache: { ttl: 1h, respect_origin: false } }]`+"\n")
	h.origin.SetHandler(func(c *badorigin.Conn, r *badorigin.Request) {
		c.Respond(200, fmt.Sprintf("%s %s\n%s", r.Method, r.Target, r.Header.Get("Cookie")), "Cache-Control: private")
	})
	for _, path := range []string{
		"/static/../account", "/static/%2e%2e/account", "/static/..%2faccount", "/static/..%5caccount", "/static/..;/account",
		"/static/.%2e/account", "/static/%252e%252e%252faccount", "/static/..%00/account", "/static%2f../account", "/static%2f..%2faccount",
		"/static\\..\\account", "//static/../account", "/./static/../account", "/static/x/../../account", "/static/..#/account",
	} {
		h.ask(get(path, "Cookie: sid=victim"))
		if a := h.ask(get(path)); strings.Contains(a.body, "victim") {
			t.Errorf("%s: a stranger gets %v", path, a)
		}
	}
	for _, r := range h.origin.Requests() {
		if strings.Contains(r.Target, "static") && strings.Contains(r.Target, "account") {
			t.Errorf("the rule for /static/ has let %q through", r.Target)
		}
	}
}

// A file that is one is cached by the same rule.
func TestDeceptionLeavesFilesAlone(t *testing.T) {
	h := newHouse(t, `routes: [{ name: files, match: { paths: ["/**/*.css"] }, cache: { ttl: 1h } }]`+"\n")
	h.origin.SetHandler(badorigin.OK("p {}", "Content-Type: text/css"))
	h.ask(get("/a/x.css", "Cookie: sid=victim"))
	if a := h.ask(get("/a/x.css")); !a.hit() {
		t.Errorf("%v", a)
	}
}
