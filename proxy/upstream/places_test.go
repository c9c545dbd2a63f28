package upstream

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/internal/badorigin"
)

func TestBusyUpstream(t *testing.T) {
	gate := make(chan struct{})
	origin := badorigin.New(t, badorigin.SlowBody(gate, []string{"x"}))
	u := reach(t, origin.URL, func(o *Options) {
		o.MaxConnections = 1
		o.Timeout.Connect = 500 * time.Millisecond // for the wait; and for the first connection, on a loaded machine
	})
	first, err := u.RoundTrip(request(t, "GET", "/", nil)) // its body holds the only place
	if err != nil {
		t.Fatal(err)
	}
	_, err = u.RoundTrip(request(t, "POST", "/", io.NopCloser(strings.NewReader("body"))))
	var e *Error
	if !errors.As(err, &e) || e.Kind != Busy || e.Status() != 503 {
		t.Fatalf("with all connections in use: %v, want busy", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("the client has gone")
	cancel(gone)
	if _, err := u.RoundTrip(request(t, "GET", "/", nil).WithContext(ctx)); !errors.Is(err, gone) {
		t.Errorf("a client who has gone got %v, want the cause of its context", err)
	}
	if n := origin.Count(""); n != 1 {
		t.Errorf("the origin got %d requests, want 1", n)
	}
	close(gate)
	if body, err := io.ReadAll(first.Body); err != nil || string(body) != "x" {
		t.Fatalf("the first body: %q, %v", body, err)
	}
	if _, body, err := get(t, u, "/"); err != nil || body != "x" {
		t.Errorf("after the place is free: %q, %v", body, err)
	}
	first.Body.Close()
	if n := u.Stats().InFlight; n != 0 {
		t.Errorf("%d requests are under way, want none: a place was given back twice or never", n)
	}
	if n := origin.Connections(); n != 1 {
		t.Errorf("%d connections, want the kept one to be used again", n)
	}
}

func TestRequestsAtOnceStayWithinTheirNumber(t *testing.T) {
	const limit, clients, rounds = 3, 12, 20
	var mu sync.Mutex
	now, most := 0, 0
	origin := badorigin.New(t, func(c *badorigin.Conn, _ *badorigin.Request) {
		mu.Lock()
		now++
		most = max(most, now)
		mu.Unlock()
		c.Head(200, "Content-Length: 4")
		c.Send("fin")
		mu.Lock()
		now--
		mu.Unlock()
		c.Send("e")
	})
	u := reach(t, origin.URL, func(o *Options) { o.MaxConnections = limit })
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for range rounds {
				if _, body, err := get(t, u, "/"); err != nil || body != "fine" {
					t.Errorf("got %q, %v", body, err)
				}
			}
		})
	}
	wg.Wait()
	if most > limit {
		t.Errorf("%d requests were at the origin at once, want at most %d", most, limit)
	}
}

// A connection that comes about for a client who has gone meanwhile counts, and
// serves the next.
func TestConnectionOfAClientWhoHasGoneIsUsed(t *testing.T) {
	origin := badorigin.New(t, badorigin.OK("fine"))
	u := reach(t, origin.URL, func(o *Options) { o.MaxConnections = 1 })
	dials, gate, dialing := 0, make(chan struct{}), make(chan struct{}, 9)
	direct := u.targets[0].pool.Load().direct
	dial := direct.dial
	direct.dial = func(ctx context.Context) (*conn, error) {
		dialing <- struct{}{}
		<-gate
		return dial(ctx)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		<-dialing
		dials++
		cancel()
	})
	if _, err := u.RoundTrip(request(t, "GET", "/", nil).WithContext(ctx)); !errors.Is(err, context.Canceled) {
		t.Fatalf("the first request: %v, want its context's error", err)
	}
	wg.Wait()
	wg.Go(func() {
		for waiting := 0; waiting == 0; time.Sleep(time.Millisecond) {
			direct.mu.Lock()
			waiting = len(direct.waiting)
			direct.mu.Unlock()
		}
		close(gate)
	})
	response, err := u.RoundTrip(request(t, "GET", "/", nil))
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, response.Body) // so that the connection is kept; what it holds is not the matter
	response.Body.Close()
	wg.Wait()
	if dials += len(dialing); dials != 1 || origin.Connections() != 1 {
		t.Errorf("%d connections were opened and %d came to the origin, want 1", dials, origin.Connections())
	}
}
