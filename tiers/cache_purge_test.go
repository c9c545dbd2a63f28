package tiers_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/tiers"
	"github.com/cacheproxy/cacheproxy/tiers/backendtest"
)

// program is one of several that share a log and a remote store.
type program struct {
	t      testing.TB
	state  *invalidation.State
	purger *invalidation.Purger
	cache  *tiers.Cache[string]
	loads  atomic.Int32
}

// purging starts a program and waits until it may answer from its copies.
func purging(t testing.TB, log invalidation.Log, fake tiers.Backend, settings ...func(*tiers.CacheOptions[string])) *program {
	t.Helper()
	p := &program{t: t, state: invalidation.NewState(1000)}
	follower := invalidation.NewFollower(log, p.state, invalidation.FollowerOptions{Lease: 2 * time.Second})
	p.purger = follower.Purger(nil)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = follower.Run(ctx)
	}()
	t.Cleanup(func() { stop(); <-ended })
	follower.Ready(ctx)
	settings = append([]func(*tiers.CacheOptions[string]){over[string](fake), func(o *tiers.CacheOptions[string]) {
		o.State, o.Prefix = p.state, "user"
	}}, settings...)
	p.cache = newCache(t, settings...)
	return p
}

// purge ends what is selected, everywhere.
func (p *program) purge(strategy invalidation.Strategy, selectors ...invalidation.Selector) {
	p.t.Helper()
	r, err := p.purger.Purge(p.t.Context(), invalidation.Purge{Selectors: selectors, Strategy: strategy})
	if err != nil || !r.Complete {
		p.t.Fatalf("purge of %v: %+v, %v", selectors, r, err)
	}
}

// get looks for a key; what is not there is loaded.
func (p *program) get(key string, options ...tiers.ValueOption) (loaded bool) {
	p.t.Helper()
	before := p.loads.Load()
	if _, err := p.cache.GetOrLoad(p.t.Context(), key, returning(&p.loads, "v"), options...); err != nil {
		p.t.Fatal(err)
	}
	return p.loads.Load() > before
}

func tagged(tag string) invalidation.Selector {
	return invalidation.Selector{Kind: invalidation.KindTag, Value: tag}
}

func pattern(glob string) invalidation.Selector {
	return invalidation.Selector{Kind: invalidation.KindPattern, Value: glob}
}

func uri(u string) invalidation.Selector {
	return invalidation.Selector{Kind: invalidation.KindURL, Value: u}
}

// TestPurgesReachAllInstances: in the memory of both, and in what they share; and nothing else is hit.
func TestPurgesReachAllInstances(t *testing.T) {
	long := strings.Repeat("k", 300)
	tests := []struct {
		name    string
		key     string
		options []tiers.ValueOption
		by      invalidation.Selector
		want    bool
	}{
		{"key", "7", nil, tiers.ValueKey("user", "7"), true},
		{"long key", long, nil, tiers.ValueKey("user", long), true},
		{"another key", "7", nil, tiers.ValueKey("user", "8"), false},
		{"the key with another prefix", "7", nil, tiers.ValueKey("shop", "7"), false},
		{"tag", "7", []tiers.ValueOption{tiers.Tags("a", "b")}, tagged("b"), true},
		{"another tag", "7", []tiers.ValueOption{tiers.Tags("a", "b")}, tagged("c"), false},
		{"tag, by a ban", "7", []tiers.ValueOption{tiers.Tags("a", "b")}, invalidation.Ban{Tags: "^b$"}.Selector(), true},
		{"pattern", "7", nil, pattern("user:*"), true},
		{"pattern over a slash", "7/8", nil, pattern("user:*"), false},
		{"pattern over slashes", "7/8", nil, pattern("user:**"), true},
		{"pattern with another prefix", "7", nil, pattern("use:*"), false},
		{"a key that looks like a URL", "//a/b", nil, pattern("user:**"), true},
		{"pattern for URLs", "//a/b", nil, pattern("a/**"), false},
		{"pattern for all URLs", "7", nil, pattern("**"), false},
		{"expression for URLs", "7", nil, pattern("re:user"), false},
		{"all", "7", nil, invalidation.Selector{Kind: invalidation.KindAll}, true},
		{"tag that it depends on", "7", []tiers.ValueOption{tiers.DependsOn(tagged("t"))}, tagged("t"), true},
		{"key that it depends on", "7", []tiers.ValueOption{tiers.DependsOn(tiers.ValueKey("shop", "1"))}, tiers.ValueKey("shop", "1"), true},
		{"URL that it depends on", "7", []tiers.ValueOption{tiers.DependsOn(uri("//a/x"))}, uri("https://a/x"), true},
		{"URL of a scheme that it depends on", "7", []tiers.ValueOption{tiers.DependsOn(uri("http://a/x"))}, uri("//a/x"), true},
		{"URL of another scheme", "7", []tiers.ValueOption{tiers.DependsOn(uri("http://a/x"))}, uri("https://a/x"), false},
		{"group that it depends on", "7", []tiers.ValueOption{tiers.DependsOn(invalidation.Group("https://a", "g"))}, invalidation.Group("https://a", "g"), true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fake, log := backendtest.NewFake(), invalidation.NewMemLogOf(100)
				one, two := purging(t, log, fake), purging(t, log, fake)
				time.Sleep(5 * time.Second) // who is young waits longer
				one.get(tt.key, tt.options...)
				flush(t, one.cache)
				if two.get(tt.key, tt.options...) {
					t.Fatal("the other does not find it")
				}
				one.purge(invalidation.Immediate, tt.by)
				for name, p := range map[string]*program{"one": one, "two": two, "a third, from Redis,": purging(t, log, fake)} {
					if _, ok := p.cache.Get(t.Context(), tt.key); ok == tt.want {
						t.Errorf("%s finds it: %v", name, ok)
					}
				}
				if loaded := two.get(tt.key, tt.options...); loaded != tt.want {
					t.Errorf("loaded anew: %v, want %v", loaded, tt.want)
				}
				flush(t, two.cache)
				if one.get(tt.key, tt.options...) {
					t.Error("what was loaded after the purge is not found")
				}
			})
		})
	}
}

