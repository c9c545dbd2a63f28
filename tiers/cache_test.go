package tiers_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
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

// TestStampede: however many ask for a cold key at once, one loads, and all get what it brings.
func TestStampede(t *testing.T) {
	for _, behind := range []bool{false, true} {
		t.Run(fmt.Sprint("remote=", behind), func(t *testing.T) {
			c := newCache[int](t)
			if behind {
				c = newCache(t, over[int](backendtest.NewFake()))
			}
			const callers = 500
			var calls atomic.Int32
			release := make(chan struct{})
			var done sync.WaitGroup
			for range callers {
				done.Go(func() {
					v, err := c.GetOrLoad(t.Context(), "k", func(context.Context) (int, error) {
						calls.Add(1)
						<-release
						return 7, nil
					})
					if v != 7 || err != nil {
						t.Error(v, err)
					}
				})
			}
			for s := c.Stats(); s.Collapsed+s.Loads < callers; s = c.Stats() {
				runtime.Gosched()
			}
			close(release)
			done.Wait()
			if n := calls.Load(); n != 1 {
				t.Errorf("%d loads, want 1", n)
			}
			if s := c.Stats(); s.Collapsed != callers-1 || s.Misses != 1 {
				t.Errorf("%d collapsed and %d misses, want %d and 1", s.Collapsed, s.Misses, callers-1)
			}
		})
	}
}

// TestErrorsAreNotStored: an error goes to all who wait for it, and the next caller loads again.
func TestErrorsAreNotStored(t *testing.T) {
	c := newCache(t, over[int](backendtest.NewFake()))
	broken := errors.New("no database")
	for range 2 {
		if _, err := c.GetOrLoad(t.Context(), "k", func(context.Context) (int, error) { return 1, broken }); err != broken {
			t.Errorf("error = %v, want %v itself", err, broken)
		}
	}
	if s := c.Stats(); s.Loads != 2 || s.LoadErrors != 2 || s.Memory.Entries != 0 {
		t.Errorf("Stats = %+v", s)
	}
}

// TestPanicsReachTheCallers and nobody else: the process goes on, and so does the cache.
func TestPanicsReachTheCallers(t *testing.T) {
	c := newCache[int](t)
	cause := errors.New("index out of range")
	var joined uint64
	for name, loader := range map[string]func(context.Context) (int, error){
		"error":  func(context.Context) (int, error) { panic(cause) },
		"text":   func(context.Context) (int, error) { panic("out of cheese") },
		"goexit": func(context.Context) (int, error) { runtime.Goexit(); return 1, nil },
	} {
		entered, release := make(chan struct{}), make(chan struct{})
		var callers sync.WaitGroup
		for i := range 3 {
			callers.Go(func() {
				if i > 0 {
					<-entered
				}
				_, err := c.GetOrLoad(t.Context(), name, func(ctx context.Context) (int, error) {
					close(entered)
					<-release
					return loader(ctx)
				})
				var p *tiers.PanicError
				switch {
				case err == nil:
					t.Errorf("%s: no error", name)
				case name == "goexit":
				case !errors.As(err, &p) || !strings.Contains(string(p.Stack), "cache_test.go"):
					t.Errorf("%s: %v, want a *PanicError with the loader's stack", name, err)
				case name == "error" && !errors.Is(err, cause):
					t.Errorf("%v does not wrap what was thrown", err)
				}
			})
		}
		<-entered
		for joined += 2; c.Stats().Collapsed < joined; {
			runtime.Gosched()
		}
		close(release)
		callers.Wait()
	}
	v, err := c.GetOrLoad(t.Context(), "text", func(context.Context) (int, error) { return 5, nil })
	want(t, "GetOrLoad after a panic", v, err, 5)
	if s := c.Stats(); s.LoadPanics != 2 || s.LoadErrors != 3 {
		t.Errorf("%d panics, %d errors, want 2 and 3", s.LoadPanics, s.LoadErrors)
	}
}

