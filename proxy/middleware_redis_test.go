package proxy_test

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cacheproxy/cacheproxy/cache"
	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/proxy"
	"github.com/cacheproxy/cacheproxy/test/redistest"
	"github.com/cacheproxy/cacheproxy/tiers"
)

// TestMiddlewaresShareARedis: what one program has stored another serves, a purge takes it out of Redis, and without Redis all goes on.
func TestMiddlewaresShareARedis(t *testing.T) {
	noLeaks(t)
	server := redistest.Start(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr, ContextTimeoutEnabled: true, MaxRetries: -1, DialerRetries: 1})
	t.Cleanup(func() { client.Close() })
	// The log stands elsewhere, because a purge that it cannot take is refused.
	purging := redis.NewClient(&redis.Options{Addr: redistest.Start(t).Addr, ContextTimeoutEnabled: true, MaxRetries: -1, DialerRetries: 1})
	t.Cleanup(func() { purging.Close() })
	var calls atomic.Int32
	programs := 0
	program := func() *guarded {
		remote, err := tiers.OverRedis(client, "shop", 32)
		if err != nil {
			t.Fatal(err)
		}
		remote.Timeout = 500 * time.Millisecond
		purges := invalidation.NewRedisLog(invalidation.RedisOptions{
			Client: purging, Prefix: "shop", MaxRecords: 1000, MaxAge: time.Hour, Timeout: 500 * time.Millisecond,
		})
		g := guard(t, cacheable(&calls, "page"), proxy.MiddlewareOptions{
			Cache: cache.Options{Remote: remote}, Purges: purges, Lease: 2 * time.Second,
		})
		// What is stored before the log has been read is sure for nobody.
		programs++
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
			members, _, err := purges.Members(t.Context())
			if err == nil && len(members) == programs {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d of %d programs follow the log: %v", len(members), programs, err)
			}
		}
		time.Sleep(50 * time.Millisecond) // the answer to its report is on its way
		return g
	}
	one, two := program(), program()
	page := func(g *guarded, path, body, cacheStatus string) {
		t.Helper()
		r, _ := http.NewRequest(http.MethodGet, g.URL+path, nil)
		r.Host = "shop.example"
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		got, err := io.ReadAll(resp.Body)
		if said := resp.Header.Get("Cache-Status"); err != nil || string(got) != body || !strings.Contains(said, cacheStatus) {
			t.Errorf("%s: %q, %q, %v, want %q, %q", path, got, said, err, body, cacheStatus)
		}
	}
	page(one, "/a", "page 1", "uri-miss")
	for deadline := time.Now().Add(5 * time.Second); client.DBSize(t.Context()).Val() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nothing is written to Redis")
		}
	}
	page(two, "/a", "page 1", "hit; ttl=")
	page(two, "/a", "page 1", "detail=l1")
	if err := one.m.Purge(t.Context(), "http://shop.example/a"); err != nil {
		t.Fatal(err)
	}
	three := program()
	page(three, "/a", "page 2", "uri-miss")
	server.Kill()
	page(one, "/a", "page 3", "uri-miss")
	page(two, "/b", "page 4", "uri-miss")
	if err := one.m.Purge(t.Context(), "http://shop.example/a"); err != nil {
		t.Errorf("Purge without Redis: %v", err)
	}
	page(one, "/a", "page 5", "uri-miss")
}
