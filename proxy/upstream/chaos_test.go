package upstream

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// server is a target that can be hung, killed and started again. Its methods are
// for one goroutine.
type server struct {
	t      *testing.T
	addr   string
	http   *http.Server
	ended  chan struct{}
	delay  time.Duration
	hanged atomic.Pointer[chan struct{}] // requests wait for it
}

func newServer(t *testing.T, delay time.Duration) *server {
	s := &server{t: t, addr: "127.0.0.1:0", delay: delay}
	s.start()
	t.Cleanup(func() {
		s.resume()
		s.kill()
	})
	return s
}

func (s *server) start() {
	l, err := net.Listen("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.addr = l.Addr().String()
	s.http = &http.Server{Handler: s, ErrorLog: discard}
	s.ended = make(chan struct{})
	go func(srv *http.Server, ended chan struct{}) {
		defer close(ended)
		srv.Serve(l) // it ends when it is closed
	}(s.http, s.ended)
}

func (s *server) kill() {
	s.http.Close() // it was open
	<-s.ended
}

func (s *server) hang() {
	gate := make(chan struct{})
	s.hanged.Store(&gate)
}

func (s *server) resume() {
	if gate := s.hanged.Swap(nil); gate != nil {
		close(*gate)
	}
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if gate := s.hanged.Load(); gate != nil {
		select {
		case <-*gate:
		case <-r.Context().Done():
			return
		}
	}
	if s.delay > 0 {
		time.Sleep(s.delay) // a slow origin is what this is
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	fmt.Fprintf(w, "%s %s", r.Method, body) // the client checks it
}

// load sends idempotent requests with several clients until ctx ends, and counts
// those that did not get what they should.
func load(ctx context.Context, t *testing.T, u *Upstream, clients int) (wait func() (sent, failed int64)) {
	var sent, failed atomic.Int64
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			for n := i; ctx.Err() == nil; n++ {
				method, content := "GET", ""
				if n%4 == 0 {
					method, content = "PUT", strings.Repeat("x", n%1000)
				}
				got, err := exchange(u, method, content)
				if want := method + " " + content; err != nil || got != want {
					if failed.Add(1) <= 10 {
						t.Errorf("%s: got %.80q, %v", method, got, err)
					}
				}
				sent.Add(1)
			}
		})
	}
	return func() (int64, int64) {
		wg.Wait()
		return sent.Load(), failed.Load()
	}
}

func exchange(u *Upstream, method, content string) (string, error) {
	req, err := http.NewRequest(method, "http://client.example/", struct{ io.Reader }{strings.NewReader(content)})
	if err != nil {
		return "", err
	}
	if content == "" {
		req.Body = nil
	}
	response, err := u.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != 200 {
		err = fmt.Errorf("status %d", response.StatusCode)
	}
	return string(body), err
}

// Five targets, of which one is killed, one hangs, one is slow, one comes and
// goes, and one is well: no client sees anything of it. The long form, against
// the built binary and beside HAProxy, is test/chaos.
func TestChaos(t *testing.T) {
	for _, checks := range []string{"", "/healthz"} {
		t.Run("checks "+checks, func(t *testing.T) {
			killed, hung, slow, flapping, well := newServer(t, 0), newServer(t, 0), newServer(t, 20*time.Millisecond), newServer(t, 0), newServer(t, 0)
			var urls []string
			for _, s := range []*server{killed, hung, slow, flapping, well} {
				urls = append(urls, "http://"+s.addr)
			}
			u := several(t, urls, func(o *Options) {
				o.Timeout.ResponseHeader = time.Second
				o.Breaker.OpenFor = 300 * time.Millisecond
				o.Health = Health{Path: checks, Interval: 50 * time.Millisecond, Timeout: time.Second, UnhealthyAfter: 2, HealthyAfter: 1}
			})
			ctx, stop := context.WithCancel(t.Context())
			var running sync.WaitGroup
			running.Go(func() {
				if err := u.Run(ctx); err != nil {
					t.Errorf("Run returned %v", err)
				}
			})
			wait := load(ctx, t, u, 24)
			state := func(i int) State { return u.Stats().Targets[i].State }
			served := func(n uint64) func() bool {
				at := u.Stats().Targets[4].Requests
				return func() bool { return u.Stats().Targets[4].Requests > at+n }
			}
			timed := func(what string, ok func() bool) {
				begin := time.Now()
				await(t, what, ok)
				t.Logf("%s after %v", what, time.Since(begin).Round(time.Millisecond))
			}
			await(t, "some requests are served", served(50))

			killed.kill()
			timed("the killed target is out", func() bool { return state(0) != Healthy })
			hung.hang()
			timed("the hung target is out", func() bool { return state(1) != Healthy })
			for range 4 {
				flapping.kill()
				await(t, "some requests are served", served(100))
				flapping.start()
				await(t, "some requests are served", served(100))
			}
			hung.resume()
			timed("the hung target is back", func() bool { return state(1) == Healthy })
			killed.start()
			timed("the killed target is back", func() bool { return state(0) == Healthy })
			await(t, "the flapping target is back", func() bool { return state(3) == Healthy })
			await(t, "all targets serve", served(50))

			stop()
			sent, failed := wait()
			running.Wait()
			s := u.Stats()
			t.Logf("%d requests, %d failed, %d retries", sent, failed, s.Retries)
			for _, target := range s.Targets {
				t.Logf("%+v", target)
			}
			if failed != 0 || sent < 500 {
				t.Errorf("%d of %d requests failed, want none", failed, sent)
			}
			if s.InFlight != 0 {
				t.Errorf("%d requests are under way", s.InFlight)
			}
			u.Close()
			for i := range u.targets {
				await(t, "no connection is left", func() bool { return u.Stats().Targets[i].Connections == 0 })
			}
		})
	}
}
