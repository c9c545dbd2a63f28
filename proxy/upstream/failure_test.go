package upstream

import (
	"io"
	"net"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/internal/badorigin"
)

func TestFailures(t *testing.T) {
	never := make(chan struct{})
	short := func(d *time.Duration) { *d = 150 * time.Millisecond }
	tests := []struct {
		name   string
		origin badorigin.Handler
		change func(*Options)
		method string
		kind   Kind
		status int
		says   string
	}{
		{"never answers", badorigin.SlowHead(never, nil), func(o *Options) { short(&o.Timeout.ResponseHeader) }, "GET", Timeout, 504, "timeout"},
		{"half a head, then nothing", func(c *badorigin.Conn, _ *badorigin.Request) {
			c.Send("HTTP/1.1 200 OK\r\nContent-")
			c.Wait(never)
		}, func(o *Options) { short(&o.Timeout.ResponseHeader) }, "GET", Timeout, 504, "timeout"},
		{"stalls in the body", badorigin.SlowBody(never, []string{"x"}), func(o *Options) { short(&o.Timeout.Idle) }, "GET", IdleTimeout, 504, "idle"},
		{"closes without an answer", badorigin.Hangup(), nil, "GET", Broken, 502, "without an answer"},
		{"closes a POST without an answer", badorigin.Hangup(), nil, "POST", Broken, 502, ""},
		{"resets without an answer", func(c *badorigin.Conn, _ *badorigin.Request) { c.Reset() }, nil, "GET", Broken, 502, "reset"},
		{"closes within the head", func(c *badorigin.Conn, _ *badorigin.Request) {
			c.Send("HTTP/1.1 200 OK\r\nContent-")
			c.Close()
		}, nil, "GET", Broken, 502, ""},
		{"a short body", badorigin.Short(100, "half"), nil, "GET", Broken, 502, "unexpected EOF"},
		{"a body without its last chunk", badorigin.NoLastChunk([]string{"a", "b"}), nil, "GET", Broken, 502, "unexpected EOF"},
		{"resets within the body", badorigin.Reset(nil, 100, "half"), nil, "GET", Broken, 502, ""},
		{"an endless head", badorigin.EndlessHead(), nil, "GET", Malformed, 502, "exceeded 262144 bytes"},
		{"an endless line", badorigin.EndlessLine(), nil, "GET", Malformed, 502, "exceeded 262144 bytes"},
		{"endless interim responses", badorigin.Interim(103, -1, nil, "Link: </a>"), nil, "GET", Malformed, 502, "interim"},
		{"garbage", badorigin.Garbage("SSH-2.0-OpenSSH\r\n"), nil, "GET", Malformed, 502, "malformed"},
		{"a length that is no number", badorigin.BadLength("ten", "0123456789"), nil, "GET", Malformed, 502, "Content-Length"},
		{"a chunk without a length", func(c *badorigin.Conn, _ *badorigin.Request) {
			c.Head(200, "Transfer-Encoding: chunked")
			c.Send("no length\r\n")
			c.Wait(never)
		}, nil, "GET", Malformed, 502, "chunk"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			origin := badorigin.New(t, tt.origin)
			u := reach(t, origin.URL)
			if tt.change != nil {
				u = reach(t, origin.URL, tt.change)
			}
			response, err := u.RoundTrip(request(t, tt.method, "/", nil))
			if err == nil {
				_, err = io.Copy(io.Discard, response.Body)
				if _, again := response.Body.Read(make([]byte, 1)); again != err {
					t.Errorf("the second Read returns %v, the first %v", again, err)
				}
				response.Body.Close()
			}
			wantError(t, u, err, tt.kind, tt.status)
			if err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("the error %q does not say %q", err, tt.says)
			}
			if n := origin.Count(""); n != 1 {
				t.Errorf("the origin got %d requests, want 1", n)
			}
		})
	}
}

// The hook of a caller must not undo the limit, nor the limit the hook.
func TestInterimResponsesReachTheCallerUpToALimit(t *testing.T) {
	for _, tt := range []struct {
		n  int
		ok bool
	}{{maxInterim, true}, {maxInterim + 1, false}} {
		origin := badorigin.New(t, badorigin.Interim(103, tt.n, badorigin.OK("done"), "Link: </style.css>"))
		u := reach(t, origin.URL)
		var mu sync.Mutex
		seen := 0
		req := request(t, "GET", "/", nil)
		req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
			Got1xxResponse: func(int, textproto.MIMEHeader) error {
				mu.Lock()
				defer mu.Unlock()
				seen++
				return nil
			},
		}))
		response, err := u.RoundTrip(req)
		if err == nil {
			_, err = io.Copy(io.Discard, response.Body)
			response.Body.Close()
		}
		mu.Lock()
		if (err == nil) != tt.ok || seen < maxInterim {
			t.Errorf("%d interim responses: error %v, %d seen", tt.n, err, seen)
		}
		mu.Unlock()
	}
}

func TestRefusedConnection(t *testing.T) {
	u := reach(t, "http://"+unused(t))
	_, _, err := get(t, u, "/")
	wantError(t, u, err, Connect, 502)
}

// A single target is left alone when it cannot be reached, or does not answer; not for what it answers, nor for one answer that breaks
// off.
func TestWhatASingleTargetIsLeftFor(t *testing.T) {
	never := make(chan struct{})
	for _, tt := range []struct {
		name   string
		origin badorigin.Handler // nil: nobody listens
		state  State
	}{
		{"refuses", nil, Ejected},
		{"never answers", badorigin.SlowHead(never, nil), Ejected},
		{"hangs up", badorigin.Hangup(), Healthy},
		{"garbage", badorigin.Garbage("SSH-2.0-OpenSSH\r\n"), Healthy},
		{"503", func(c *badorigin.Conn, _ *badorigin.Request) { c.Head(503, "Content-Length: 0") }, Healthy},
		{"a short body", badorigin.Short(100, "half"), Healthy},
	} {
		t.Run(tt.name, func(t *testing.T) {
			url := "http://" + unused(t)
			if tt.origin != nil {
				url = badorigin.New(t, tt.origin).URL
			}
			u := reach(t, url, func(o *Options) { o.Timeout.ResponseHeader, o.Breaker.Failures = 50*time.Millisecond, 2 })
			for range 2 {
				_, _, _ = get(t, u, "/") // how it fails is seen elsewhere
			}
			if got := u.Stats().Targets[0].State; got != tt.state {
				t.Errorf("the target is %s, want %s", got, tt.state)
			}
		})
	}
}

// unused returns an address that nobody listens on.
func unused(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestConnectTimeoutIsAGatewayTimeout(t *testing.T) {
	// The listener accepts and never says a word of TLS.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	u := reach(t, "https://"+l.Addr().String(), func(o *Options) { o.Timeout.Connect = 100 * time.Millisecond })
	_, _, err = get(t, u, "/")
	wantError(t, u, err, Connect, 504)
}
