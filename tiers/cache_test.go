package tiers_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cacheproxy/cacheproxy/tiers"
	"github.com/cacheproxy/cacheproxy/tiers/backendtest"
)

// product is a value as programs have it.
type product struct {
	ID    int
	Name  string
	Price float64
	Tags  []string
	At    time.Time
}

// newCache returns a cache that is closed at the end of the test. o is changed by the settings.
func newCache[V any](t testing.TB, settings ...func(*tiers.CacheOptions[V])) *tiers.Cache[V] {
	t.Helper()
	o := tiers.CacheOptions[V]{TTL: time.Minute}
	for _, set := range settings {
		set(&o)
	}
	c, err := tiers.NewCache(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := c.Close(ctx); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return c
}

// over puts a backend behind memory.
func over[V any](b tiers.Backend) func(*tiers.CacheOptions[V]) {
	return func(o *tiers.CacheOptions[V]) { o.Backend, o.Timeout = b, time.Second }
}

// flush lets all that is queued for the backend be written.
func flush(t testing.TB, c interface{ Stats() tiers.CacheStats }) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for c.Stats().Remote.Queued > 0 {
		if time.Now().After(deadline) {
			t.Fatal("the queue is never empty")
		}
		time.Sleep(time.Millisecond)
	}
}

// returning is a loader, and counts its calls.
func returning[V any](calls *atomic.Int32, v V) func(context.Context) (V, error) {
	return func(context.Context) (V, error) {
		calls.Add(1)
		return v, nil
	}
}

func never[V any](t testing.TB) func(context.Context) (V, error) {
	return func(context.Context) (v V, err error) {
		t.Error("the loader was called")
		return v, nil
	}
}

func want[V comparable](t testing.TB, what string, got V, err error, want V) {
	t.Helper()
	if err != nil || got != want {
		t.Errorf("%s = %v, %v, want %v", what, got, err, want)
	}
}

func TestCacheAside(t *testing.T) {
	c := newCache[string](t)
	ctx := t.Context()
	var calls atomic.Int32
	if v, ok := c.Get(ctx, "a"); ok {
		t.Errorf("Get of nothing = %q", v)
	}
	for range 3 {
		v, err := c.GetOrLoad(ctx, "a", returning(&calls, "loaded"))
		want(t, "GetOrLoad", v, err, "loaded")
	}
	if n := calls.Load(); n != 1 {
		t.Errorf("%d loads, want 1", n)
	}
	if err := c.Set(ctx, "a", "set"); err != nil {
		t.Fatal(err)
	}
	v, err := c.GetOrLoad(ctx, "a", never[string](t))
	want(t, "GetOrLoad after Set", v, err, "set")
	if err := c.Delete(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if v, ok := c.Get(ctx, "a"); ok {
		t.Errorf("Get after Delete = %q", v)
	}
	s := c.Stats()
	if s.MemoryHits != 3 || s.Misses != 3 || s.Loads != 1 || s.Sets != 1 || s.Deletes != 1 {
		t.Errorf("Stats = %+v", s)
	}
	if r := s.HitRate(); r != 0.5 {
		t.Errorf("HitRate = %v, want 0.5", r)
	}
}

func TestCacheOptionsAreChecked(t *testing.T) {
	_, err := tiers.NewCache(tiers.CacheOptions[int]{RefreshAt: 1, Prefix: "a b", Serializer: 9, Compression: 9, LoadTimeout: time.Hour, MaxBytes: -1, Refreshes: -1, Timeout: -1})
	for _, part := range []string{"TTL", "RefreshAt", "Prefix", "Serializer", "Compression", "LoadTimeout", "MaxBytes", "Refreshes", "Timeout"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v: nothing about %s", err, part)
		}
	}
	deaf := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	defer deaf.Close()
	if _, err := tiers.NewCache(tiers.CacheOptions[int]{TTL: 1, Redis: deaf}); err == nil || !strings.Contains(err.Error(), "ContextTimeoutEnabled") {
		t.Errorf("a client without deadlines: %v", err)
	}
}

func TestLifetimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := backendtest.NewFake()
		c := newCache(t, over[int](fake), func(o *tiers.CacheOptions[int]) { o.TTL = 10 * time.Second })
		set := func(key string, options ...tiers.ValueOption) {
			if err := c.Set(t.Context(), key, 1, options...); err != nil {
				t.Fatal(err)
			}
		}
		set("default")
		set("long", tiers.TTL(time.Hour), tiers.Tags("x"))
		set("none", tiers.TTL(0))
		time.Sleep(9 * time.Second)
		for key, want := range map[string]bool{"default": true, "long": true, "none": false} {
			if _, ok := c.Get(t.Context(), key); ok != want {
				t.Errorf("after 9s: %s found = %v, want %v", key, ok, want)
			}
		}
		time.Sleep(2 * time.Second)
		for key, want := range map[string]bool{"default": false, "long": true} {
			if _, ok := c.Get(t.Context(), key); ok != want {
				t.Errorf("after 11s: %s found = %v, want %v", key, ok, want)
			}
		}
		// What comes from the store lives only what is left of its life.
		late := newCache(t, over[int](fake))
		if _, ok := late.Get(t.Context(), "long"); !ok {
			t.Error("not found in the store")
		}
		time.Sleep(time.Hour - 12*time.Second)
		if _, ok := late.Get(t.Context(), "long"); !ok {
			t.Error("it ended before its time")
		}
		time.Sleep(2 * time.Second)
		if _, ok := late.Get(t.Context(), "long"); ok {
			t.Error("it lives longer than its life")
		}
	})
}

