package app_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/test/redistest"
)

// TestSweeper: what was purged by a tag on one instance is taken out of Redis by whichever of the two sweeps. Without cache.sweep no
// key is looked for.
func TestSweeper(t *testing.T) {
	for _, rate := range []string{"", "500/s"} {
		t.Run("rate "+rate, func(t *testing.T) {
			server, origin := redistest.Start(t), newPages(t, "Surrogate-Key: sale")
			text := withRedis(origin.URL, "url: "+server.URL()+", timeout: 2s")
			if rate != "" {
				text += "cache: { sweep: { rate: " + rate + " } }\n"
			}
			a, b := start(t, text), start(t, text)
			keys := func() int {
				names, err := server.Client().Keys(t.Context(), "cacheproxy:{*}").Result()
				if err != nil {
					t.Fatal(err)
				}
				return len(names)
			}
			for n := range 10 {
				a.body(fmt.Sprint("/", n), "uri-miss")
			}
			a.eventually("all is written to Redis", func() bool { return keys() == 10 })
			r, _ := http.NewRequest("PURGE", a.url+"/", nil)
			r.Header.Set("Surrogate-Key", "sale")
			res, err := client.Do(r)
			if err != nil || res.StatusCode != http.StatusOK {
				t.Fatal(res, err)
			}
			res.Body.Close()
			if rate == "" {
				b.body("/0", "uri-miss") // it has gone its whole way
				time.Sleep(time.Second)  // in which a sweeper would have been there
				if n := server.Commands()["scan"]; n > 0 || keys() < 9 {
					t.Errorf("%d times SCAN, %d keys are left", n, keys())
				}
				return
			}
			a.eventually("Redis is tidy", func() bool { return keys() == 0 })
			all := a.metrics() + b.metrics()
			if !strings.Contains(all, "cacheproxy_l2_swept_responses_total 10\n") {
				t.Errorf("no instance has counted 10 responses")
			}
		})
	}
}
