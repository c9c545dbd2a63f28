package proxy_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cacheproxy/cacheproxy/cache"
	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/proxy"
	"github.com/cacheproxy/cacheproxy/rules"
	"github.com/cacheproxy/cacheproxy/tiers"
)

// The HTTP cache in front of the handlers of a program.
func ExampleMiddleware() {
	m, err := proxy.NewMiddleware(proxy.MiddlewareOptions{
		Routes: []rules.Spec{{
			Name:  "products",
			Match: rules.MatchSpec{Paths: []string{"/products/**"}},
			Cache: &rules.CacheSpec{TTL: new(time.Minute), StaleWhileRevalidate: new(30 * time.Second)},
		}},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close(context.Background())

	mux := http.NewServeMux()
	mux.HandleFunc("GET /products/{id}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("asking the database for", r.PathValue("id"))
		fmt.Fprint(w, "product ", r.PathValue("id"))
	})

	server := httptest.NewServer(m.Handler(mux)) // or: http.ListenAndServe(":8080", m.Handler(mux))
	defer server.Close()
	for range 2 {
		resp, err := http.Get(server.URL + "/products/7")
		if err != nil {
			log.Fatal(err)
		}
		resp.Body.Close()
		said := strings.Split(resp.Header.Get("Cache-Status"), "; ")
		fmt.Println(said[1])
	}
	// What the program has changed it purges.
	if err := m.Purge(context.Background(), server.URL+"/products/7"); err != nil {
		log.Fatal(err)
	}
	// Output:
	// asking the database for 7
	// fwd=uri-miss
	// hit
}

// The same with Redis behind memory. All programs with this prefix share what they store, and the log of purges: a purge in one holds
// in the memory of all.
func ExampleNewMiddleware_redis() {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379", ContextTimeoutEnabled: true})
	defer client.Close()
	remote, err := tiers.OverRedis(client, "shop", 32)
	if err != nil {
		log.Fatal(err)
	}
	purging := redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379", ContextTimeoutEnabled: true})
	defer purging.Close()
	m, err := proxy.NewMiddleware(proxy.MiddlewareOptions{
		Cache: cache.Options{MaxBytes: 256 << 20, MaxVariants: 32, Remote: remote},
		Purges: invalidation.NewRedisLog(invalidation.RedisOptions{
			Client: purging, Prefix: "shop", MaxRecords: 100_000, MaxAge: 24 * time.Hour, Timeout: 500 * time.Millisecond,
		}),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close(context.Background())
	log.Fatal(http.ListenAndServe(":8080", m.Handler(http.FileServer(http.Dir("public")))))
}
