package invalidation_test

import (
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/test/redistest"
)

// TestRedisEdges: what is declared is found by others until it ends, on one
// server and on a cluster, and no later declaration shortens it.
func TestRedisEdges(t *testing.T) {
	for name, addrs := range map[string][]string{
		"server": {redistest.Start(t).Addr}, "cluster": redistest.StartCluster(t).Addrs,
	} {
		t.Run(name, func(t *testing.T) {
			client := clientOf(t, redis.UniversalOptions{Addrs: addrs, IsClusterMode: name == "cluster"})
			up := true
			edges := &invalidation.RedisEdges{Client: client, Prefix: "p", Lifetime: time.Hour, Timeout: 5 * time.Second, Up: func() bool { return up }}
			declare := func(uri string, until time.Duration, nodes ...string) {
				t.Helper()
				if err := edges.Declare(t.Context(), uri, nodes, time.Now().Add(until)); err != nil {
					t.Fatal(err)
				}
			}
			declare("//h/a", time.Hour, "tag:x", "url://h/b")
			declare("//h/a", time.Millisecond, "tag:x")
			declare("//h/c", time.Hour, "tag:x")
			declare("//h/gone", time.Millisecond, "tag:y")
			time.Sleep(5 * time.Millisecond) // by the server's own view of the scores there is no other way
			got, err := edges.Dependents(t.Context(), []string{"tag:x", "url://h/b", "tag:y", "tag:none"})
			if err != nil || len(got) != 4 {
				t.Fatal(got, err)
			}
			slices.Sort(got[0])
			if !slices.Equal(got[0], []string{"//h/a", "//h/c"}) || !slices.Equal(got[1], []string{"//h/a"}) || len(got[2])+len(got[3]) != 0 {
				t.Errorf("%q", got)
			}
			up = false
			if _, err := edges.Dependents(t.Context(), []string{"tag:x"}); err == nil {
				t.Error("Redis was asked though it is said to be away")
			}
		})
	}
}