// TestAPurgeDuringALoadHolds: what comes of the load is for who asked before, and a call after the purge does not join it.
func TestAPurgeDuringALoadHolds(t *testing.T) {
	tests := []struct {
		name    string
		options []tiers.ValueOption
		by      invalidation.Selector
		joins   bool
		hit     bool
	}{
		{"key", nil, tiers.ValueKey("user", "k"), false, true},
		{"another key", nil, tiers.ValueKey("user", "x"), true, false},
		{"tag", []tiers.ValueOption{tiers.Tags("t")}, tagged("t"), false, true},
		{"a tag that may be told yet", nil, tagged("t"), false, false},
		{"pattern", nil, pattern("user:*"), false, true},
		{"URL that it depends on", []tiers.ValueOption{tiers.DependsOn(uri("//a/x"))}, uri("http://a/x"), false, true},
		{"another URL", []tiers.ValueOption{tiers.DependsOn(uri("//a/x"))}, uri("http://a/y"), true, false},
		{"all", nil, invalidation.Selector{Kind: invalidation.KindAll}, false, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fake, log := backendtest.NewFake(), invalidation.NewMemLogOf(100)
				p, other := purging(t, log, fake), purging(t, log, fake)
				time.Sleep(5 * time.Second)
				var calls atomic.Int32
				slow := func(context.Context) (string, error) {
					n := calls.Add(1)
					time.Sleep(time.Second / 2)
					return fmt.Sprint("v", n), nil
				}
				results := make(chan string, 2)
				ask := func() {
					v, err := p.cache.GetOrLoad(t.Context(), "k", slow, tt.options...)
					if err != nil {
						t.Error(err)
					}
					results <- v
				}
				go ask()
				synctest.Wait()
				p.purge(invalidation.Immediate, tt.by)
				time.Sleep(time.Second / 10)
				go ask()
				if first := <-results; first != "v1" {
					t.Errorf("who asked before got %q", first)
				}
				_, found := p.cache.Get(t.Context(), "k")
				flush(t, p.cache)
				if _, there := other.cache.Get(t.Context(), "k"); found == tt.hit || there == tt.hit {
					t.Errorf("what the purge has overtaken is found: %v, in Redis: %v", found, there)
				}
				second := <-results
				if joined := second == "v1"; joined != tt.joins {
					t.Errorf("who asked after the purge got %q", second)
				}
			})
		})
	}
}

// TestAPurgeDuringSetHolds: a Set that was called before the purge does not undo it, one after it counts.
func TestAPurgeDuringSetHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := backendtest.NewFake()
		p := purging(t, invalidation.NewMemLogOf(100), fake)
		time.Sleep(5 * time.Second)
		fake.Fail(backendtest.Fault{Hang: true})
		set := make(chan error)
		go func() { set <- p.cache.Set(t.Context(), "k", "old") }()
		synctest.Wait()
		p.purge(invalidation.Immediate, p.cache.Key("k"))
		fake.Fail(backendtest.Fault{})
		if err := <-set; err != nil {
			t.Fatal(err)
		}
		if _, ok := p.cache.Get(t.Context(), "k"); ok {
			t.Error("a Set from before the purge has undone it")
		}
		if err := p.cache.Set(t.Context(), "k", "new"); err != nil {
			t.Fatal(err)
		}
		if v, _ := p.cache.Get(t.Context(), "k"); v != "new" {
			t.Errorf("after the purge %q was set", v)
		}
	})
}

