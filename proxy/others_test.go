package proxy_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/proxy"
)

// TestAPurgeOfAURLIsCarriedOutElsewhere: what is purged by its URL is let go, or where it is hot fetched anew, by an instance that was
// not asked for the purge too.
func TestAPurgeOfAURLIsCarriedOutElsewhere(t *testing.T) {
	noLeaks(t)
	var calls atomic.Int32
	origin := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=600, stale-while-revalidate=600")
		fmt.Fprint(w, calls.Add(1))
	})
	purges := invalidation.NewMemLogOf(1000)
	asked := guard(t, origin, proxy.MiddlewareOptions{Purges: purges})
	other := guard(t, origin, proxy.MiddlewareOptions{Purges: purges})
	purge := func(path, strategy string) {
		t.Helper()
		o := proxy.Order{URLs: []string{other.URL + path}, Strategy: strategy, Wait: "local"}
		if _, err := asked.m.Invalidate(t.Context(), &o); err != nil {
			t.Fatal(err)
		}
	}
	holds := func(n int64) func() bool {
		return func() bool { return other.m.Stats().Memory.Entries == n }
	}
	for _, path := range []string{"/cold", "/lazy", "/cool", "/hot"} {
		eventually(t, path+" is in memory", func() bool { return strings.Contains(other.do("GET", path).cacheStatus(), "detail=l1") })
	}
	purge("/cold", "immediate")
	eventually(t, "its memory is freed", holds(3))
	purge("/lazy", "lazy")
	purge("/cool", "smart")
	eventually(t, "what nobody asks for is freed by a smart purge, but not by a lazy one", holds(2))

	for range 8 {
		other.do("GET", "/hot")
	}
	before := calls.Load()
	purge("/hot", "smart")
	eventually(t, "what is hot is fetched without anybody asking for it", func() bool { return calls.Load() == before+1 })
	eventually(t, "and stored", func() bool { return other.do("GET", "/hot").body == fmt.Sprint(before+1) })
	if time.Sleep(20 * time.Millisecond); calls.Load() != before+1 {
		t.Errorf("%d fetches, want one", calls.Load()-before)
	}
}
