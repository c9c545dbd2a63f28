package upstream

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/cacheproxy/cacheproxy/internal/badorigin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// reach returns an upstream of the origin with time-outs that no test should
// meet, changed by change.
func reach(t *testing.T, url string, change ...func(*Options)) *Upstream {
	t.Helper()
	o := DefaultOptions(url)
	o.Timeout = Timeouts{Connect: 20 * time.Second, ResponseHeader: 20 * time.Second, Idle: 20 * time.Second}
	for _, c := range change {
		c(&o)
	}
	u, err := New("shop", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(u.Close)
	return u
}

func request(t *testing.T, method, path string, body io.Reader) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://client.example"+path, body)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// get sends a GET and reads the whole response.
func get(t *testing.T, u *Upstream, path string) (status int, body string, err error) {
	t.Helper()
	response, err := u.RoundTrip(request(t, "GET", path, nil))
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	return response.StatusCode, string(b), err
}

// wantError checks that err is an *Error of the kind and status, and that no
// request is under way any more.
func wantError(t *testing.T, u *Upstream, err error, kind Kind, status int) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("the error is %T (%v), want an *Error of kind %v", err, err, kind)
	}
	if e.Kind != kind || e.Status() != status {
		t.Errorf("the error %q has kind %v and status %d, want %v and %d", e, e.Kind, e.Status(), kind, status)
	}
	if e.Upstream != "shop" || e.Target != u.targets[0].text || e.Failure() != kind.String() || errors.Unwrap(e) == nil {
		t.Errorf("the error is %+v", e)
	}
	stats := u.Stats()
	if stats.InFlight != 0 {
		t.Errorf("%d requests are under way after the error, want none", stats.InFlight)
	}
	if stats.Failures[kind.String()] != 1 {
		t.Errorf("the failures are %v, want one of kind %v", stats.Failures, kind)
	}
}

func TestRoundTripSendsWhatItIsGiven(t *testing.T) {
	tests := []struct {
		name    string
		request func(*testing.T) *http.Request
		host    string // option
		want    string // on the wire; TARGET is the target's authority
	}{
		{"a GET", func(t *testing.T) *http.Request { return request(t, "GET", "/a%2Fb/c?q=1&q=2", nil) },
			HostPreserve, "GET /a%2Fb/c?q=1&q=2 HTTP/1.1\r\nHost: client.example\r\nUser-Agent: test\r\n\r\n"},
		{"a GET with the target's host", func(t *testing.T) *http.Request { return request(t, "GET", "/", nil) },
			HostTarget, "GET / HTTP/1.1\r\nHost: TARGET\r\nUser-Agent: test\r\n\r\n"},
		{"a HEAD", func(t *testing.T) *http.Request { return request(t, "HEAD", "/", nil) },
			HostPreserve, "HEAD / HTTP/1.1\r\nHost: client.example\r\nUser-Agent: test\r\n\r\n"},
		{"an OPTIONS", func(t *testing.T) *http.Request { return request(t, "OPTIONS", "/", http.NoBody) },
			HostPreserve, "OPTIONS / HTTP/1.1\r\nHost: client.example\r\nUser-Agent: test\r\n\r\n"},
		{"a TRACE", func(t *testing.T) *http.Request { return request(t, "TRACE", "/", nil) },
			HostPreserve, "TRACE / HTTP/1.1\r\nHost: client.example\r\nUser-Agent: test\r\n\r\n"},
		{"a DELETE", func(t *testing.T) *http.Request { return request(t, "DELETE", "/", nil) },
			HostPreserve, "DELETE / HTTP/1.1\r\nHost: client.example\r\nUser-Agent: test\r\n\r\n"},
		{"a POST without body", func(t *testing.T) *http.Request { return request(t, "POST", "/", nil) },
			HostPreserve, "POST / HTTP/1.1\r\nHost: client.example\r\nUser-Agent: test\r\nContent-Length: 0\r\n\r\n"},
		{"a POST", func(t *testing.T) *http.Request { return request(t, "POST", "/", strings.NewReader("hello")) },
			HostPreserve, "POST / HTTP/1.1\r\nHost: client.example\r\nUser-Agent: test\r\nContent-Length: 5\r\n\r\nhello"},
		{"a POST of unknown length", func(t *testing.T) *http.Request {
			return request(t, "POST", "/", struct{ io.Reader }{strings.NewReader("hello")})
		}, HostPreserve, "POST / HTTP/1.1\r\nHost: client.example\r\nUser-Agent: test\r\nTransfer-Encoding: chunked\r\n\r\nhello"},
		{"a GET with a body", func(t *testing.T) *http.Request { return request(t, "GET", "/", strings.NewReader("hello")) },
			HostPreserve, "GET / HTTP/1.1\r\nHost: client.example\r\nUser-Agent: test\r\nContent-Length: 5\r\n\r\nhello"},
		{"an idempotency key", func(t *testing.T) *http.Request {
			r := request(t, "POST", "/", nil)
			r.Header.Set("Idempotency-Key", `"k1"`)
			return r
		}, HostPreserve, "POST / HTTP/1.1\r\nHost: client.example\r\nUser-Agent: test\r\nContent-Length: 0\r\nidempotency-key: \"k1\"\r\n\r\n"},
	}
	silence(t, io.Discard) // the origin sends a body to HEAD too
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			origin := badorigin.New(t, badorigin.OK("fine"))
			u := reach(t, origin.URL, func(o *Options) { o.Host = tt.host })
			req := tt.request(t)
			req.Header.Set("User-Agent", "test")
			before := req.Header.Clone()
			response, err := u.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			if response.Request != req || req.URL.Host != "client.example" || len(req.Header) != len(before) {
				t.Errorf("the caller's request was changed: %v %v", req.URL, req.Header)
			}
			response.Body.Close()
			got := origin.Requests()[0]
			want := strings.Replace(tt.want, "TARGET", origin.Addr, 1)
			if on := string(got.Raw) + string(got.Body); on != want {
				t.Errorf("on the wire\n got %q\nwant %q", on, want)
			}
			if n := u.Stats().InFlight; n != 0 {
				t.Errorf("%d requests are under way, want none", n)
			}
		})
	}
}

