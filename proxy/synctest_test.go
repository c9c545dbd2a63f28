package proxy_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cacheproxy/cacheproxy/cache"
	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/proxy"
	"github.com/cacheproxy/cacheproxy/rules"
)

// inProcess is a proxy without sockets, for tests in which time is a fake: the origin is a handler, clients are response writers.
func inProcess(t testing.TB, spec *rules.CacheSpec, origin http.HandlerFunc) (*proxy.Proxy, *cache.Cache) {
	t.Helper()
	state := invalidation.NewState(1000)
	c := cache.New(cache.Options{MaxBytes: 64 << 20, MaxVariants: 32}, state)
	var specs []rules.Spec
	if spec != nil {
		specs = []rules.Spec{route(*spec)}
	}
	table, _, errs := rules.Compile(specs, rules.Options{
		DefaultUpstream: "origin", Upstreams: []string{"origin"}, MaxLifetime: 24 * time.Hour, MaxObjectBytes: 8 << 20,
	})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	plan := &proxy.Plan{Table: table, CacheName: "cacheproxy", HitForMiss: 30 * time.Second}
	for _, r := range table.Routes() {
		plan.Sites = append(plan.Sites, proxy.Site{Route: r, Origin: origin})
	}
	return proxy.New(plan, c, invalidation.NewPurger(invalidation.NewMemLog(), state, func(r invalidation.Record) int { return c.Drop(r).Freed }), slog.New(slog.DiscardHandler)), c
}

func request(ctx context.Context, path string) *http.Request {
	return httptest.NewRequestWithContext(ctx, http.MethodGet, "http://shop.example"+path, nil)
}

// ask sends a GET and returns the recorded answer.
func ask(p *proxy.Proxy, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	p.ServeHTTP(w, request(context.Background(), path))
	return w
}

func cacheStatus(w *httptest.ResponseRecorder) string { return w.Result().Header.Get("Cache-Status") }

func TestAnEntryGrowsOldInSteps(t *testing.T) { // fresh, stale-while-revalidate, stale-if-error, dead
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		var asked atomic.Int64
		p, _ := inProcess(t, nil, func(w http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			if down.Load() {
				w.WriteHeader(503)
				return
			}
			w.Header().Set("Cache-Control", "max-age=10, stale-while-revalidate=10, stale-if-error=60")
			fmt.Fprint(w, "answer ", asked.Load())
		})
		expect := func(status int, body, detail string) {
			t.Helper()
			a := ask(p, "/a")
			if a.Code != status || body != "" && a.Body.String() != body || !strings.Contains(cacheStatus(a), detail) {
				t.Errorf("got %d %q %q, want %d %q %q", a.Code, a.Body.String(), cacheStatus(a), status, body, detail)
			}
			synctest.Wait()
		}
		expect(200, "answer 1", "fwd=uri-miss")
		time.Sleep(9 * time.Second)
		expect(200, "answer 1", "hit; ttl=1; detail=l1")
		time.Sleep(2 * time.Second)
		expect(200, "answer 1", "detail=stale-while-revalidate")
		expect(200, "answer 2", "hit; ttl=10")
		down.Store(true)
		time.Sleep(15 * time.Second)
		expect(200, "answer 2", "detail=stale-while-revalidate")
		time.Sleep(10 * time.Second)
		expect(200, "answer 2", "detail=stale-if-error")
		time.Sleep(10 * time.Minute)
		expect(503, "", "fwd=")
	})
}

func TestExpiredEntriesAreFreedUnasked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, c := inProcess(t, nil, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "max-age=10, must-revalidate")
			fmt.Fprint(w, "x")
		})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = c.Run(ctx) })
		for i := range 100 {
			ask(p, fmt.Sprintf("/%d", i))
		}
		if got := c.Stats().Memory.Entries; got != 100 {
			t.Fatalf("%d entries stored, want 100", got)
		}
		time.Sleep(time.Minute)
		if s := c.Stats().Memory; s.Entries != 0 || s.Bytes != 0 {
			t.Errorf("a minute later there are %d entries, %d bytes", s.Entries, s.Bytes)
		}
		cancel()
		wg.Wait()
	})
}

// slowWriter is a client that takes nothing until its gate opens.
type slowWriter struct {
	*httptest.ResponseRecorder
	gate  <-chan struct{}
	taken atomic.Int64
}

func (w *slowWriter) Write(b []byte) (int, error) {
	<-w.gate
	w.taken.Add(int64(len(b)))
	return len(b), nil
}

// served runs ServeHTTP and reports whether it broke the connection off.
func served(p *proxy.Proxy, w http.ResponseWriter, r *http.Request) (broken bool) {
	defer func() {
		if fault := recover(); fault != nil {
			if fault != http.ErrAbortHandler {
				panic(fault)
			}
			broken = true
		}
	}()
	p.ServeHTTP(w, r)
	return false
}