// TestLeaving: who leaves does not cancel the others, gets the error of its own context, and what is loaded is stored.
func TestLeaving(t *testing.T) {
	c := newCache[int](t)
	type key struct{}
	first, leave := context.WithCancel(context.WithValue(t.Context(), key{}, "kept"))
	release := make(chan struct{})
	loader := func(ctx context.Context) (int, error) {
		<-release
		if ctx.Value(key{}) != "kept" {
			t.Error("the values of the first caller's context are gone")
		}
		return 3, ctx.Err()
	}
	var callers sync.WaitGroup
	callers.Go(func() {
		if _, err := c.GetOrLoad(first, "k", loader); err != context.Canceled {
			t.Errorf("who left got %v", err)
		}
		close(release)
	})
	for c.Stats().Loads == 0 {
		runtime.Gosched()
	}
	callers.Go(func() {
		v, err := c.GetOrLoad(t.Context(), "k", never[int](t))
		want(t, "GetOrLoad of who stayed", v, err, 3)
	})
	for c.Stats().Collapsed == 0 {
		runtime.Gosched()
	}
	leave()
	callers.Wait()
	if v, ok := c.Get(t.Context(), "k"); !ok || v != 3 {
		t.Errorf("Get = %v, %v", v, ok)
	}
	if _, err := c.GetOrLoad(first, "other", never[int](t)); err != context.Canceled {
		t.Errorf("a caller whose context has ended got %v", err)
	}
}

// TestDeadline: a load ends after LoadTimeout, whoever waits; a caller's own deadline ends only its waiting.
func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, func(o *tiers.CacheOptions[int]) { o.LoadTimeout = 3 * time.Second })
		begin := time.Now()
		slow := func(ctx context.Context) (int, error) {
			<-ctx.Done()
			return 0, ctx.Err()
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.GetOrLoad(short, "k", slow); err != context.DeadlineExceeded || time.Since(begin) != time.Second {
			t.Errorf("%v after %v, want its deadline after 1s", err, time.Since(begin))
		}
		if _, err := c.GetOrLoad(t.Context(), "k", never[int](t)); err != context.DeadlineExceeded || time.Since(begin) != 3*time.Second {
			t.Errorf("%v after %v, want the load's after 3s", err, time.Since(begin))
		}
	})
}

// TestZeroValues are values: nil, empty and zero are found again, in memory and behind it, in every form.
func TestZeroValues(t *testing.T) {
	for s := tiers.Msgpack; s <= tiers.Gob; s++ {
		t.Run(s.String(), func(t *testing.T) {
			roundTrip(t, s, 0)
			roundTrip(t, s, "")
			roundTrip[*product](t, s, nil)
			roundTrip[[]byte](t, s, nil)
			roundTrip(t, s, []int{})
			roundTrip[map[string]int](t, s, nil)
			roundTrip[any](t, s, nil)
			roundTrip(t, s, product{})
			roundTrip(t, s, &product{ID: 1, Name: "thing", Price: 1.5, Tags: []string{"a"}, At: time.Unix(1700000000, 0).UTC()})
		})
	}
}

// roundTrip loads v in one cache and finds it in another.
func roundTrip[V any](t *testing.T, s tiers.Serializer, v V) {
	t.Helper()
	fake := backendtest.NewFake()
	setting := func(o *tiers.CacheOptions[V]) { o.Serializer = s }
	one := newCache(t, over[V](fake), setting)
	// What another writes is read whatever this one writes.
	two := newCache(t, over[V](fake), func(o *tiers.CacheOptions[V]) { o.Serializer = (s + 1) % 3 })
	var calls atomic.Int32
	for range 2 {
		if _, err := one.GetOrLoad(t.Context(), "k", returning(&calls, v)); err != nil {
			t.Fatal(err)
		}
	}
	if calls.Load() != 1 {
		t.Errorf("%T: %d loads, want 1", v, calls.Load())
	}
	flush(t, one)
	got, err := two.GetOrLoad(t.Context(), "k", never[V](t))
	if err != nil || describe(got) != describe(v) {
		t.Errorf("%T: %s from the other, %v, want %s", v, describe(got), err, describe(v))
	}
}

