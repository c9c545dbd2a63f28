package metrics

import (
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cacheproxy/cacheproxy/cache"
	"github.com/cacheproxy/cacheproxy/rfc9111"
	"github.com/cacheproxy/cacheproxy/rules"
)

// bounds are the upper bounds of the duration's buckets, in seconds. A hit takes some ten microseconds, a miss as long as the origin.
var bounds = [...]float64{.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

// limits are the bounds as durations.
var limits = func() (l [len(bounds)]time.Duration) {
	for i, b := range bounds {
		l[i] = time.Duration(b * float64(time.Second))
	}
	return l
}()

const (
	results = 16  // no less than there are results
	reasons = 128 // no less than there are reasons
)

// routes holds the counters of one table, by the index of the route. It is swapped whole when the table is: what a route of the same
// name has counted is taken along, what a route that is gone has counted goes with it.
type routes struct {
	table   *rules.Table
	byIndex []*route
	byName  map[string]*route
}

// route holds the counters of one route. They are made when they are first needed: of ten thousand routes with nine results each
// most never happen.
type route struct {
	name     string
	results  [results]atomic.Pointer[histogram]
	uncached atomic.Pointer[[reasons]atomic.Uint64]
}

// newRoutes returns the counters for table. old may be nil.
func newRoutes(table *rules.Table, old *routes) *routes {
	next := &routes{table: table, byName: map[string]*route{}}
	for _, r := range table.Routes() {
		counters := &route{name: r.Name}
		if old != nil && old.byName[r.Name] != nil {
			counters = old.byName[r.Name]
		}
		next.byIndex = append(next.byIndex, counters)
		next.byName[r.Name] = counters
	}
	return next
}

// of returns the counters of a report's route; nil where the table does not have it any more. A request that began before a reload
// has the index of an earlier table, which the name gives away. What was refused before a route was looked for has no index.
func (rs *routes) of(r *cache.Report) *route {
	if uint(r.Index) < uint(len(rs.byIndex)) {
		if found := rs.byIndex[r.Index]; found.name == r.Route {
			return found
		}
	}
	return rs.byName[r.Route]
}

// observe counts one request.
func (rt *route) observe(r *cache.Report) {
	h := rt.results[r.Result%results].Load()
	if h == nil {
		h = first(&rt.results[r.Result%results], newHistogram)
	}
	h.observe(r.Duration)
	switch r.Result {
	case cache.ResultPass, cache.ResultBypass, cache.ResultDenied:
	default:
		return
	}
	u := rt.uncached.Load()
	if u == nil {
		u = first(&rt.uncached, func() *[reasons]atomic.Uint64 { return new([reasons]atomic.Uint64) })
	}
	u[r.Reason%reasons].Add(1)
}

// first fills p unless somebody else was quicker, and returns what is there then.
func first[T any](p *atomic.Pointer[T], make func() *T) *T {
	p.CompareAndSwap(nil, make())
	return p.Load()
}

// histogram counts durations. It is split into as many parts as there are processors (at most eight), each in cache lines of its
// own, of which an observation takes any: on many processors a single line that all of them write would cost more than the rest of
// the count.
type histogram struct{ parts []part }

type part struct {
	buckets [len(bounds) + 1]atomic.Uint64
	sum     atomic.Int64 // nanoseconds
	_       [5]uint64    // to a multiple of 64 bytes
}

// partMask picks a part from a random number.
var partMask = func() uint32 {
	n := uint32(1)
	for n < 8 && n < uint32(runtime.GOMAXPROCS(0)) {
		n *= 2
	}
	return n - 1
}()

func newHistogram() *histogram { return &histogram{parts: make([]part, partMask+1)} }

func (h *histogram) observe(d time.Duration) {
	p := &h.parts[rand.Uint32()&partMask]
	i := 0
	for i < len(limits) && d > limits[i] {
		i++
	}
	p.buckets[i].Add(1)
	p.sum.Add(int64(d))
}

// read returns the buckets in the cumulative form of Prometheus.
func (h *histogram) read() (count uint64, sum float64, buckets map[float64]uint64) {
	buckets = make(map[float64]uint64, len(bounds))
	var total time.Duration
	for i := range len(bounds) + 1 {
		for p := range h.parts {
			count += h.parts[p].buckets[i].Load()
		}
		if i < len(bounds) {
			buckets[bounds[i]] = count
		}
	}
	for p := range h.parts {
		total += time.Duration(h.parts[p].sum.Load())
	}
	return count, total.Seconds(), buckets
}

var (
	requestsDesc = prometheus.NewDesc("cacheproxy_requests_total",
		"Requests that were answered, by how.", []string{"route", "result"}, nil)
	durationDesc = prometheus.NewDesc("cacheproxy_request_duration_seconds",
		"Time from a request's head to the end of its response.", []string{"route", "result"}, nil)
	uncachedDesc = prometheus.NewDesc("cacheproxy_uncached_total",
		"Requests whose answer was neither taken from the cache nor stored, by reason.", []string{"route", "reason"}, nil)
	conditionsDesc = prometheus.NewDesc("cacheproxy_condition_errors_total",
		"Conditions of a route that could not be evaluated for a request.", []string{"route"}, nil)
)

// collect sends what the routes have counted.
func (rs *routes) collect(out chan<- prometheus.Metric) {
	for _, rt := range rs.byIndex {
		for _, result := range cache.Results() {
			h := rt.results[result].Load()
			if h == nil {
				continue
			}
			count, sum, buckets := h.read()
			out <- prometheus.MustNewConstMetric(requestsDesc, prometheus.CounterValue, float64(count), rt.name, result.String())
			out <- prometheus.MustNewConstHistogram(durationDesc, count, sum, buckets, rt.name, result.String())
		}
		u := rt.uncached.Load()
		if u == nil {
			continue
		}
		for _, reason := range append(rfc9111.Reasons(), rfc9111.ReasonNone) {
			if n := u[reason].Load(); n > 0 {
				out <- prometheus.MustNewConstMetric(uncachedDesc, prometheus.CounterValue, float64(n), rt.name, reason.String())
			}
		}
	}
	for _, r := range rs.table.Routes() {
		if n := r.ConditionErrors(); n > 0 {
			out <- prometheus.MustNewConstMetric(conditionsDesc, prometheus.CounterValue, float64(n), r.Name)
		}
	}
}
