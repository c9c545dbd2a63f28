package conformance

import (
	"testing"

	"github.com/cacheproxy/cacheproxy/internal/badorigin"
)

// testLiberal asks what the settings of liberal.yaml permit.
func testLiberal(t *testing.T, w *world) {
	const fresh = "Cache-Control: max-age=60"
	part := func(lines ...string) badorigin.Handler {
		return func(c *badorigin.Conn, _ *badorigin.Request) {
			c.Respond(206, "01234", append([]string{fresh, "Step: 1", "Content-Range: bytes 0-4/10"}, lines...)...)
		}
	}
	w.ask(t, []question{
		stored("Set-Cookie", hit, fresh, "Set-Cookie: a=b"), // store.set_cookie
		{"a 304 changes Set-Cookie", []step{
			{lines: append(stale(""), `ETag: "a"`, "Set-Cookie: a=b"), want: fetched},
			{status: 304, lines: []string{fresh, `ETag: "a"`, "Set-Cookie: a=c"}, want: confirmed, wantStatus: 200, wantFields: map[string]string{"Set-Cookie": "a=c"}},
		}},
		{"the order of languages", []step{ // vary.sort
			{send: []string{"Accept-Language: en, de"}, lines: []string{fresh, "Vary: Accept-Language"}, want: fetched},
			{send: []string{"Accept-Language: de, en"}, want: hit},
			{send: []string{"Accept-Language: de"}, want: fetched},
		}},
		{"a part is completed", []step{ // complete_ranges; RFC 9111, 3.4
			{send: []string{"Range: bytes=0-4"}, origin: part(`ETag: "a"`), want: fetched, wantStatus: 206},
			{origin: func(c *badorigin.Conn, _ *badorigin.Request) {
				c.Respond(206, "56789", "Step: 2", fresh, `ETag: "a"`, "Content-Range: bytes 5-9/10")
			}, want: fetched, wantStatus: 200, wantBody: "0123456789", wantAsked: map[string]string{"Range": "bytes=5-", "If-Range": `"a"`}, wantFields: map[string]string{"Content-Length": "10", "Content-Range": ""}},
			{want: hit, wantBody: "0123456789"},
		}},
		{"parts without a strong validator are not put together", []step{
			{send: []string{"Range: bytes=0-4"}, origin: part(`ETag: W/"a"`), want: fetched, wantStatus: 206},
			{origin: func(c *badorigin.Conn, r *badorigin.Request) {
				if r.Header.Get("Range") != "" {
					c.Respond(206, "56789", "Step: 2", fresh, `ETag: W/"a"`, "Content-Range: bytes 5-9/10")
					return
				}
				c.Respond(200, "all of it", "Step: 2", fresh, `ETag: W/"a"`)
			}, want: fetched, wantStatus: 200, wantBody: "all of it"},
			{want: hit, wantBody: "all of it"},
		}},
	})

	t.Run("a POST that says what a GET would get", func(t *testing.T) { // store.post; RFC 9110, 9.3.3
		t.Parallel()
		path := uniquePath(t)
		w.step(t, path, 1, step{method: "POST", lines: []string{fresh, "Content-Location: " + path}, want: fetched})
		w.step(t, path, 2, step{want: hit})
	})
}
