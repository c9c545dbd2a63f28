package upstream

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/internal/badorigin"
)

func TestResultsInARow(t *testing.T) {
	h := &Health{UnhealthyAfter: 2, HealthyAfter: 3}
	c := &checks{}
	results := "+-+--+-++-+++-" // passed or failed
	got := ""
	for _, r := range results {
		switch changed := c.add(r == '+', h); {
		case changed && c.sick:
			got += "v"
		case changed:
			got += "^"
		default:
			got += "."
		}
	}
	if want := "....v.......^."; got != want {
		t.Errorf("checks %s change the verdict at %s, want %s", results, got, want)
	}
}

// checked runs an upstream with health checks of the path every few milliseconds.
func checked(t *testing.T, urls []string, change ...func(*Options)) (*Upstream, func() []string) {
	t.Helper()
	u := several(t, urls, append([]func(*Options){func(o *Options) {
		o.Health.Path, o.Health.Interval, o.Health.Timeout = "/healthz?from=proxy", 10*time.Millisecond, 500*time.Millisecond
	}}, change...)...)
	var mu sync.Mutex
	var told []string
	u.Changed = func(upstream, target string, from, to State) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, strings.Join([]string{upstream, target, string(from), string(to)}, " "))
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := u.Run(ctx); err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
	t.Cleanup(func() {
		stop()
		wg.Wait()
	})
	return u, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return told
	}
}

func TestHealthChecks(t *testing.T) {
	status := func(code int) badorigin.Handler {
		return func(c *badorigin.Conn, _ *badorigin.Request) { c.Respond(code, "so it is") }
	}
	never := make(chan struct{})
	for name, sick := range map[string]badorigin.Handler{
		"says so": status(503), "does not know the path": status(404), "hangs": badorigin.SlowHead(never, nil), "hangs up": badorigin.Hangup(),
	} {
		t.Run(name, func(t *testing.T) {
			origin := badorigin.New(t, status(204))
			other := badorigin.New(t, badorigin.OK("fine"))
			u, told := checked(t, []string{origin.URL, other.URL})
			origin.Await("/healthz", 3)
			if s := u.Stats().Targets; s[0].State != Healthy || s[0].Requests != 0 || s[0].Connections > 1 {
				t.Errorf("a target that is well stands as %+v", s[0])
			}
			r := origin.Requests()[0]
			if r.Method != "GET" || r.Target != "/healthz?from=proxy" || r.Header.Get("User-Agent") == "" {
				t.Errorf("the check is %s %s with %v", r.Method, r.Target, r.Header)
			}
			origin.SetHandler(sick)
			await(t, "the target is unhealthy", func() bool { return u.Stats().Targets[0].State == Unhealthy })
			bench{t, u}.fail(0, deaf) // what it fails now is forgotten when it is well again
			for range 4 {
				if status, _, err := get(t, u, "/"); err != nil || status != 200 {
					t.Errorf("got %d, %v while one target is unhealthy", status, err)
				}
			}
			if n := origin.Count("/"); n != 0 {
				t.Errorf("the unhealthy target got %d requests", n)
			}
			origin.SetHandler(status(302))
			await(t, "the target is healthy again", func() bool { return u.Stats().Targets[0].State == Healthy })
			await(t, "all changes are told", func() bool { return len(told()) >= 2 })
			want := []string{"shop " + origin.URL + " healthy unhealthy", "shop " + origin.URL + " unhealthy healthy"}
			if got := told(); got[0] != want[0] || got[1] != want[1] {
				t.Errorf("told %q, want %q", got, want)
			}
		})
	}
}

// A check speaks the protocol of the target, and each has a connection of its own.
func TestHealthChecksOverHTTP2(t *testing.T) {
	s := protocolServer(t, nil, func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) })
	var mu sync.Mutex
	from := map[string]int{}
	s.Config.Handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		from[r.Proto+" "+r.RemoteAddr]++
	})
	u, _ := checked(t, []string{strings.Replace(s.URL, "http", "h2c", 1)})
	checks := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(from)
	}
	await(t, "five checks came, each on a connection of its own", func() bool { return checks() >= 5 })
	mu.Lock()
	for c, n := range from {
		if !strings.HasPrefix(c, "HTTP/2.0 ") || n != 1 {
			t.Errorf("%d checks on %s", n, c)
		}
	}
	mu.Unlock()
	if state := u.Stats().Targets[0].State; state != Healthy {
		t.Errorf("the target is %s", state)
	}
	await(t, "the connections of the checks are closed", func() bool { return u.Stats().Targets[0].Connections <= 1 })
}