func TestRoundTripReturnsTheResponseAsItCame(t *testing.T) {
	origin := badorigin.New(t, badorigin.OK("not gzip at all", "Content-Encoding: gzip", "Vary: Accept-Encoding"))
	u := reach(t, origin.URL)
	response, err := u.RoundTrip(request(t, "GET", "/", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || string(body) != "not gzip at all" || response.Header.Get("Content-Encoding") != "gzip" {
		t.Errorf("got %q (%v) with %v", body, err, response.Header)
	}
	if got := origin.Requests()[0].Header.Get("Accept-Encoding"); got != "" {
		t.Errorf("the origin was asked for Accept-Encoding %q, want none", got)
	}
}

func TestTLS(t *testing.T) {
	origin := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Proto+" "+r.Host) // the client's error says enough
	}))
	origin.Config.ErrorLog = discard
	origin.EnableHTTP2 = true
	origin.StartTLS()
	defer origin.Close()

	u := reach(t, origin.URL)
	_, _, err := get(t, u, "/")
	wantError(t, u, err, Connect, 502) // nobody knows who signed its certificate

	u = reach(t, origin.URL)
	u.targets[0].dialer.tls.RootCAs = origin.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	for range 3 {
		status, body, err := get(t, u, "/")
		if err != nil || status != 200 || body != "HTTP/2.0 client.example" {
			t.Errorf("got %d %q (%v)", status, body, err)
		}
	}
}

func TestCallerGivesUp(t *testing.T) {
	never := make(chan struct{})
	gone := errors.New("the client has gone")
	tests := []struct {
		name   string
		origin badorigin.Handler
	}{
		{"before the head", badorigin.SlowHead(never, nil)},
		{"within the body", badorigin.SlowBody(never, []string{"x"})},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			origin := badorigin.New(t, tt.origin)
			u := reach(t, origin.URL)
			ctx, cancel := context.WithCancelCause(t.Context())
			var wg sync.WaitGroup
			wg.Go(func() {
				origin.Await("/", 1)
				cancel(gone)
			})
			response, err := u.RoundTrip(request(t, "GET", "/", nil).WithContext(ctx))
			if err == nil {
				_, err = io.ReadAll(response.Body)
				response.Body.Close()
			}
			wg.Wait()
			var e *Error
			if !errors.Is(err, gone) || errors.As(err, &e) {
				t.Errorf("the error is %v, want the cause of the context", err)
			}
			if s := u.Stats(); s.InFlight != 0 {
				t.Errorf("%d requests under way, want none", s.InFlight)
			}
		})
	}
}

func TestClosingABodyEndsItsRequest(t *testing.T) {
	origin := badorigin.New(t, badorigin.EndlessBody())
	u := reach(t, origin.URL)
	response, err := u.RoundTrip(request(t, "GET", "/", nil))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(response.Body, make([]byte, 100_000)); err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	response.Body.Close()
	if n := u.Stats().InFlight; n != 0 {
		t.Errorf("%d requests are under way, want none", n)
	}
	origin.Close() // returns only when the handler has noticed
}

// An origin that reads nothing must not hold an upload for ever.
func TestUploadThatIsNotTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	u := reach(t, "http://"+l.Addr().String(), func(o *Options) { o.Timeout.Idle = 150 * time.Millisecond })
	_, err = u.RoundTrip(request(t, "POST", "/", io.LimitReader(zeros{}, 1<<30)))
	wantError(t, u, err, IdleTimeout, 504)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestUploadThatBreaksOffIsTheClientsFailure(t *testing.T) {
	origin := badorigin.New(t, badorigin.OK("fine"))
	u := reach(t, origin.URL)
	gone := errors.New("the client hung up")
	_, err := u.RoundTrip(request(t, "POST", "/", io.MultiReader(strings.NewReader("half"), errorReader{gone})))
	var e *Error
	if !errors.Is(err, gone) || errors.As(err, &e) {
		t.Errorf("the error is %v, want that of the body", err)
	}
	if n := u.Stats().InFlight; n != 0 {
		t.Errorf("%d requests are under way, want none", n)
	}
}

