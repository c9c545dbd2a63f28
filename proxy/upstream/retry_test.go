package upstream

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/internal/badorigin"
)

// refusing returns the URL of a port that nobody listens on.
func refusing(t testing.TB) string {
	t.Helper()
	for {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		if _, again := refusals.LoadOrStore(l.Addr().String(), true); !again {
			return "http://" + l.Addr().String()
		}
	}
}

// refusals are the addresses that refusing has returned: the system may give out the same port twice.
var refusals sync.Map

// A request that one target fails and that may be sent again goes to another,
// and to no third.
func TestRetryOnAnotherTarget(t *testing.T) {
	never := make(chan struct{})
	failures := map[string]badorigin.Handler{
		"hangs up":      badorigin.Hangup(),
		"resets":        func(c *badorigin.Conn, _ *badorigin.Request) { c.Reset() },
		"never answers": badorigin.SlowHead(never, nil),
		"garbage":       badorigin.Garbage("SSH-2.0-OpenSSH\r\n"),
		"502":           func(c *badorigin.Conn, _ *badorigin.Request) { c.Respond(502, "bad") },
		"503":           func(c *badorigin.Conn, _ *badorigin.Request) { c.Respond(503, "busy") },
		"504":           func(c *badorigin.Conn, _ *badorigin.Request) { c.Respond(504, "slow") },
		"refuses":       nil,
	}
	requests := []struct {
		method, body string
		again        bool
	}{
		{"GET", "", true}, {"HEAD", "", true}, {"OPTIONS", "", true}, {"TRACE", "", true},
		{"PUT", "", true}, {"DELETE", "", true}, {"PUT", "content", true}, {"GET", "content", true},
		{"POST", "", false}, {"POST", "content", false}, {"PATCH", "content", false},
	}
	silence(t, io.Discard) // the origin sends a body to HEAD too
	for name, handler := range failures {
		t.Run(name, func(t *testing.T) {
			bad := refusing(t)
			if handler != nil {
				bad = badorigin.New(t, handler).URL
			}
			good := badorigin.New(t, badorigin.OK("fine"))
			for _, tt := range requests {
				u := several(t, []string{bad, good.URL}, func(o *Options) {
					if name == "never answers" {
						o.Timeout.ResponseHeader = 200 * time.Millisecond
					}
				})
				var body io.Reader
				if tt.body != "" {
					body = struct{ io.Reader }{strings.NewReader(tt.body)} // it cannot be rewound
				}
				before := good.Count("")
				response, err := u.RoundTrip(request(t, tt.method, "/x", body))
				status := 0
				if err == nil {
					status = response.StatusCode
					response.Body.Close()
				}
				want := tt.again || handler == nil // where no connection came about, nobody can have acted on it
				if again := status == 200; again != want {
					t.Errorf("%s %s: got %d, %v; sent again: %v, want %v", tt.method, tt.body, status, err, again, want)
				}
				if n := good.Count("") - before; n > 1 || n == 0 == want {
					t.Errorf("%s %s: the other target got it %d times", tt.method, tt.body, n)
				}
				if want {
					if got := string(good.Requests()[before].Body); got != tt.body {
						t.Errorf("%s: the other target got the body %q, want %q", tt.method, got, tt.body)
					}
				}
				s := u.Stats()
				if s.InFlight != 0 || u.targets[0].inFlight != 0 || u.targets[1].inFlight != 0 || s.Targets[0].Failures != 1 {
					t.Errorf("%s: after the request the stats are %+v", tt.method, s)
				}
			}
		})
	}
}

func TestWhatIsNotRetried(t *testing.T) {
	tests := []struct {
		name   string
		first  badorigin.Handler
		change func(*Options)
		body   string
	}{
		{"an ordinary error", func(c *badorigin.Conn, _ *badorigin.Request) { c.Respond(500, "oops") }, nil, ""},
		{"a body that breaks off", badorigin.Short(100, "half"), nil, ""},
		{"with retries: 0", badorigin.Hangup(), func(o *Options) { o.Retries = 0 }, ""},
		{"with retry_budget: 0", badorigin.Hangup(), func(o *Options) { o.RetryBudget = 0 }, ""},
		{"a body too large to be kept", badorigin.Hangup(), nil, strings.Repeat("x", replayable+1)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			first, second := badorigin.New(t, tt.first), badorigin.New(t, badorigin.OK("fine"))
			u := several(t, []string{first.URL, second.URL}, func(o *Options) {
				if tt.change != nil {
					tt.change(o)
				}
			})
			response, err := u.RoundTrip(request(t, "PUT", "/", strings.NewReader(tt.body)))
			if err == nil {
				io.Copy(io.Discard, response.Body) // that it breaks off is the point of one case
				response.Body.Close()
			}
			if a, b := first.Count(""), second.Count(""); a != 1 || b != 0 {
				t.Errorf("the first target got %d requests and the second %d, want 1 and 0", a, b)
			}
		})
	}
}

