package tiers_test

import (
	"context"
	"fmt"
	"log"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/tiers"
)

// user stands for what programs keep.
type user struct {
	ID   int
	Name string
}

// loadUser stands for a query to a database.
func loadUser(_ context.Context, id int) (user, error) {
	fmt.Println("loading user", id)
	return user{ID: id, Name: "Alice"}, nil
}

// A cache in memory, asked first and filled by what is missing.
func ExampleCache() {
	cache, err := tiers.NewCache(tiers.CacheOptions[user]{TTL: 5 * time.Minute, MaxBytes: 16 << 20})
	if err != nil {
		log.Fatal(err)
	}
	defer cache.Close(context.Background())

	ctx := context.Background()
	for range 2 {
		u, err := cache.GetOrLoad(ctx, "user:7", func(ctx context.Context) (user, error) { return loadUser(ctx, 7) })
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(u.Name)
	}
	stats := cache.Stats()
	fmt.Printf("%.0f %% hits\n", 100*stats.HitRate())
	// Output:
	// loading user 7
	// Alice
	// Alice
	// 50 % hits
}

// A cache in memory with Redis behind it: other instances find what this one
// has loaded, and so does this one when it has been started again.
func ExampleCache_redis() {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379", ContextTimeoutEnabled: true})
	defer client.Close()
	cache, err := tiers.NewCache(tiers.CacheOptions[user]{
		TTL: 5 * time.Minute, Redis: client, Prefix: "shop-users-v1", Serializer: tiers.JSON, RefreshAt: 0.8,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer cache.Close(context.Background())
	// Where no Redis listens, all the rest works as it does without.
	if err := cache.Set(context.Background(), "user:7", user{7, "Alice"}, tiers.TTL(time.Hour), tiers.Tags("users")); err != nil {
		log.Fatal(err)
	}
	u, ok := cache.Get(context.Background(), "user:7")
	fmt.Println(u.Name, ok)
}

// Values that are purged by key, by tag and by pattern. With a Follower of a log
// in Redis in the place of NewPurger every instance of the program purges what
// all hold.
func ExampleCache_purge() {
	state := invalidation.NewState(100_000)
	purger := invalidation.NewPurger(invalidation.NewMemLog(), state, nil)
	cache, err := tiers.NewCache(tiers.CacheOptions[user]{TTL: 5 * time.Minute, Prefix: "user", State: state})
	if err != nil {
		log.Fatal(err)
	}
	defer cache.Close(context.Background())

	ctx := context.Background()
	for _, selector := range []invalidation.Selector{
		cache.Key("7"),
		{Kind: invalidation.KindTag, Value: "team:red"},
		{Kind: invalidation.KindPattern, Value: "user:*"},
		{Kind: invalidation.KindPattern, Value: "order:*"},
	} {
		if err := cache.Set(ctx, "7", user{7, "Alice"}, tiers.Tags("team:red")); err != nil {
			log.Fatal(err)
		}
		if _, err := purger.Purge(ctx, invalidation.Purge{Selectors: []invalidation.Selector{selector}}); err != nil {
			log.Fatal(err)
		}
		_, found := cache.Get(ctx, "7")
		fmt.Println(selector.Kind, found)
	}
	// Output:
	// key false
	// tag false
	// pattern false
	// pattern true
}

// A function that is wrapped, as a decorator would.
func ExampleCached() {
	cache, err := tiers.NewCache(tiers.CacheOptions[user]{TTL: 5 * time.Minute})
	if err != nil {
		log.Fatal(err)
	}
	defer cache.Close(context.Background())

	find := tiers.Cached(cache, func(id int) string { return "user:" + strconv.Itoa(id) }, loadUser, tiers.FunctionOptions[int]{
		When: func(_ context.Context, id int) bool { return id != 0 }, // the guest is never cached
	})

	ctx := context.Background()
	_, _ = find.Call(ctx, 7)
	_, _ = find.Call(ctx, 7)    // from the cache
	_, _ = find.Refresh(ctx, 7) // forced
	_, _ = find.Call(ctx, 0)
	_, _ = find.Call(ctx, 0)
	// Output:
	// loading user 7
	// loading user 7
	// loading user 0
	// loading user 0
}
