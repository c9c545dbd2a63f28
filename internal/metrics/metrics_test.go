package metrics_test

import (
	"io"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/goleak"

	"github.com/cacheproxy/cacheproxy/cache"
	"github.com/cacheproxy/cacheproxy/internal/metrics"
	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/proxy"
	"github.com/cacheproxy/cacheproxy/proxy/upstream"
	"github.com/cacheproxy/cacheproxy/rfc9111"
	"github.com/cacheproxy/cacheproxy/rules"
	"github.com/cacheproxy/cacheproxy/tiers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tableOf returns a table with routes of the given names, and the default route.
func tableOf(t testing.TB, names ...string) *rules.Table {
	t.Helper()
	var specs []rules.Spec
	for _, name := range names {
		specs = append(specs, rules.Spec{Name: name, Match: rules.MatchSpec{Paths: []string{"/" + name}}})
	}
	table, _, errs := rules.Compile(specs, rules.Options{DefaultUpstream: "shop", Upstreams: []string{"shop"}})
	if len(errs) > 0 {
		t.Fatal(errs[0])
	}
	return table
}

// sources have a different figure for each metric, so that none can stand for another.
func sources() metrics.Sources {
	memory := tiers.Stats{Bytes: 11, Entries: 12, MaxBytes: 13}
	memory.Removed[tiers.Evicted], memory.Removed[tiers.Rejected] = 14, 15
	memory.Removed[tiers.Expired], memory.Removed[tiers.Deleted] = 16, 17
	return metrics.Sources{
		Cache: func() cache.Stats {
			return cache.Stats{Memory: memory, VariantsDropped: 18, Remote: tiers.RemoteStats{Breaker: 1, Queued: 71, Bytes: 72, Deletes: 73, Corrupt: 74, Swept: 75, Removed: 76}}
		},
		Proxy: func() proxy.Stats { return proxy.Stats{Fetches: 21, Collapsed: 22, Panics: 23} },
		Purges: func() []invalidation.Count {
			return []invalidation.Count{{Kind: invalidation.KindURL, Total: 31}, {Kind: invalidation.KindAll, Total: 32}}
		},
		Applied:     func() invalidation.Position { return invalidation.Position{Epoch: 1, Seq: 33} },
		Connections: func() metrics.Connections { return metrics.Connections{Open: 41, Limit: 42, Refused: 43} },
		Malformed:   func() uint64 { return 45 },
		AccessLost:  func() uint64 { return 44 },
		Log:         func() *metrics.Log { return &metrics.Log{Lag: 71, Leased: true, Pending: 72} },
		Redis: func() *metrics.Redis {
			return &metrics.Redis{Up: true, MemoryBytes: 61, EvictedKeys: 62, Pool: metrics.RedisPool{Connections: 63, Idle: 64, Hits: 65, Misses: 66, Timeouts: 67, Stale: 68}}
		},
		Upstreams: func() map[string]upstream.Stats {
			return map[string]upstream.Stats{"shop": {Retries: 51, Targets: []upstream.TargetStats{
				{Name: "a:80", State: upstream.Healthy}, {Name: "b:80", State: upstream.Ejected, Breaker: 2}, {Name: "c:80", State: upstream.Ejected, Breaker: 2},
			}}}
		},
	}
}

func newMetrics(t testing.TB, table *rules.Table) (*metrics.Metrics, *prometheus.Registry) {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	m, err := metrics.New(registry, "v1", table, sources())
	if err != nil {
		t.Fatal(err)
	}
	return m, registry
}

// scrape returns the lines that /metrics has of the proxy's own metrics.
func scrape(t testing.TB, registry *prometheus.Registry) map[string]bool {
	t.Helper()
	w := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	lines := map[string]bool{}
	for line := range strings.Lines(w.Body.String()) {
		lines[strings.TrimSpace(line)] = true
	}
	return lines
}

func mustHave(t *testing.T, lines map[string]bool, want ...string) {
	t.Helper()
	for _, w := range want {
		if !lines["cacheproxy_"+w] {
			name, _, _ := strings.Cut(w, "{")
			var near []string
			for l := range lines {
				if strings.HasPrefix(l, "cacheproxy_"+name) {
					near = append(near, l)
				}
			}
			t.Errorf("no line %q; there are\n  %s", w, strings.Join(near, "\n  "))
		}
	}
}

func report(table *rules.Table, index int, result cache.Result, reason rfc9111.Reason, d time.Duration) *cache.Report {
	return &cache.Report{Index: index, Route: table.Routes()[index].Name, Result: result, Reason: reason, Duration: d}
}

func TestFiguresOfTheParts(t *testing.T) {
	m, registry := newMetrics(t, tableOf(t))
	m.Reloaded(true)
	m.Reloaded(false)
	m.Reloaded(false)
	m.ObserveUpstream("shop", 200, 20*time.Millisecond)
	m.ObserveUpstream("shop", 0, 2*time.Second)
	lines := scrape(t, registry)
	mustHave(t, lines,
		`l1_bytes 11`, `l1_entries 12`, `l1_max_bytes 13`,
		`l1_evictions_total{reason="evicted"} 14`, `l1_evictions_total{reason="rejected"} 15`,
		`l1_evictions_total{reason="expired"} 16`, `l1_evictions_total{reason="deleted"} 17`, `variants_dropped_total 18`,
		`fetches_in_flight 21`, `collapsed_requests_total 22`, `panics_total 23`,
		`log_lag 71`, `lease_held 1`, `log_pending 72`, `invalidation_propagation_seconds_count 0`,
		`invalidations_total{kind="url",strategy="immediate"} 31`, `invalidations_total{kind="all",strategy="immediate"} 32`,
		`log_applied_seq 33`, `connections 41`, `connections_limit 42`, `connections_refused_total 43`, `malformed_requests_total 45`, `access_log_dropped_total 44`,
		`config_reloads_total{result="ok"} 1`, `config_reloads_total{result="refused"} 2`,
		`upstream_requests_total{code="200",upstream="shop"} 1`, `upstream_requests_total{code="error",upstream="shop"} 1`,
		`upstream_duration_seconds_count{upstream="shop"} 2`, `upstream_duration_seconds_bucket{upstream="shop",le="0.025"} 1`,
		`upstream_retries_total{upstream="shop"} 51`,
		`redis_up 1`, `redis_memory_bytes 61`, `redis_evicted_keys_total 62`, `redis_pool_connections 63`, `redis_pool_idle 64`,
		`redis_pool_hits_total 65`, `redis_pool_misses_total 66`, `redis_pool_timeouts_total 67`, `redis_pool_stale_total 68`,
		`breaker_state{name="redis"} 1`, `l2_queue_writes 71`, `l2_queue_bytes 72`, `l2_pending_deletes 73`, `l2_corrupt_frames_total 74`,
		`l2_swept_keys_total 75`, `l2_swept_responses_total 76`,
		`upstream_targets{state="healthy",upstream="shop"} 1`, `upstream_targets{state="ejected",upstream="shop"} 2`,
		`upstream_targets{state="unhealthy",upstream="shop"} 0`, `upstream_targets{state="half-open",upstream="shop"} 0`,
		`breaker_state{name="shop/a:80"} 0`, `breaker_state{name="shop/c:80"} 2`,
		`build_info{version="v1"} 1`,
	)
	for _, name := range []string{"# TYPE go_goroutines gauge", "# TYPE process_open_fds gauge"} {
		if !lines[name] {
			t.Errorf("no line %q", name)
		}
	}
}

func TestRequestsByRouteAndResult(t *testing.T) {
	table := tableOf(t, "a", "b")
	m, registry := newMetrics(t, table)
	for range 3 {
		m.Observe(report(table, 0, cache.ResultHit, rfc9111.ReasonNone, 60*time.Microsecond))
	}
	m.Observe(report(table, 0, cache.ResultHit, rfc9111.ReasonNone, 50*time.Microsecond)) // on the bound: in the bucket
	m.Observe(report(table, 1, cache.ResultMiss, rfc9111.ReasonURIMiss, time.Minute))
	m.Observe(&cache.Report{Index: -1, Route: "default", Result: cache.ResultDenied, Reason: rfc9111.ReasonLimit})
	mustHave(t, scrape(t, registry),
		`requests_total{result="hit",route="a"} 4`, `requests_total{result="miss",route="b"} 1`, `requests_total{result="denied",route="default"} 1`,
		`request_duration_seconds_bucket{result="hit",route="a",le="5e-05"} 1`,
		`request_duration_seconds_bucket{result="hit",route="a",le="0.0001"} 4`,
		`request_duration_seconds_count{result="hit",route="a"} 4`,
		`request_duration_seconds_sum{result="hit",route="a"} 0.00023`,
		`request_duration_seconds_bucket{result="miss",route="b",le="30"} 0`,
		`request_duration_seconds_bucket{result="miss",route="b",le="+Inf"} 1`,
	)
}

func TestUncachedByReason(t *testing.T) {
	table := tableOf(t, "a")
	m, registry := newMetrics(t, table)
	m.Observe(report(table, 0, cache.ResultPass, rfc9111.ReasonNoStore, 0))
	m.Observe(report(table, 0, cache.ResultPass, rfc9111.ReasonNoStore, 0))
	m.Observe(report(table, 0, cache.ResultBypass, rfc9111.ReasonBypass, 0))
	m.Observe(report(table, 0, cache.ResultMiss, rfc9111.ReasonURIMiss, 0))
	lines := scrape(t, registry)
	mustHave(t, lines, `uncached_total{reason="no-store",route="a"} 2`, `uncached_total{reason="bypass",route="a"} 1`)
	for l := range lines {
		if strings.Contains(l, "uncached_total") && strings.Contains(l, "uri-miss") {
			t.Errorf("a miss that was stored is counted as uncached: %s", l)
		}
	}
}

// TestReloadKeepsTheCounts: a counter must not fall while its series lives.
func TestReloadKeepsTheCounts(t *testing.T) {
	before, after := tableOf(t, "gone", "stays"), tableOf(t, "stays", "new")
	m, registry := newMetrics(t, before)
	m.Observe(report(before, 1, cache.ResultHit, 0, 0))
	m.Observe(report(before, 0, cache.ResultHit, 0, 0))
	m.Use(after)
	m.Observe(report(before, 1, cache.ResultHit, 0, 0)) // began before the reload: the index is another route's now
	m.Observe(report(before, 0, cache.ResultHit, 0, 0)) // its series is gone
	m.Observe(report(after, 0, cache.ResultHit, 0, 0))
	lines := scrape(t, registry)
	mustHave(t, lines, `requests_total{result="hit",route="stays"} 3`)
	for l := range lines {
		if strings.Contains(l, `route="gone"`) || strings.Contains(l, `route="new"`) {
			t.Errorf("unexpected %s", l)
		}
	}
}

// TestObserveIsExact: parts and lazily made counters lose nothing.
func TestObserveIsExact(t *testing.T) {
	table := tableOf(t, "a")
	m, registry := newMetrics(t, table)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				m.Observe(report(table, 0, cache.ResultPass, rfc9111.ReasonMethod, time.Millisecond))
			}
		})
	}
	wg.Wait()
	mustHave(t, scrape(t, registry),
		`requests_total{result="pass",route="a"} 8000`, `request_duration_seconds_count{result="pass",route="a"} 8000`,
		`request_duration_seconds_sum{result="pass",route="a"} 8`, `uncached_total{reason="method",route="a"} 8000`)
}

