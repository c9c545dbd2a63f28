package security

import (
	"bufio"
	"fmt"
	"strings"
	"testing"

	"github.com/cacheproxy/cacheproxy/internal/badorigin"
)

// raw answers with text as it is.
func raw(text string) badorigin.Handler {
	return func(c *badorigin.Conn, _ *badorigin.Request) { c.Send(text) }
}

// rawAndClose answers with text as it is and ends the connection.
func rawAndClose(text string) badorigin.Handler {
	return func(c *badorigin.Conn, _ *badorigin.Request) {
		c.Send(text)
		c.Close()
	}
}

// A response that breaks the rules is made right or replaced by an error of ours,
// is never the answer to somebody else, and is not served from the cache in a form
// that the origin did not mean.
func TestMalformedResponses(t *testing.T) {
	const fresh = "Cache-Control: max-age=3600\r\n"
	long := strings.Repeat("x", 1<<20)
	for _, tt := range []struct {
		name   string
		method string
		answer badorigin.Handler
		want   int    // status; 0: the connection breaks, or the status does not matter
		body   string // where want is 200
	}{
		{"a bare CR in a value", "GET", raw("HTTP/1.1 200 OK\r\n" + fresh + "X: a\rSet-Cookie: evil=1\r\nContent-Length: 2\r\n\r\nok"), 502, ""},
		{"NUL in a value", "GET", raw("HTTP/1.1 200 OK\r\n" + fresh + "X: a\x00evil\r\nContent-Length: 2\r\n\r\nok"), 502, ""},
		{"a bare CR in the reason", "GET", raw("HTTP/1.1 200 O\rSet-Cookie: evil=1\r\n" + fresh + "Content-Length: 2\r\n\r\nok"), 200, "ok"},
		{"a folded line", "GET", raw("HTTP/1.1 200 OK\r\n" + fresh + "X: a\r\n Set-Cookie: evil=1\r\nContent-Length: 2\r\n\r\nok"), 200, "ok"},
		{"a folded length", "GET", raw("HTTP/1.1 200 OK\r\n" + fresh + "Content-Length:\r\n 2\r\n\r\nok"), 200, "ok"},
		{"a space before the colon", "GET", raw("HTTP/1.1 200 OK\r\n" + fresh + "Content-Length : 2\r\n\r\nok"), 502, ""},
		{"a reason of 1 MiB", "GET", raw("HTTP/1.1 200 " + long + "\r\n" + fresh + "Content-Length: 2\r\n\r\nok"), 502, ""},
		{"a field of 1 MiB", "GET", raw("HTTP/1.1 200 OK\r\nX: " + long + "\r\n" + fresh + "Content-Length: 2\r\n\r\nok"), 502, ""},
		{"a status of two digits", "GET", raw("HTTP/1.1 20 OK\r\n" + fresh + "Content-Length: 2\r\n\r\nok"), 502, ""},
		{"another protocol", "GET", rawAndClose("ICY 200 OK\r\n" + fresh + "\r\nok"), 502, ""},
		{"two lengths", "GET", raw("HTTP/1.1 200 OK\r\n" + fresh + "Content-Length: 2\r\nContent-Length: 20\r\n\r\nok"), 502, ""},
		{"a length with a sign", "GET", raw("HTTP/1.1 200 OK\r\n" + fresh + "Content-Length: +2\r\n\r\nok"), 502, ""},
		{"length and coding", "GET", raw("HTTP/1.1 200 OK\r\n" + fresh + "Content-Length: 200\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"), 200, "ok"},
		{"a coding that does not exist", "GET", rawAndClose("HTTP/1.1 200 OK\r\n" + fresh + "Transfer-Encoding: xchunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"), 502, ""},
		{"a chunk with a bare LF", "GET", rawAndClose("HTTP/1.1 200 OK\r\n" + fresh + "Transfer-Encoding: chunked\r\n\r\n2\nok\r\n0\r\n\r\n"), 0, ""},
		{"a chunk that goes on", "GET", rawAndClose("HTTP/1.1 200 OK\r\n" + fresh + "Transfer-Encoding: chunked\r\n\r\n1\r\nok\r\n0\r\n\r\n"), 0, ""},
		{"more after the content", "GET", raw("HTTP/1.1 200 OK\r\n" + fresh + "Content-Length: 2\r\n\r\nok" + evilAnswer), 200, "ok"},
		{"more after the last chunk", "GET", raw("HTTP/1.1 200 OK\r\n" + fresh + "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n" + evilAnswer), 200, "ok"},
		{"a 204 with content", "GET", raw("HTTP/1.1 204 No Content\r\nContent-Length: 96\r\n\r\n" + evilAnswer), 204, ""},
		{"a 304 with content", "GET", raw("HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 96\r\n\r\n" + evilAnswer), 0, ""},
		{"a 103 with content", "GET", raw("HTTP/1.1 103 Early Hints\r\nContent-Length: 96\r\n\r\n" + evilAnswer), 502, ""},
		{"a 103 with chunks", "GET", raw("HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n60\r\n" + evilAnswer + "\r\n0\r\n\r\n"), 502, ""},
		{"a 100 with a length", "GET", raw("HTTP/1.1 100 Continue\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), 502, ""},
		{"content after HEAD", "HEAD", raw("HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 96\r\n\r\n" + evilAnswer), 200, ""},
		{"a 101 that nobody asked for", "GET", raw("HTTP/1.1 101 Switching Protocols\r\nUpgrade: evil\r\nConnection: Upgrade\r\n\r\n" + evilAnswer), 502, ""},
		{"no answer", "GET", badorigin.Hangup(), 502, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t, "upstreams: { origin: { targets: [{ url: ORIGIN }], max_connections: 1 } }\ndefault_upstream: origin\n")
			h.origin.SetHandler(func(c *badorigin.Conn, r *badorigin.Request) {
				if r.Path == "/malformed" {
					tt.answer(c, r)
					return
				}
				mirror(c, r)
			})
			ask := func() (answer, error) {
				c := h.dial()
				send(t, c, request(tt.method, "/malformed", "Host: a"))
				return readAnswer(bufio.NewReader(c), tt.method)
			}
			// A request of somebody else waits for the only connection meanwhile, and must not get what is left on it.
			waiting := make(chan string, 3)
			a, err := ask()
			for i := range cap(waiting) {
				go func() {
					c := h.dial()
					if _, err := c.Write([]byte(get(fmt.Sprintf("/innocent/%d", i)))); err != nil {
						waiting <- err.Error()
						return
					}
					a, err := readAnswer(bufio.NewReader(c), "GET")
					if err == nil && strings.HasPrefix(a.body, fmt.Sprintf("GET /innocent/%d\n", i)) && !strings.Contains(fmt.Sprint(a), "evil") {
						waiting <- ""
						return
					}
					waiting <- fmt.Sprint(a, err)
				}()
			}
			again, errAgain := ask()
			for range cap(waiting) {
				if got := <-waiting; got != "" {
					t.Errorf("the innocent client got %s", got)
				}
			}
			for i, got := range []answer{a, again} {
				if err := []error{err, errAgain}[i]; tt.want != 0 && (err != nil || got.status != tt.want) {
					t.Errorf("time %d: %v, %v; want %d", i+1, got, err, tt.want)
				}
				if tt.want == 200 && tt.method == "GET" && got.body != tt.body {
					t.Errorf("time %d: %v", i+1, got)
				}
				if strings.Contains(got.body, "evil") || got.header.Get("Set-Cookie") != "" {
					t.Errorf("time %d: %v", i+1, got)
				}
				if tt.want == 0 && got.status == 200 && err == nil && errAgain == nil && got.hit() {
					t.Errorf("time %d: served from the cache: %v", i+1, got)
				}
			}
		})
	}
}

// evilAnswer is what an attacker has made the origin put behind an answer. It has 96 bytes.
const evilAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 24\r\nCache-Control: max-age=31536000\r\n\r\n<script>evil()</script>\n"