// TestUnserializable: what cannot be serialized is returned, counted and not stored; with a Cost and memory alone it need not be.
func TestUnserializable(t *testing.T) {
	type opaque = func() int
	load := func(context.Context) (opaque, error) { return func() int { return 4 }, nil }
	strict := newCache[opaque](t)
	f, err := strict.GetOrLoad(t.Context(), "k", load)
	if err != nil || f() != 4 {
		t.Fatal(err)
	}
	if _, ok := strict.Get(t.Context(), "k"); ok || strict.Stats().Unserializable != 1 {
		t.Errorf("stored = %v, %+v", ok, strict.Stats())
	}
	if err := strict.Set(t.Context(), "k", f); err == nil {
		t.Error("Set has no error")
	}
	free := newCache(t, func(o *tiers.CacheOptions[opaque]) { o.Cost = func(string, opaque) int64 { return 8 } })
	if _, err := free.GetOrLoad(t.Context(), "k", load); err != nil {
		t.Fatal(err)
	}
	if f, ok := free.Get(t.Context(), "k"); !ok || f() != 4 {
		t.Error("a function is not kept in memory")
	}
}

// TestMemoryIsBounded in bytes, and what has no room in memory comes from the store.
func TestMemoryIsBounded(t *testing.T) {
	fake := backendtest.NewFake()
	c := newCache(t, over[string](fake), func(o *tiers.CacheOptions[string]) { o.MaxBytes = 100 << 10 })
	for i := range 300 {
		if err := c.Set(t.Context(), fmt.Sprint(i), strings.Repeat("x", 1<<10)); err != nil {
			t.Fatal(err)
		}
	}
	s := c.Stats()
	if s.Memory.Bytes > 100<<10 || s.Memory.Entries < 50 || s.Memory.Entries > 100 {
		t.Errorf("%d bytes in %d entries, want what 100 KiB can hold of 1 KiB each", s.Memory.Bytes, s.Memory.Entries)
	}
	flush(t, c)
	for i := range 300 {
		if _, ok := c.Get(t.Context(), fmt.Sprint(i)); !ok {
			t.Fatalf("%d is in neither tier", i)
		}
	}
	if s := c.Stats(); s.RemoteHits < 200 {
		t.Errorf("%d from the store, want most", s.RemoteHits)
	}
}

func TestClose(t *testing.T) {
	fake := backendtest.NewFake()
	c, err := tiers.NewCache(tiers.CacheOptions[int]{TTL: time.Minute, Backend: fake, Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	entered, release := make(chan struct{}), make(chan struct{})
	var caller sync.WaitGroup
	caller.Go(func() {
		v, err := c.GetOrLoad(t.Context(), "k", func(context.Context) (int, error) {
			close(entered)
			<-release
			return 1, nil
		})
		want(t, "the load under way", v, err, 1)
	})
	<-entered
	go close(release)
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	caller.Wait()
	if _, err := c.GetOrLoad(t.Context(), "other", never[int](t)); err != tiers.ErrClosed {
		t.Errorf("GetOrLoad after Close: %v", err)
	}
	if err := c.Set(t.Context(), "k", 1); err != tiers.ErrClosed {
		t.Errorf("Set after Close: %v", err)
	}
	if err := c.Delete(t.Context(), "k"); err != tiers.ErrClosed {
		t.Errorf("Delete after Close: %v", err)
	}
	v, err := newCache(t, over[int](fake)).GetOrLoad(t.Context(), "k", never[int](t))
	want(t, "what was queued at the end", v, err, 1)
}

// TestCloseCancelsLoads that take longer than it may.
func TestCloseCancelsLoads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := tiers.NewCache(tiers.CacheOptions[int]{TTL: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			_, err := c.GetOrLoad(context.Background(), "k", func(ctx context.Context) (int, error) {
				<-ctx.Done()
				return 0, ctx.Err()
			})
			if err != context.Canceled {
				t.Errorf("the load ended with %v", err)
			}
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := c.Close(ctx); err != context.DeadlineExceeded {
			t.Errorf("Close = %v", err)
		}
		synctest.Wait()
	})
}