// TestRoomForAll: the arrays that are indexed by result and reason have a place for each.
func TestRoomForAll(t *testing.T) {
	table := tableOf(t, "a")
	m, registry := newMetrics(t, table)
	for _, result := range cache.Results() {
		m.Observe(report(table, 0, result, rfc9111.ReasonNone, 0))
	}
	for _, reason := range rfc9111.Reasons() {
		m.Observe(report(table, 0, cache.ResultPass, reason, 0))
	}
	lines := scrape(t, registry)
	for _, reason := range rfc9111.Reasons() {
		mustHave(t, lines, `uncached_total{reason="`+reason.String()+`",route="a"} 1`)
	}
	for _, result := range cache.Results() {
		if result != cache.ResultPass {
			mustHave(t, lines, `requests_total{result="`+result.String()+`",route="a"} 1`)
		}
	}
}

func TestObserveDoesNotAllocate(t *testing.T) {
	table := tableOf(t, "a")
	m, _ := newMetrics(t, table)
	l := metrics.NewAccessLog(io.Discard, metrics.JSON)
	r := sample()
	r.Index, r.Route = 0, "a"
	m.Observe(r)
	if n := testing.AllocsPerRun(1000, func() { m.Observe(r) }); n != 0 {
		t.Errorf("Metrics.Observe: %v allocations, want none", n)
	}
	for range 3000 { // the lot has its size then
		l.Observe(r)
	}
	l.Flush()
	if n := testing.AllocsPerRun(1000, func() { l.Observe(r) }); n != 0 {
		t.Errorf("AccessLog.Observe: %v allocations, want none", n)
	}
}

func TestTwiceOnOneRegistry(t *testing.T) {
	_, registry := newMetrics(t, tableOf(t))
	if _, err := metrics.New(registry, "v1", tableOf(t), sources()); err == nil {
		t.Error("no error")
	}
}
