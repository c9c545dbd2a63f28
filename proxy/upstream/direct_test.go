package upstream

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/internal/badorigin"
)

// What an origin sends beyond its response, at once or a little later, is no
// answer to whoever gets the connection next (RFC 9112, section 9.2).
func TestRestOnAKeptLineIsNoAnswer(t *testing.T) {
	const evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
	for _, tt := range []struct {
		name   string
		method string
		send   badorigin.Handler
	}{
		{"in one piece", "GET", func(c *badorigin.Conn, _ *badorigin.Request) {
			c.Send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood" + evil)
		}},
		{"after it", "GET", func(c *badorigin.Conn, _ *badorigin.Request) {
			c.Send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood")
			time.Sleep(5 * time.Millisecond)
			c.Send(evil)
		}},
		{"a body of HEAD", "HEAD", func(c *badorigin.Conn, _ *badorigin.Request) {
			c.Send("HTTP/1.1 200 OK\r\nContent-Length: " + fmt.Sprint(len(evil)) + "\r\n\r\n" + evil)
		}},
		{"a body of 304", "GET", func(c *badorigin.Conn, _ *badorigin.Request) {
			c.Send("HTTP/1.1 304 Not Modified\r\n\r\n" + evil)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			origin := badorigin.New(t, badorigin.Routes(map[string]badorigin.Handler{"/long": tt.send, "/next": badorigin.OK("fine")}))
			u := reach(t, origin.URL)
			for range 20 {
				first, err := u.RoundTrip(request(t, tt.method, "/long", nil))
				if err != nil {
					t.Fatal(err)
				}
				if body, err := io.ReadAll(first.Body); err != nil || strings.Contains(string(body), "evil") {
					t.Fatalf("got %q, %v", body, err)
				}
				first.Body.Close()
				time.Sleep(10 * time.Millisecond) // for what comes a little later
				if _, body, err := get(t, u, "/next"); err != nil || body != "fine" {
					t.Fatalf("the next request got %q, %v", body, err)
				}
			}
		})
	}
}

// A line that nobody uses is closed after the idle time.
func TestLinesExpire(t *testing.T) {
	origin := badorigin.New(t, badorigin.OK("fine"))
	u := reach(t, origin.URL, func(o *Options) { o.Timeout.Idle = 50 * time.Millisecond })
	if _, _, err := get(t, u, "/"); err != nil {
		t.Fatal(err)
	}
	if n := u.Stats().Targets[0].Connections; n != 1 {
		t.Fatalf("%d connections are kept, want 1", n)
	}
	for end := time.Now().Add(5 * time.Second); u.Stats().Targets[0].Connections > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the connection is kept for ever")
		}
	}
	if _, body, err := get(t, u, "/"); err != nil || body != "fine" {
		t.Fatalf("got %q, %v", body, err)
	}
}

// Connections with and without content do not exceed the limit together.
func TestLinesAndTransportShareTheLimit(t *testing.T) {
	origin := badorigin.New(t, badorigin.OK("fine"))
	u := reach(t, origin.URL, func(o *Options) { o.MaxConnections = 2 })
	for i := range 20 {
		held := make([]*http.Response, 0, 2)
		for range 2 {
			r, err := u.RoundTrip(request(t, []string{"GET", "POST"}[i%2], "/", nil))
			if err != nil {
				t.Fatal(err)
			}
			held = append(held, r)
		}
		if n := u.Stats().Targets[0].Connections; n > 2 {
			t.Fatalf("round %d: %d connections are open, want at most 2", i, n)
		}
		for _, r := range held {
			io.Copy(io.Discard, r.Body) // so that the connection is kept
			r.Body.Close()
		}
	}
}

// The bytes of a request: all fields, each line for itself, none that the head does
// not carry.
func TestRequestAsItIsWritten(t *testing.T) {
	for _, tt := range []struct {
		url, host string
		header    http.Header
		want      string
	}{
		{"http://a/x%2fy?q=1;2", "shop:81", http.Header{"A": {"1", "2"}}, "GET /x%2fy?q=1;2 HTTP/1.1\r\nHost: shop:81\r\nA: 1\r\nA: 2\r\n\r\n"},
		{"http://a", "shop", http.Header{"User-Agent": {""}, "Content-Length": {"9"}, "Transfer-Encoding": {"chunked"}, "Host": {"evil"}}, "GET / HTTP/1.1\r\nHost: shop\r\n\r\n"},
		{"http://a/?", "shop", http.Header{"User-Agent": {"curl"}}, "GET /? HTTP/1.1\r\nHost: shop\r\nUser-Agent: curl\r\n\r\n"},
	} {
		req := request(t, "GET", "/", nil)
		u, err := req.URL.Parse(tt.url)
		if err != nil {
			t.Fatal(err)
		}
		req.URL, req.Header, req.Host = u, tt.header, tt.host
		if !isUsual(req) {
			t.Errorf("%s is not usual", tt.url)
		}
		if got := string(appendRequest(nil, req, tt.host)); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

// What could be read as more than one field or request is left to net/http, which
// refuses it.
func TestUnusualRequests(t *testing.T) {
	for _, change := range []func(*http.Request){
		func(r *http.Request) { r.Header["X"] = []string{"a\r\nY: b"} },
		func(r *http.Request) { r.Header["X"] = []string{"a\x00"} },
		func(r *http.Request) { r.Header["X: y\r\nZ"] = []string{"a"} },
		func(r *http.Request) { r.Header["Upgrade"] = []string{"websocket"} },
		func(r *http.Request) { r.URL.RawQuery = "a b" },
		func(r *http.Request) { r.URL.RawQuery = "a\r\nX: y" },
		func(r *http.Request) { r.URL.Opaque = "//evil/" },
		func(r *http.Request) { r.Host = "" },
		func(r *http.Request) { r.Host = "a\r\nX: y" },
		func(r *http.Request) { r.Host = "b\u00fccher" },
		func(r *http.Request) { r.Host = "[fe80::1%25eth0]" },
	} {
		req := request(t, "GET", "/", nil)
		change(req)
		if isUsual(req) {
			t.Errorf("%v %q %v is usual", req.URL, req.Host, req.Header)
		}
	}
}