// describe shows a value, but does not tell nil from empty: not every form does.
func describe(v any) string {
	if p, ok := v.(*product); ok && p != nil {
		v = *p
	}
	return fmt.Sprintf("%v", v)
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

// TestSlowLoads: a value's life begins before its loader has seen anything, so one that was under way for longer is not stored.
func TestSlowLoads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, func(o *tiers.CacheOptions[int]) { o.TTL = 2 * time.Second })
		v, err := c.GetOrLoad(t.Context(), "k", func(context.Context) (int, error) {
			time.Sleep(3 * time.Second)
			return 1, nil
		})
		want(t, "GetOrLoad", v, err, 1)
		if _, ok := c.Get(t.Context(), "k"); ok {
			t.Error("a value that was dead on arrival is found")
		}
	})
}

// TestDeleteDuringALoad: what was loaded before the Delete ended is not found after it, nobody joins its load, and the store does not
// take it either.
func TestDeleteDuringALoad(t *testing.T) {
	for name, change := range map[string]func(*tiers.Cache[string]) error{
		"delete": func(c *tiers.Cache[string]) error { return c.Delete(context.Background(), "k") },
		"set":    func(c *tiers.Cache[string]) error { return c.Set(context.Background(), "k", "new") },
	} {
		t.Run(name, func(t *testing.T) {
			fake := backendtest.NewFake()
			c, other := newCache(t, over[string](fake)), newCache(t, over[string](fake))
			entered, release := make(chan struct{}), make(chan struct{})
			var callers sync.WaitGroup
			for _, c := range []*tiers.Cache[string]{c, other} { // the store refuses what either has loaded
				callers.Go(func() {
					v, err := c.GetOrLoad(t.Context(), "k", func(context.Context) (string, error) {
						entered <- struct{}{}
						<-release
						return "old", nil
					})
					want(t, "the load under way", v, err, "old")
				})
			}
			<-entered
			<-entered
			if err := change(c); err != nil {
				t.Fatal(err)
			}
			v, err := c.GetOrLoad(t.Context(), "k", func(context.Context) (string, error) { return "new", nil })
			want(t, "GetOrLoad after it", v, err, "new")
			close(release)
			callers.Wait()
			flush(t, c)
			flush(t, other)
			if v, ok := c.Get(t.Context(), "k"); v != "new" {
				t.Errorf("Get = %q, %v, want new", v, ok)
			}
			third := newCache(t, over[string](fake))
			if v, ok := third.Get(t.Context(), "k"); ok && v != "new" {
				t.Errorf("the store holds %q", v)
			}
		})
	}
}

// TestRefresh: it does not join a load that began before, nor is its value displaced by that one.
func TestRefresh(t *testing.T) {
	fake := backendtest.NewFake()
	c := newCache(t, over[string](fake))
	entered, release := make(chan struct{}), make(chan struct{})
	var callers sync.WaitGroup
	callers.Go(func() {
		v, err := c.GetOrLoad(t.Context(), "k", func(context.Context) (string, error) {
			close(entered)
			<-release
			return "old", nil
		})
		want(t, "the load before", v, err, "old")
	})
	<-entered
	v, err := c.Refresh(t.Context(), "k", func(context.Context) (string, error) { return "new", nil })
	want(t, "Refresh", v, err, "new")
	close(release)
	callers.Wait()
	v, err = c.GetOrLoad(t.Context(), "k", never[string](t))
	want(t, "GetOrLoad", v, err, "new")
	flush(t, c)
	v, err = newCache(t, over[string](fake)).GetOrLoad(t.Context(), "k", never[string](t))
	want(t, "GetOrLoad elsewhere", v, err, "new")
}

func TestRefreshAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var failed atomic.Int32
		c := newCache(t, func(o *tiers.CacheOptions[int32]) {
			o.TTL, o.RefreshAt = 100*time.Second, 0.8
			o.RefreshFailed = func(string, error) { failed.Add(1) }
		})
		var calls atomic.Int32
		var broken atomic.Bool
		ask := func(want int32) {
			t.Helper()
			v, err := c.GetOrLoad(t.Context(), "k", func(context.Context) (int32, error) {
				if broken.Load() {
					return 0, errors.New("no database")
				}
				time.Sleep(time.Second)
				return calls.Add(1), nil
			})
			if v != want || err != nil {
				t.Errorf("after %d loads: %v, %v, want %v", calls.Load(), v, err, want)
			}
		}
		ask(1)
		time.Sleep(78 * time.Second)
		ask(1)
		if synctest.Wait(); calls.Load() != 1 {
			t.Error("refreshed before it was ripe")
		}
		time.Sleep(2 * time.Second)
		for range 10 {
			ask(1) // nobody waits
		}
		time.Sleep(2 * time.Second)
		if calls.Load() != 2 {
			t.Errorf("%d loads, want 1 and 1 refresh", calls.Load())
		}
		ask(2)
		// While it fails, what is there is served on, and it is tried again now and then.
		broken.Store(true)
		time.Sleep(77 * time.Second)
		for range 12 {
			ask(2)
			time.Sleep(time.Second)
		}
		if n := failed.Load(); n < 2 || n > 8 {
			t.Errorf("%d attempts in 12s, want a few", n)
		}
		broken.Store(false)
		time.Sleep(3 * time.Second)
		ask(2)
		time.Sleep(2 * time.Second)
		ask(3)
		if s := c.Stats(); s.Refreshes != uint64(failed.Load())+2 || s.LoadErrors != uint64(failed.Load()) {
			t.Errorf("Stats = %+v", s)
		}
	})
}

// TestRefreshesAreBounded: no more loads run in the background than there are places for.
func TestRefreshesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, func(o *tiers.CacheOptions[int]) { o.RefreshAt, o.Refreshes = 0.5, 2 })
		for i := range 10 {
			if err := c.Set(t.Context(), fmt.Sprint(i), 1); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(40 * time.Second)
		var under, most atomic.Int32
		for i := range 10 {
			_, _ = c.GetOrLoad(t.Context(), fmt.Sprint(i), func(context.Context) (int, error) {
				most.Store(max(most.Load(), under.Add(1)))
				time.Sleep(time.Second)
				under.Add(-1)
				return 2, nil
			})
		}
		time.Sleep(5 * time.Second)
		if s := c.Stats(); most.Load() != 2 || s.Refreshes != 2 {
			t.Errorf("%d at once, %d in all, want 2 and 2", most.Load(), s.Refreshes)
		}
	})
}

// TestOneRefreshesForAll: what another instance has refreshed is taken from the store.
func TestOneRefreshesForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := backendtest.NewFake()
		ahead := func(o *tiers.CacheOptions[int32]) { o.RefreshAt = 0.5 }
		one, two := newCache(t, over[int32](fake), ahead), newCache(t, over[int32](fake), ahead)
		var calls atomic.Int32
		load := func(context.Context) (int32, error) { return calls.Add(1), nil }
		ask := func(c *tiers.Cache[int32], want int32) {
			t.Helper()
			if v, err := c.GetOrLoad(t.Context(), "k", load); v != want || err != nil {
				t.Errorf("%v, %v, want %v", v, err, want)
			}
			time.Sleep(time.Second)
		}
		ask(one, 1)
		ask(two, 1)
		time.Sleep(40 * time.Second)
		ask(one, 1)
		ask(two, 1)
		ask(one, 2)
		ask(two, 2)
		if calls.Load() != 2 {
			t.Errorf("%d loads, want one and one refresh", calls.Load())
		}
	})
}

