package tiers_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/test/redistest"
	"github.com/cacheproxy/cacheproxy/tiers"
	"github.com/cacheproxy/cacheproxy/tiers/backendtest"
)

type admin struct{}

func TestCached(t *testing.T) {
	c := newCache[string](t)
	var calls atomic.Int32
	f := tiers.Cached(c, func(id int) string { return "user:" + strconv.Itoa(id) }, func(_ context.Context, id int) (string, error) {
		return fmt.Sprintf("user %d, call %d", id, calls.Add(1)), nil
	}, tiers.FunctionOptions[int]{
		When:   func(ctx context.Context, id int) bool { return id >= 0 && ctx.Value(admin{}) == nil },
		Values: func(id int) []tiers.ValueOption { return []tiers.ValueOption{tiers.TTL(time.Hour)} },
	})
	// It may stand wherever the function did.
	var call func(context.Context, int) (string, error) = f.Call
	ctx := t.Context()
	for _, step := range []struct {
		what string
		call func(context.Context, int) (string, error)
		ctx  context.Context
		id   int
		want string
	}{
		{"a miss", call, ctx, 1, "user 1, call 1"},
		{"a hit", call, ctx, 1, "user 1, call 1"},
		{"another argument", call, ctx, 2, "user 2, call 2"},
		{"the condition refuses the argument", call, ctx, -1, "user -1, call 3"},
		{"nor was that stored", call, ctx, -1, "user -1, call 4"},
		{"the condition refuses the context", call, context.WithValue(ctx, admin{}, true), 1, "user 1, call 5"},
		{"what was stored before is still there", call, ctx, 1, "user 1, call 1"},
		{"a refresh is forced", f.Refresh, ctx, 1, "user 1, call 6"},
		{"it is for all", call, ctx, 1, "user 1, call 6"},
		{"a refresh of what is not cached", f.Refresh, ctx, -1, "user -1, call 7"},
	} {
		v, err := step.call(step.ctx, step.id)
		want(t, step.what, v, err, step.want)
	}
	if err := f.Forget(ctx, 1); err != nil {
		t.Fatal(err)
	}
	v, err := call(ctx, 1)
	want(t, "after Forget", v, err, "user 1, call 8")
}

// TestNobodySeesWhatWasDeleted: whatever else goes on, a GetOrLoad that begins after a Delete has ended returns what the source held
// then, or something later.
func TestNobodySeesWhatWasDeleted(t *testing.T) {
	for _, behind := range []bool{false, true} {
		t.Run(fmt.Sprint("remote=", behind), func(t *testing.T) {
			settings := []func(*tiers.CacheOptions[int64]){func(o *tiers.CacheOptions[int64]) { o.RefreshAt = 0.001 }}
			if behind {
				fake := backendtest.NewFake()
				fake.Fail(backendtest.Fault{Before: func(string, string) { time.Sleep(time.Duration(rand.IntN(200)) * time.Microsecond) }})
				settings = append(settings, over[int64](fake), func(o *tiers.CacheOptions[int64]) { o.MaxBytes = 2000 }) // hardly any memory
			}
			c := newCache(t, settings...)
			const keys = 8
			var source, deleted [keys]atomic.Int64
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			var work sync.WaitGroup
			for k := range keys {
				name := strconv.Itoa(k)
				load := func(context.Context) (int64, error) {
					v := source[k].Load()
					time.Sleep(time.Duration(rand.IntN(300)) * time.Microsecond)
					return v, nil
				}
				work.Go(func() {
					for v := int64(1); ctx.Err() == nil; v++ {
						source[k].Store(v)
						switch v % 3 {
						case 0:
							_ = c.Set(context.Background(), name, v)
						case 1:
							_ = c.Delete(context.Background(), name)
						default:
							_, _ = c.Refresh(context.Background(), name, load)
						}
						deleted[k].Store(v)
						time.Sleep(time.Duration(rand.IntN(500)) * time.Microsecond)
					}
				})
				for range 3 {
					work.Go(func() {
						for ctx.Err() == nil {
							floor := deleted[k].Load()
							v, err := c.GetOrLoad(context.Background(), name, load)
							if err != nil || v < floor {
								t.Errorf("GetOrLoad = %d, %v after %d was made known", v, err, floor)
								return
							}
						}
					})
				}
			}
			work.Wait()
		})
	}
}