type errorReader struct{ err error }

func (r errorReader) Read([]byte) (int, error) { return 0, r.err }

func TestSwitchOfProtocols(t *testing.T) {
	origin := badorigin.New(t, func(c *badorigin.Conn, _ *badorigin.Request) {
		c.Head(101, "Connection: Upgrade", "Upgrade: echo")
		c.Send("hello")
		c.Close()
	})
	u := reach(t, origin.URL)
	req := request(t, "GET", "/", nil)
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "echo")
	response, err := u.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := response.Body.(io.ReadWriteCloser); !ok || response.StatusCode != 101 {
		t.Fatalf("status %d with a body of type %T", response.StatusCode, response.Body)
	}
	if got, err := io.ReadAll(response.Body); err != nil || string(got) != "hello" {
		t.Errorf("through the tunnel came %q, %v", got, err)
	}
	if n := u.Stats().InFlight; n != 1 {
		t.Errorf("%d requests are under way while the tunnel is open, want 1", n)
	}
	response.Body.Close()
	if n := u.Stats().InFlight; n != 0 {
		t.Errorf("%d requests are under way, want none", n)
	}
}

func TestObserve(t *testing.T) {
	origin := badorigin.New(t, badorigin.Routes(map[string]badorigin.Handler{
		"/ok":      badorigin.OK("fine"),
		"/nothing": func(c *badorigin.Conn, _ *badorigin.Request) { c.Head(204) },
		"/gone":    badorigin.Hangup(),
	}))
	u := reach(t, origin.URL)
	type seen struct {
		upstream string
		code     int
	}
	var got []seen
	u.Observe = func(name string, code int, d time.Duration) {
		if d <= 0 || d > 20*time.Second {
			t.Errorf("the duration is %v", d)
		}
		got = append(got, seen{name, code})
	}
	for _, path := range []string{"/ok", "/nothing", "/absent", "/gone"} {
		get(t, u, path) // the error of /gone is seen by Observe
	}
	want := []seen{{"shop", 200}, {"shop", 204}, {"shop", 404}, {"shop", 0}}
	if len(got) != len(want) {
		t.Fatalf("observed %v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("observed %v, want %v", got[i], want[i])
		}
	}
	s := u.Stats()
	if s.Responses["2xx"] != 2 || s.Responses["4xx"] != 1 || s.Responses["5xx"] != 0 || s.Failures["broken"] != 1 || len(s.Failures) != kinds {
		t.Errorf("the stats are %+v", s)
	}
}

func TestRequestThatCannotBeSent(t *testing.T) {
	u := reach(t, "http://127.0.0.1:1")
	req := request(t, "GET", "/", nil)
	req.Header["Bad Name"] = []string{"x"}
	_, err := u.RoundTrip(req)
	var e *Error
	if err == nil || errors.As(err, &e) {
		t.Errorf("the error is %v, want one that is not the upstream's", err)
	}
}

// An origin that sends more than its response must not answer the next request
// with the rest (RFC 9112, section 9.2): that would be stored under its key.
func TestRestOfAResponseIsNoAnswer(t *testing.T) {
	const evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
	origin := badorigin.New(t, badorigin.Routes(map[string]badorigin.Handler{
		"/long": func(c *badorigin.Conn, _ *badorigin.Request) {
			c.Send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood" + strings.Repeat(evil, 3))
		},
		"/next": badorigin.OK("fine"),
	}))
	silence(t, io.Discard) // net/http logs what it finds on an idle connection
	u := reach(t, origin.URL)
	refused := 0
	for range 100 {
		var wg sync.WaitGroup
		first := request(t, "OPTIONS", "/long", nil) // which net/http sends
		// The next request takes the connection as soon as it is free, before
		// net/http has looked for what else has come on it.
		first = first.WithContext(httptrace.WithClientTrace(first.Context(), &httptrace.ClientTrace{
			PutIdleConn: func(error) {
				got := make(chan struct{})
				wg.Go(func() {
					next := request(t, "OPTIONS", "/next", nil)
					once := sync.OnceFunc(func() { close(got) }) // a repeated request gets another connection
					next = next.WithContext(httptrace.WithClientTrace(next.Context(), &httptrace.ClientTrace{
						GotConn: func(httptrace.GotConnInfo) { once() },
					}))
					response, err := u.RoundTrip(next)
					var body []byte
					if err == nil {
						body, err = io.ReadAll(response.Body)
						response.Body.Close()
					}
					var e *Error
					switch {
					case err == nil && string(body) == "fine":
					case errors.As(err, &e) && e.Kind == Malformed:
						refused++
					default:
						t.Errorf("the next request got %q, %v", body, err)
					}
				})
				<-got
			},
		}))
		response, err := u.RoundTrip(first)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(response.Body); err != nil || string(body) != "good" {
			t.Fatalf("got %q, %v", body, err)
		}
		response.Body.Close()
		wg.Wait()
	}
	if refused == 0 {
		t.Error("no request took the connection before net/http had noticed the rest: nothing was tested")
	}
	t.Logf("%d of 100 requests took the connection before net/http had noticed the rest", refused)
}