// What the last target says is what the client gets.
func TestRetriesEnd(t *testing.T) {
	busy := func(c *badorigin.Conn, _ *badorigin.Request) { c.Respond(503, "busy", "Retry-After: 7") }
	for _, retries := range []int{1, 2, 9} {
		var origins []*badorigin.Origin
		var urls []string
		for range 4 {
			o := badorigin.New(t, busy)
			origins, urls = append(origins, o), append(urls, o.URL)
		}
		u := several(t, urls, func(o *Options) { o.Retries = retries })
		response, err := u.RoundTrip(request(t, "GET", "/", nil))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != 503 || string(body) != "busy" || response.Header.Get("Retry-After") != "7" {
			t.Errorf("got %d %q, %v", response.StatusCode, body, err)
		}
		sum := 0
		for _, o := range origins {
			sum += o.Count("")
			if o.Count("") > 1 {
				t.Errorf("retries %d: one target was asked %d times", retries, o.Count(""))
			}
		}
		if want := 1 + min(retries, 3); sum != want || u.Stats().Retries != uint64(want-1) {
			t.Errorf("retries %d: %d requests were sent, want %d; the stats say %d retries", retries, sum, want, u.Stats().Retries)
		}
	}
}

// A request that was not sent has used up no retry: nobody can have been asked
// too often.
func TestRefusedConnectionsUseUpNoRetries(t *testing.T) {
	good := badorigin.New(t, badorigin.OK("fine"))
	for _, tt := range []struct {
		method string
		want   int
	}{{"GET", 200}, {"POST", 200}} {
		u := several(t, []string{refusing(t), refusing(t), refusing(t), good.URL})
		response, err := u.RoundTrip(request(t, tt.method, "/", nil))
		got := 0
		if err == nil {
			got = response.StatusCode
			response.Body.Close()
		}
		if got != tt.want {
			t.Errorf("%s: got %d, %v, want %d", tt.method, got, err, tt.want)
		}
	}
}

// A client that has gone is no reason to ask anybody else.
func TestClientWhoHasGoneIsNotRetried(t *testing.T) {
	gone := errors.New("the client hung up")
	first, second := badorigin.New(t, badorigin.OK("fine")), badorigin.New(t, badorigin.OK("fine"))
	u := several(t, []string{first.URL, second.URL})
	for range 10 {
		if _, err := u.RoundTrip(request(t, "PUT", "/", io.MultiReader(strings.NewReader("half"), errorReader{gone}))); !errors.Is(err, gone) {
			t.Fatalf("the error is %v, want that of the body", err)
		}
	}
	for _, s := range u.Stats().Targets {
		if s.Failures != 0 || s.State != Healthy || s.Requests != 5 {
			t.Errorf("clients that hung up left the target as %+v", s)
		}
	}
}

// In an outage the targets that still stand are not sent everything twice.
func TestRetryBudget(t *testing.T) {
	sick := badorigin.New(t, func(c *badorigin.Conn, r *badorigin.Request) {
		if r.Number%4 == 0 {
			c.Respond(200, "fine") // so that its breaker stays closed
			return
		}
		c.Respond(503, "busy")
	})
	well := badorigin.New(t, badorigin.OK("fine"))
	u := several(t, []string{sick.URL, well.URL}, func(o *Options) { o.RetryBudget = 0.1 })
	const requests = 400
	for range requests {
		get(t, u, "/") // some fail, as they should
	}
	if got, most := u.Stats().Retries, uint64(requests/10+budgetReserve+1); got > most || got < most/2 {
		t.Errorf("%d requests had %d retries, want at most %d", requests, got, most)
	}
}

func TestBudget(t *testing.T) {
	start := time.Unix(1000, 0)
	tests := []struct {
		name     string
		share    float64
		requests int
		after    time.Duration
		want     int
	}{
		{"none", 0, 1000, 0, 0},
		{"a quiet upstream", 0.2, 1, 0, budgetReserve + 1},
		{"a share", 0.2, 1000, 0, budgetReserve + 200},
		{"within ten seconds", 0.2, 1000, 9 * time.Second, budgetReserve + 200},
		{"later", 0.2, 1000, 10 * time.Second, budgetReserve},
		{"much later", 0.2, 1000, time.Hour, budgetReserve},
	}
	for _, tt := range tests {
		b := budget{share: tt.share}
		for range tt.requests {
			b.deposit(start)
		}
		got := 0
		for b.withdraw(start.Add(tt.after)) {
			got++
		}
		if got != tt.want {
			t.Errorf("%s: %d retries, want %d", tt.name, got, tt.want)
		}
	}
	b := budget{share: 0.5}
	for i := range 1000 { // a minute and more of one retry for each two requests: as much as there may be
		now := start.Add(time.Duration(i) * 100 * time.Millisecond)
		b.deposit(now)
		if i%2 == 0 && !b.withdraw(now) {
			t.Fatalf("the retry of request %d was refused", i)
		}
	}
}

// With every target down the error says so at once, and how the client is told.
func TestDown(t *testing.T) {
	u := several(t, []string{refusing(t), refusing(t)})
	var last error
	for range 2 * 5 {
		_, _, last = get(t, u, "/")
	}
	begin := time.Now()
	_, err := u.RoundTrip(request(t, "POST", "/", strings.NewReader("body")))
	var e *Error
	if !errors.As(err, &e) || e.Kind != Down || e.Status() != http.StatusServiceUnavailable || e.Failure() != "down" {
		t.Errorf("with every target down: %v (before that %v)", err, last)
	}
	if d := time.Since(begin); d > 5*time.Second {
		t.Errorf("it took %v to fail fast", d)
	}
	if want := "upstream shop: down: every target has failed lately"; fmt.Sprint(err) != want {
		t.Errorf("the error reads %q, want %q", err, want)
	}
}
