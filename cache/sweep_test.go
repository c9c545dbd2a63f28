package cache

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/test/redistest"
	"github.com/cacheproxy/cacheproxy/tiers"
)

// redisOptions are a remote tier in these servers.
func redisOptions(t *testing.T, o redis.UniversalOptions) *tiers.RemoteOptions {
	t.Helper()
	o.DisableIdentity, o.ContextTimeoutEnabled, o.MaxRetries = true, true, -1
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	client := redis.NewUniversalClient(&o)
	t.Cleanup(func() { client.Close() })
	return &tiers.RemoteOptions{
		Backend: tiers.NewRedis(client, "site", 32), Timeout: 5 * time.Second, Failures: 5, OpenFor: time.Second,
		Codec: tiers.Codec{MaxBytes: 4 << 20},
	}
}

// sweeping is an instance over Redis.
type sweeping struct{ *world }

func newSweeping(t *testing.T, o *tiers.RemoteOptions, log *invalidation.MemLog) *sweeping {
	w := &sweeping{newWorldWith(t, Options{MaxBytes: 64 << 20, MaxVariants: 32, Remote: o}, log)}
	w.run(w.Run)
	return w
}

// run runs f until the test ends, or stop is called.
func (w *sweeping) run(f func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := f(ctx); err != nil {
			w.t.Error(err)
		}
	}()
	stop = func() { cancel(); <-done }
	w.t.Cleanup(stop)
	return stop
}

func (w *sweeping) sweep(rate int) (stop func()) {
	return w.run(func(ctx context.Context) error { return w.Sweep(ctx, rate) })
}

func (w *sweeping) share(uri string, labels Labels, request ...string) {
	w.t.Helper()
	r := response{uri: uri, sent: time.Now(), request: fields(request...), header: fields("Cache-Control: max-age=3600", "Vary: Accept"), body: uri}
	p := w.parts(r)
	p.Labels, p.Share = &labels, &Share{Named: true}
	if _, stored := w.Store(p); !stored {
		w.t.Fatalf("%s was not stored", uri)
	}
}

func (w *sweeping) flush() {
	w.t.Helper()
	if err := w.FlushRemote(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *sweeping) purges(strategy invalidation.Strategy, selectors ...invalidation.Selector) {
	w.t.Helper()
	p := invalidation.Purge{Selectors: selectors, Strategy: strategy}
	if strategy == invalidation.TTL {
		p.TTL = time.Minute
	}
	if _, err := w.purger.Purge(w.t.Context(), p); err != nil {
		w.t.Fatal(err)
	}
}

func (w *sweeping) eventually(what string, ok func() bool) {
	w.t.Helper()
	for begin := time.Now(); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Since(begin) > 20*time.Second {
			w.t.Fatalf("not within 20 s: %s; %+v", what, w.Stats().Remote)
		}
	}
}

// keys returns the names of what is stored under the prefix.
func keys(t *testing.T, servers ...*redis.Client) (names []string) {
	t.Helper()
	for _, c := range servers {
		some, err := c.Keys(t.Context(), "site:{*}").Result()
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, some...)
	}
	slices.Sort(names)
	return names
}

func nameOf(uri string) string {
	key := keyOf(uri)
	return "site:{" + keyName(key.Hash) + "}"
}

// TestSweepTakesOutWhatWasPurged: by tag, pattern, group, dependency and what else ends a response for good; those and only those.
func TestSweepTakesOutWhatWasPurged(t *testing.T) {
	server := redistest.Start(t)
	w := newSweeping(t, redisOptions(t, redis.UniversalOptions{Addrs: []string{server.Addr}}), invalidation.NewMemLog())
	const n = 30
	uri := func(kind string, i int) string { return fmt.Sprintf("http://shop/%s/%d", kind, i) }
	var kept []string
	for i := range n {
		w.share(uri("tag", i), Labels{Tags: []string{"sale"}})
		w.share(uri("rule", i), Labels{Rule: []string{"rules"}})
		w.share(uri("pattern", i), Labels{})
		w.share(uri("depends", i), Labels{Depends: []string{"tag:prices"}})
		w.share(uri("lazy", i), Labels{Tags: []string{"lazy"}})
		for _, kind := range []string{"free", "soft", "cut", "smart"} {
			w.share(uri(kind, i), Labels{Tags: []string{kind}})
			kept = append(kept, nameOf(uri(kind, i)))
		}
	}
	w.flush()
	server.Do("SET", "site:{other}", "a string of somebody else")
	server.Do("HSET", "site:{odd}", "i", "{", "a", "x")
	w.purges(invalidation.Immediate, tag("sale"), tag("rules"), tag("prices"), invalidation.Selector{Kind: invalidation.KindPattern, Value: "/pattern/**"})
	w.purges(invalidation.Lazy, tag("lazy"))
	w.purges(invalidation.Soft, tag("soft"))
	w.purges(invalidation.TTL, tag("cut"))
	w.purges(invalidation.Smart, tag("smart"))
	for i := range n { // fetched again since
		w.share(uri("again", i), Labels{Tags: []string{"sale"}})
		kept = append(kept, nameOf(uri("again", i)))
	}
	w.flush()
	kept = append(kept, "site:{other}", "site:{odd}")
	slices.Sort(kept)
	w.sweep(100_000)
	w.eventually("all that is dead has been removed", func() bool { return w.Stats().Remote.Removed == 5*n })
	w.eventually("a whole round", func() bool { return w.Stats().Remote.Swept >= 10*n })
	if got := keys(t, server.Client()); !slices.Equal(got, kept) {
		t.Errorf("%d keys are left, want %d", len(got), len(kept))
	}
	if sent := server.Commands(); sent["hgetall"] > 0 {
		t.Errorf("commands: %v", sent)
	}
}