// TestStrategiesOfValues: what each makes of a value.
func TestStrategiesOfValues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		state := invalidation.NewState(100)
		purger := invalidation.NewPurger(invalidation.NewMemLog(), state, nil)
		c := newCache(t, func(o *tiers.CacheOptions[string]) { o.State = state })
		purge := func(key string, s invalidation.Strategy, ttl time.Duration) {
			t.Helper()
			if _, err := purger.Purge(t.Context(), invalidation.Purge{Selectors: []invalidation.Selector{c.Key(key)}, Strategy: s, TTL: ttl}); err != nil {
				t.Fatal(err)
			}
		}
		for _, key := range []string{"soft", "cut", "cold", "hot", "lazy"} {
			if err := c.Set(t.Context(), key, "old"); err != nil {
				t.Fatal(err)
			}
		}
		for range 10 {
			c.Get(t.Context(), "hot")
		}
		purge("soft", invalidation.Soft, 0)
		purge("cut", invalidation.TTL, 10*time.Second)
		purge("cold", invalidation.Smart, 0)
		purge("hot", invalidation.Smart, 0)
		purge("lazy", invalidation.Lazy, 0)
		for key, want := range map[string]bool{"soft": true, "cut": true, "cold": false, "hot": true, "lazy": false} {
			if _, ok := c.Get(t.Context(), key); ok != want {
				t.Errorf("%s is found: %v", key, ok)
			}
		}
		for _, key := range []string{"soft", "hot"} {
			var calls atomic.Int32
			for _, want := range []string{"old", "new", "new"} {
				v, err := c.GetOrLoad(t.Context(), key, returning(&calls, "new"))
				if err != nil || v != want {
					t.Errorf("%s is %q, %v, want %q", key, v, err, want)
				}
				synctest.Wait()
			}
			if calls.Load() != 1 {
				t.Errorf("%s was loaded %d times", key, calls.Load())
			}
		}
		time.Sleep(11 * time.Second)
		if _, ok := c.Get(t.Context(), "cut"); ok {
			t.Error("what was cut to 10s is found after 11")
		}
	})
}

// TestPurgesFreeMemory, also of what nobody asks for any more, and nothing else.
func TestPurgesFreeMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		state := invalidation.NewState(100)
		purger := invalidation.NewPurger(invalidation.NewMemLog(), state, nil)
		c := newCache(t, func(o *tiers.CacheOptions[string]) { o.State, o.TTL = state, time.Hour })
		for i := range 100 {
			if err := c.Set(t.Context(), fmt.Sprint(i), "v", tiers.Tags(fmt.Sprint(i%10))); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := purger.Purge(t.Context(), invalidation.Purge{Selectors: []invalidation.Selector{tagged("3")}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		if n := c.Stats().Memory.Entries; n != 90 {
			t.Errorf("%d values in memory, want 90", n)
		}
	})
}

// TestCutOffValues: who may not answer from copies loads, and joins nothing.
func TestCutOffValues(t *testing.T) {
	for _, on := range []invalidation.Partition{invalidation.Serve, invalidation.Revalidate, invalidation.Bypass} {
		t.Run(on.String(), func(t *testing.T) {
			state := invalidation.NewState(100)
			state.SetOnPartition(on)
			// It is never run, and so never up to date.
			invalidation.NewFollower(invalidation.NewMemLog(), state, invalidation.FollowerOptions{Lease: time.Second})
			c := newCache(t, func(o *tiers.CacheOptions[string]) { o.State = state })
			var calls atomic.Int32
			for range 2 {
				if _, err := c.GetOrLoad(t.Context(), "k", returning(&calls, "v")); err != nil {
					t.Fatal(err)
				}
			}
			want := int32(2)
			if on == invalidation.Serve {
				want = 1
			}
			if calls.Load() != want {
				t.Errorf("%d loads, want %d", calls.Load(), want)
			}
		})
	}
}

// TestWhatCannotBePurged is refused before it is stored.
func TestWhatCannotBePurged(t *testing.T) {
	c := newCache(t, func(o *tiers.CacheOptions[string]) { o.State = invalidation.NewState(1) })
	if err := c.Set(t.Context(), "k", "v", tiers.DependsOn(pattern("user:*"))); err == nil {
		t.Error("a value may depend on a pattern")
	}
	for _, prefix := range []string{"a/b", "a*"} {
		if _, err := tiers.NewCache(tiers.CacheOptions[string]{TTL: time.Minute, State: invalidation.NewState(1), Prefix: prefix}); err == nil {
			t.Errorf("the prefix %q is taken", prefix)
		}
	}
}
