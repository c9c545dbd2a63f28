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

	"github.com/cacheproxy/cacheproxy/tiers"
	"github.com/cacheproxy/cacheproxy/tiers/backendtest"
)

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
				case !errors.As(err, &p) || !strings.Contains(string(p.Stack), "cache_load_test.go"):
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