// TestSweepOfACluster: each master has its turn.
func TestSweepOfACluster(t *testing.T) {
	cluster := redistest.StartCluster(t)
	w := newSweeping(t, redisOptions(t, redis.UniversalOptions{Addrs: cluster.Addrs, IsClusterMode: true}), invalidation.NewMemLog())
	const n = 60
	for i := range n {
		w.share(fmt.Sprint("http://shop/dead/", i), Labels{Tags: []string{"sale"}})
		w.share(fmt.Sprint("http://shop/alive/", i), Labels{})
	}
	w.flush()
	w.purges(invalidation.Immediate, tag("sale"))
	w.sweep(10_000)
	w.eventually("a whole round", func() bool { return w.Stats().Remote.Swept >= 2*n })
	if s := w.Stats().Remote; s.Removed != n {
		t.Errorf("%+v, want %d removed", s, n)
	}
}

// TestSweepByOneOfTwo: two instances share a Redis and a log; one sweeps, no faster than it may, by what Redis has counted.
func TestSweepByOneOfTwo(t *testing.T) {
	const n, rate = 400, 200
	server := redistest.Start(t)
	log := invalidation.NewMemLogOf(1000)
	var both []*sweeping
	for range 2 {
		w := newSweeping(t, redisOptions(t, redis.UniversalOptions{Addrs: []string{server.Addr}}), log)
		w.run(w.purger.Run)
		both = append(both, w)
	}
	for i := range n {
		both[0].share(fmt.Sprint("http://shop/", i), Labels{Tags: []string{fmt.Sprint("half", i%2)}})
	}
	both[0].flush()
	both[0].purges(invalidation.Immediate, tag("half1"))
	both[1].eventually("it has heard of the purge", func() bool { return both[1].State().Applied() == log.Head() })
	server.ResetCommands()
	begin := time.Now()
	for _, w := range both {
		w.sweep(rate)
	}
	removed := func() uint64 { return both[0].Stats().Remote.Removed + both[1].Stats().Remote.Removed }
	both[0].eventually("half of it is removed", func() bool { return removed() == n/2 })
	took := time.Since(begin)
	if least := (n - 2*rate/10 - rate/4) * time.Second / rate; took < least {
		t.Errorf("it took %v, and must take %v", took, least)
	}
	sent := server.Commands()
	// A script's HGET counts too: one for each index, one for each frame, and one more for each removal.
	if sent["scan"] > n/(rate/10)+2 || sent["hstrlen"] > n+1 || sent["unlink"] != n/2 || sent["hmget"] > 1 {
		t.Errorf("commands: %v", sent)
	}
	if a, b := both[0].Stats().Remote, both[1].Stats().Remote; min(a.Swept, b.Swept) > 0 {
		t.Errorf("both have swept: %d and %d", a.Swept, b.Swept)
	}
	if left := keys(t, server.Client()); len(left) != n/2 {
		t.Errorf("%d keys are left", len(left))
	}
}

// TestSweepBesideWrites: what is fetched anew while the sweeper looks at its predecessor stays.
func TestSweepBesideWrites(t *testing.T) {
	server := redistest.Start(t)
	o := redisOptions(t, redis.UniversalOptions{Addrs: []string{server.Addr}})
	between := &refetching{Redis: o.Backend.(*tiers.Redis)}
	o.Backend = between
	w := newSweeping(t, o, invalidation.NewMemLog())
	const n = 20
	for i := range n {
		w.share(fmt.Sprint("http://shop/", i), Labels{Tags: []string{"sale"}})
	}
	w.flush()
	w.purges(invalidation.Immediate, tag("sale"))
	between.before = func(key string) {
		for i := range n {
			if uri := fmt.Sprint("http://shop/", i); keyName(keyOf(uri).Hash) == key && i%2 == 0 {
				w.share(uri, Labels{Tags: []string{"sale"}})
				w.flush()
			}
		}
	}
	w.sweep(10_000)
	w.eventually("a whole round", func() bool { return w.Stats().Remote.Swept >= n })
	if s, left := w.Stats().Remote, keys(t, server.Client()); s.Removed != n/2 || len(left) != n/2 {
		t.Errorf("%d removed and %d left, want %d", s.Removed, len(left), n/2)
	}
}

// refetching is Redis, in which something happens before a frame is removed.
type refetching struct {
	*tiers.Redis
	before func(key string)
}

func (r *refetching) Remove(ctx context.Context, key string, row tiers.Row) (bool, error) {
	r.before(key)
	return r.Redis.Remove(ctx, key, row)
}
