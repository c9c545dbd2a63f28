package conformance

import (
	"testing"

	"github.com/cacheproxy/cacheproxy/internal/badorigin"
)

// testUpdates asks what a 304 changes in a stored response (RFC 9111, 3.2 and
// 4.3.4), and what a response to HEAD does (4.3.5).
func testUpdates(t *testing.T, w *world) {
	const fresh, tag = "Cache-Control: max-age=60", `ETag: "a"`
	var questions []question
	update := func(name, before, after, want string) {
		old := append(stale(""), tag)
		if before != "" {
			old = append(old, name+": "+before)
		}
		questions = append(questions, question{"304 with " + name + " " + after, []step{
			{lines: old, want: fetched},
			{status: 304, lines: []string{fresh, tag, name + ": " + after}, want: confirmed, wantStatus: 200, wantFields: map[string]string{name: want}},
			{want: hit, wantFields: map[string]string{name: want}},
		}})
	}
	for name, values := range map[string][2]string{
		"Test-Header":             {"one", "two"},
		"X-Test-Header":           {"one", "two"},
		"Content-Foo":             {"one", "two"},
		"X-Content-Foo":           {"one", "two"},
		"Content-Location":        {"/foo", "/bar"},
		"Content-MD5":             {"rL0Y20zC+Fzt72VPzMSk2A==", "N7UdGUp1E+RbVvZSTy1R8g=="},
		"Content-Security-Policy": {"default-src 'self'", "default-src 'none'"},
		"Clear-Site-Data":         {"\"cache\"", "\"cookies\""},
		"Expires":                 {"Fri, 01 Jan 2038 01:01:01 GMT", "Mon, 11 Jan 2038 11:11:11 GMT"},
		"Public-Key-Pins":         {"one", "two"},
		"Set-Cookie2":             {"a=b", "a=c"},
		"X-Frame-Options":         {"deny", "sameorigin"},
		"X-XSS-Protection":        {"1", "1; mode=block"},
		"New-Header":              {"", "two"},
	} {
		update(name, values[0], values[1], values[1])
	}
	// What describes the content that is stored stays, since no other came.
	for name, values := range map[string][2]string{
		"Content-Encoding": {"x-one", "x-two"},
		"Content-Type":     {"text/plain", "text/html"},
		"Content-Range":    {"", "bytes 0-1/2"},
	} {
		update(name, values[0], values[1], values[0])
	}
	for name, value := range map[string]string{
		"Keep-Alive": "timeout=5", "Proxy-Authenticate": "Basic realm=a", "Proxy-Connection": "close", "Upgrade": "h2c", "Set-Cookie": "a=b",
	} {
		update(name, "", value, "")
	}
	questions = append(questions,
		question{"304 with Content-Length", []step{
			{lines: append(stale(""), tag), want: fetched, wantFields: map[string]string{"Content-Length": "6"}},
			{status: 304, lines: []string{fresh, tag, "Content-Length: 10"}, want: confirmed, wantStatus: 200, wantFields: map[string]string{"Content-Length": "6"}},
			{want: hit, wantFields: map[string]string{"Content-Length": "6"}},
		}},
		question{"304 without a field leaves it", []step{
			{lines: append(stale(""), tag, "Test-Header: one"), want: fetched},
			{status: 304, lines: []string{fresh, tag}, want: confirmed, wantStatus: 200, wantFields: map[string]string{"Test-Header": "one"}},
		}},
		question{"304 without an Age starts anew", []step{
			{lines: append(stale(""), tag), want: fetched},
			{status: 304, lines: []string{tag}, want: confirmed, wantStatus: 200, wantFields: map[string]string{"Age": "0"}},
			{want: hit},
		}},
		question{"304 with a new lifetime", []step{
			{lines: append(stale(""), tag), want: fetched},
			{status: 304, lines: []string{tag, "Cache-Control: max-age=0"}, want: confirmed, wantStatus: 200},
			{status: 304, lines: []string{tag}, want: confirmed, wantStatus: 200},
		}},
		question{"304 with another tag confirms nothing", []step{
			{lines: append(stale(""), tag), want: fetched},
			// The origin is asked again, without a condition.
			{origin: func(c *badorigin.Conn, r *badorigin.Request) {
				if r.Header.Get("If-None-Match") != "" {
					c.Respond(304, "", `ETag: "b"`)
					return
				}
				c.Respond(200, "body 2", "Step: 2", `ETag: "b"`)
			}, want: fetched, wantStatus: 200, wantFields: map[string]string{"Etag": `"b"`}},
		}},
		question{"304 to a request without a condition is no answer to store", []step{
			{status: 304, lines: []string{fresh, tag, "Step: 1"}, want: fetched},
			{want: fetched},
		}},
		question{"a miss by HEAD asks for the whole", []step{
			{method: "HEAD", origin: func(c *badorigin.Conn, r *badorigin.Request) {
				c.Respond(200, "body 1", "Step: 1", fresh, "Asked-By: "+r.Method)
			}, want: fetched, wantFields: map[string]string{"Asked-By": "GET", "Content-Length": "6"}},
			{want: hit},
		}},
	)
	w.ask(t, questions)
}