// TestCachesShareARedis: one real server, its death and its return.
func TestCachesShareARedis(t *testing.T) {
	server := redistest.Start(t)
	client := clientOf(t, redis.UniversalOptions{Addrs: []string{server.Addr}})
	with := func(o *tiers.CacheOptions[product]) {
		o.Redis, o.Prefix, o.Serializer, o.Timeout, o.OpenFor = client, "shop", tiers.JSON, 500*time.Millisecond, 50*time.Millisecond
	}
	one, two := newCache(t, with), newCache(t, with)
	load := func(context.Context) (product, error) { return product{ID: 1, Name: "lamp"}, nil }
	if _, err := one.GetOrLoad(t.Context(), "product:1", load, tiers.Tags("products")); err != nil {
		t.Fatal(err)
	}
	flush(t, one)
	if v, err := two.GetOrLoad(t.Context(), "product:1", never[product](t)); err != nil || v.Name != "lamp" {
		t.Errorf("from Redis: %v, %v", v, err)
	}
	frame, _ := server.Do("HGET", "shop:value:{product:1}", "v").(string)
	for _, part := range []string{`"key":"product:1"`, `"tags":["products"]`, `"Name":"lamp"`} {
		if !strings.Contains(frame, part) {
			t.Errorf("the frame %q does not show %s", frame, part)
		}
	}
	if ttl, _ := server.Do("PTTL", "shop:value:{product:1}").(int64); ttl < 53_000 || ttl > 60_000 {
		t.Errorf("it expires in %d ms, want a minute less a tenth at most", ttl)
	}
	server.ResetCommands()
	for range 100 {
		_, _ = two.GetOrLoad(t.Context(), "product:1", never[product](t))
	}
	if n := server.Commands(); n["hmget"] != 0 || n["evalsha"] != 0 {
		t.Errorf("hits in memory asked Redis: %v", n)
	}
	server.Kill()
	for i := range 10 {
		if _, err := one.GetOrLoad(t.Context(), fmt.Sprint(i), load); err != nil {
			t.Errorf("without Redis: %v", err)
		}
	}
	server.Restart()
	for deadline := time.Now().Add(10 * time.Second); !one.Stats().RemoteUp; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("Redis is back, and not asked")
		}
	}
	if _, err := one.GetOrLoad(t.Context(), "again", load); err != nil {
		t.Fatal(err)
	}
	flush(t, one)
	if _, ok := two.Get(t.Context(), "again"); !ok {
		t.Error("nothing is stored after its return")
	}
}

// TestAllocCacheHit: a hit in memory allocates nothing.
func TestAllocCacheHit(t *testing.T) {
	for _, state := range []*invalidation.State{nil, invalidation.NewState(10)} {
		c := newCache(t, func(o *tiers.CacheOptions[string]) { o.State = state })
		if err := c.Set(t.Context(), "k", "v"); err != nil {
			t.Fatal(err)
		}
		ctx := t.Context()
		load := never[string](t)
		if n := testing.AllocsPerRun(1000, func() { _, _ = c.GetOrLoad(ctx, "k", load) }); n > 0 {
			t.Errorf("%v allocations, want 0", n)
		}
	}
}

func BenchmarkCacheHit(b *testing.B) {
	c := newCache[string](b)
	if err := c.Set(b.Context(), "k", "v"); err != nil {
		b.Fatal(err)
	}
	load := never[string](b)
	b.ReportAllocs()
	for b.Loop() {
		_, _ = c.GetOrLoad(b.Context(), "k", load)
	}
}

// TestTwoSetsAtOnce: where two overlap, the store never holds the one that memory does not.
func TestTwoSetsAtOnce(t *testing.T) {
	fake := backendtest.NewFake()
	var c *tiers.Cache[string]
	var begun atomic.Bool
	c = newCache(t, over[string](fake), func(o *tiers.CacheOptions[string]) {
		o.Observe = func(op tiers.Operation, _ tiers.RemoteResult, _ time.Duration) {
			if op == tiers.OpDelete && begun.CompareAndSwap(false, true) { // the first has told the store, and does not count yet
				_ = c.Set(context.Background(), "k", "second")
			}
		}
	})
	if err := c.Set(t.Context(), "k", "first"); err != nil {
		t.Fatal(err)
	}
	flush(t, c)
	here, _ := c.Get(t.Context(), "k")
	if there, ok := newCache(t, over[string](fake)).Get(t.Context(), "k"); ok && there != here {
		t.Errorf("memory holds %q, the store %q", here, there)
	}
}