func TestAStalledReaderIsClosedAndTheOthersGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limit := int64(1 << 20)
		piece := make([]byte, 64<<10)
		const pieces = 256 // 16 MiB
		var sent atomic.Int64
		both := make(chan struct{})
		p, _ := inProcess(t, &rules.CacheSpec{MaxObjectBytes: &limit}, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "max-age=60")
			w.WriteHeader(200)
			<-both
			for range pieces {
				if _, err := w.Write(piece); err != nil {
					return
				}
				sent.Add(int64(len(piece)))
			}
		})
		stuck := make(chan struct{})
		open := make(chan struct{})
		close(open)
		slow := &slowWriter{ResponseRecorder: httptest.NewRecorder(), gate: stuck}
		quick := &slowWriter{ResponseRecorder: httptest.NewRecorder(), gate: open}
		var slowBroken, quickBroken bool
		var wg sync.WaitGroup
		wg.Go(func() { slowBroken = served(p, slow, request(t.Context(), "/big")) })
		wg.Go(func() { quickBroken = served(p, quick, request(t.Context(), "/big")) })
		synctest.Wait()
		begin := time.Now()
		close(both)
		synctest.Wait()
		if got := sent.Load(); got > limit+1<<20+int64(len(piece)) {
			t.Errorf("the origin was let send %d bytes while a reader had taken none: more than the limit and the window", got)
		}
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if took := time.Since(begin); quick.taken.Load() != pieces*int64(len(piece)) || took > 12*time.Second {
			t.Errorf("the quick reader has %d bytes after %v", quick.taken.Load(), took)
		}
		close(stuck)
		wg.Wait()
		if quickBroken || !slowBroken {
			t.Errorf("broken off: quick %v, slow %v; want only the slow one", quickBroken, slowBroken)
		}
	})
}

func TestAFetchNobodyReadsHasADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ended atomic.Bool
		p, _ := inProcess(t, nil, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "max-age=60")
			io.WriteString(w, "the beginning")
			<-r.Context().Done()
			ended.Store(true)
			panic(http.ErrAbortHandler)
		})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { served(p, httptest.NewRecorder(), request(ctx, "/a")) })
		synctest.Wait()
		cancel()
		wg.Wait()
		time.Sleep(29 * time.Second)
		synctest.Wait()
		if ended.Load() {
			t.Error("the fetch ended before its deadline")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if !ended.Load() {
			t.Error("the fetch goes on after its deadline")
		}
	})
}

func TestShutdownWaitsForFetchesAndThenEndsThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, c := inProcess(t, nil, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "max-age=60")
			w.WriteHeader(200)
			if r.URL.Path == "/never" {
				<-r.Context().Done()
				panic(http.ErrAbortHandler)
			}
			time.Sleep(5 * time.Second)
			io.WriteString(w, "done")
		})
		for _, path := range []string{"/soon", "/never"} {
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			wg.Go(func() { served(p, httptest.NewRecorder(), request(ctx, path)) })
			synctest.Wait()
			cancel()
			wg.Wait()
		}
		begin := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := p.Shutdown(ctx); err == nil || time.Since(begin) != 10*time.Second {
			t.Errorf("Shutdown ended after %v with %v, want the deadline of 10 s", time.Since(begin), err)
		}
		if got := c.Stats().Memory.Entries; got != 1 {
			t.Errorf("%d entries stored, want the one that was ready in time", got)
		}
	})
}

// TestAnEmptyAnswerIsStoredWhenItIsSeen: a response without content is whole with its head. Who has it finds it in the cache, even
// while the handler that made it has not returned.
func TestAnEmptyAnswerIsStoredWhenItIsSeen(t *testing.T) {
	for _, status := range []int{http.StatusOK, http.StatusNoContent, http.StatusNotFound} {
		release := make(chan struct{})
		p, _ := inProcess(t, &rules.CacheSpec{}, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Cache-Control", "max-age=60")
			if status != http.StatusNoContent {
				w.Header().Set("Content-Length", "0")
			}
			w.WriteHeader(status)
			<-release
		})
		for i, want := range []string{"stored", "hit"} {
			w := httptest.NewRecorder()
			p.ServeHTTP(w, request(t.Context(), "/empty"))
			if got := w.Result().Header.Get("Cache-Status"); w.Code != status || !strings.Contains(got, want) {
				t.Errorf("request %d: %d, Cache-Status %q, want %d and %s", i, w.Code, got, status, want)
			}
		}
		close(release)
		if err := p.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