// TestRemoteAway: whatever befalls the store, callers see no error, and no wait beyond its deadline until the breaker opens.
func TestRemoteAway(t *testing.T) {
	for name, fault := range map[string]backendtest.Fault{
		"error":   {Err: errors.New("connection refused")},
		"hanging": {Hang: true},
		"full":    {Refuse: true},
		"garbage": {Lie: func([]byte) []byte { return []byte("garbage") }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fake := backendtest.NewFake()
				before := newCache(t, over[string](fake))
				if err := before.Set(t.Context(), "old", "old"); err != nil {
					t.Fatal(err)
				}
				flush(t, before)
				c := newCache(t, over[string](fake), func(o *tiers.CacheOptions[string]) {
					o.Timeout, o.Failures, o.OpenFor = 100*time.Millisecond, 3, time.Second
				})
				fake.Fail(fault)
				begin := time.Now()
				for i := range 20 {
					v, err := c.GetOrLoad(t.Context(), fmt.Sprint(i), func(context.Context) (string, error) { return "loaded", nil })
					want(t, "GetOrLoad", v, err, "loaded")
				}
				v, err := c.GetOrLoad(t.Context(), "old", func(context.Context) (string, error) { return "loaded", nil })
				if err != nil || v != "loaded" && name != "full" {
					t.Errorf("what the store cannot give = %q, %v", v, err)
				}
				if err := c.Set(t.Context(), "s", "set"); err != nil {
					t.Error(err)
				}
				v, err = c.GetOrLoad(t.Context(), "s", never[string](t))
				want(t, "GetOrLoad after Set", v, err, "set")
				if d := time.Since(begin); d > 400*time.Millisecond {
					t.Errorf("%v of waiting, want 3 deadlines of 100ms at most", d)
				}
				fake.Fail(backendtest.Fault{})
				time.Sleep(3 * time.Second)
				if s := c.Stats(); !s.RemoteUp || s.Remote.Deletes != 0 {
					t.Errorf("it is well again, and not asked: %+v", s.Remote)
				}
			})
		})
	}
}

// TestDeleteWhileAway: the store is told later, and what it holds is not read until then.
func TestDeleteWhileAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := backendtest.NewFake()
		c := newCache(t, over[string](fake), func(o *tiers.CacheOptions[string]) {
			o.Timeout, o.Failures, o.OpenFor = 10*time.Millisecond, 1, time.Second
		})
		for _, key := range []string{"deleted", "set"} {
			if err := c.Set(t.Context(), key, "old"); err != nil {
				t.Fatal(err)
			}
		}
		flush(t, c)
		fake.Fail(backendtest.Fault{Err: errors.New("connection refused")})
		if err := c.Delete(t.Context(), "deleted"); err == nil {
			t.Error("no word of that the store does not know")
		}
		if err := c.Set(t.Context(), "set", "new"); err != nil {
			t.Error(err)
		}
		if _, ok := c.Get(t.Context(), "deleted"); ok {
			t.Error("found after Delete")
		}
		fake.Fail(backendtest.Fault{})
		time.Sleep(3 * time.Second)
		for _, key := range []string{"deleted", "set"} {
			if v, ok := newCache(t, over[string](fake)).Get(t.Context(), key); ok {
				t.Errorf("the store still holds %q for %s", v, key)
			}
		}
		if v, _ := c.Get(t.Context(), "set"); v != "new" {
			t.Errorf("what was set is %q", v)
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

// TestKeys of all kinds are told apart.
func TestKeys(t *testing.T) {
	fake := backendtest.NewFake()
	c, other := newCache(t, over[string](fake)), newCache(t, over[string](fake))
	keys := []string{"", " ", "a", "{a}", "}a{", "a\nb", "a\x00b", "ключ", strings.Repeat("k", 200), strings.Repeat("k", 201), strings.Repeat("k", 5000), "%61", "\xff\xfe"}
	for _, key := range keys {
		if err := c.Set(t.Context(), key, key); err != nil {
			t.Fatal(err)
		}
	}
	flush(t, c)
	for _, key := range keys {
		if v, ok := other.Get(t.Context(), key); !ok || v != key {
			t.Errorf("Get(%.10q) = %.10q, %v", key, v, ok)
		}
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
