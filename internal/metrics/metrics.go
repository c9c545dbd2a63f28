package metrics

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/cacheproxy/cacheproxy/cache"
	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/proxy"
	"github.com/cacheproxy/cacheproxy/proxy/upstream"
	"github.com/cacheproxy/cacheproxy/rfc9111"
	"github.com/cacheproxy/cacheproxy/rules"
	"github.com/cacheproxy/cacheproxy/tiers"
)

// Sources are the parts whose figures are read when somebody scrapes. All must be set.
type Sources struct {
	Cache       func() cache.Stats
	Proxy       func() proxy.Stats
	Purges      func() []invalidation.Count
	Applied     func() invalidation.Position
	Connections func() Connections
	Malformed   func() uint64 // requests that were refused at the door
	AccessLost  func() uint64 // lines of the access log that were dropped
	Upstreams   func() map[string]upstream.Stats
	Redis       func() *Redis // nil: there is none
	Log         func() *Log   // nil: the log of purges is in memory
}

// Connections are the figures of the main listeners.
type Connections struct {
	Open    int64  // client connections now
	Limit   int64  // how many there may be
	Refused uint64 // connections that were answered with 503 because there were too many
}

// Metrics are the metrics of one instance. It is safe for concurrent use.
type Metrics struct {
	sources Sources
	routes  atomic.Pointer[routes]

	upstreamRequests *prometheus.CounterVec
	upstreamDuration *prometheus.HistogramVec
	reloads          *prometheus.CounterVec
	remoteOperations *prometheus.CounterVec
	remoteDuration   *prometheus.HistogramVec
	propagation      prometheus.Histogram
}

// New registers the metrics with registry, those of the Go runtime and of the process among them. version names the build. The
// error is the registry's: something of the same name is registered already.
func New(registry prometheus.Registerer, version string, table *rules.Table, s Sources) (*Metrics, error) {
	m := &Metrics{
		sources: s,
		upstreamRequests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cacheproxy_upstream_requests_total",
			Help: "Requests to upstreams, by the status code of the answer; error where there was none.",
		}, []string{"upstream", "code"}),
		upstreamDuration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "cacheproxy_upstream_duration_seconds",
			Help:    "Time until an upstream's response head had come, or it was known that none would.",
			Buckets: bounds[3:],
		}, []string{"upstream"}),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cacheproxy_config_reloads_total",
			Help: "Reloads of the configuration since the start, by result: ok or refused.",
		}, []string{"result"}),
		remoteOperations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cacheproxy_l2_operations_total",
			Help: "Operations on the tier in Redis, by what came of them.",
		}, []string{"op", "result"}),
		remoteDuration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "cacheproxy_l2_operation_duration_seconds",
			Help:    "Time that operations on the tier in Redis took, those that failed included.",
			Buckets: bounds[:12],
		}, []string{"op"}),
		propagation: newPropagation(),
	}
	m.reloads.WithLabelValues(reloadOK)
	m.reloads.WithLabelValues(reloadRefused)
	m.Use(table)
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "cacheproxy_build_info", Help: "Always 1; the label tells which build runs.", ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	for _, c := range []prometheus.Collector{
		m, m.upstreamRequests, m.upstreamDuration, m.reloads, m.remoteOperations, m.remoteDuration, m.propagation, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// Use makes table the one whose routes are counted. Routes that keep their name keep their counts.
func (m *Metrics) Use(table *rules.Table) {
	m.routes.Store(newRoutes(table, m.routes.Load()))
}

// Observe counts one request. It is a [cache.Observer].
func (m *Metrics) Observe(r *cache.Report) {
	if rt := m.routes.Load().of(r); rt != nil {
		rt.observe(r)
	}
}

// ObserveUpstream counts one request to an upstream. code is 0 where no response came.
func (m *Metrics) ObserveUpstream(upstream string, code int, d time.Duration) {
	label := "error"
	if code != 0 {
		label = strconv.Itoa(code)
	}
	m.upstreamRequests.WithLabelValues(upstream, label).Inc()
	m.upstreamDuration.WithLabelValues(upstream).Observe(d.Seconds())
}

// ObserveRemote counts one operation on the tier in Redis. One that was not sent has no duration.
func (m *Metrics) ObserveRemote(op tiers.Operation, result tiers.RemoteResult, d time.Duration) {
	m.remoteOperations.WithLabelValues(string(op), string(result)).Inc()
	if d > 0 {
		m.remoteDuration.WithLabelValues(string(op)).Observe(d.Seconds())
	}
}

const (
	reloadOK      = "ok"
	reloadRefused = "refused"
)

// Reloaded counts a reload of the configuration.
func (m *Metrics) Reloaded(ok bool) {
	result := reloadRefused
	if ok {
		result = reloadOK
	}
	m.reloads.WithLabelValues(result).Inc()
}

// figure is a metric that is read from a part.
type figure struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

func gauge(name, help string, labels ...string) figure {
	return figure{prometheus.NewDesc("cacheproxy_"+name, help, labels, nil), prometheus.GaugeValue}
}

func counter(name, help string, labels ...string) figure {
	return figure{prometheus.NewDesc("cacheproxy_"+name, help, labels, nil), prometheus.CounterValue}
}

func (f figure) send(out chan<- prometheus.Metric, value float64, labels ...string) {
	out <- prometheus.MustNewConstMetric(f.desc, f.kind, value, labels...)
}

var (
	l1Bytes        = gauge("l1_bytes", "Memory that entries take, with their headers, keys and bookkeeping.")
	l1MaxBytes     = gauge("l1_max_bytes", "What l1_bytes is bounded by.")
	l1Entries      = gauge("l1_entries", "Keys in memory.")
	l1Evictions    = counter("l1_evictions_total", "Keys that left memory, by reason.", "reason")
	variants       = counter("variants_dropped_total", "Stored responses that went because their key had too many.")
	collapsed      = counter("collapsed_requests_total", "Requests that were answered by a fetch that another one had begun.")
	fetches        = gauge("fetches_in_flight", "Requests to upstreams under way.")
	encodings      = counter("encodings_total", "Encoded forms of stored responses that were asked for, by what became of them.", "coding", "result")
	encodingQueue  = gauge("encodings_waiting", "Encoded forms that wait to be made.")
	panics         = counter("panics_total", "Handlers that panicked.")
	invalidations  = counter("invalidations_total", "Purges that were logged, by what they select and what becomes of it.", "kind", "strategy")
	appliedSeq     = gauge("log_applied_seq", "Position in the log of purges that this instance has applied.")
	openConns      = gauge("connections", "Client connections now.")
	maxConns       = gauge("connections_limit", "How many client connections there may be.")
	refusedConns   = counter("connections_refused_total", "Client connections answered with 503 because there were too many.")
	malformed      = counter("malformed_requests_total", "HTTP/1 requests that were refused, and their connections closed, because they could be read in more than one way.")
	accessLogLost  = counter("access_log_dropped_total", "Lines of the access log that were dropped because they came faster than they could be written.")
	targets        = gauge("upstream_targets", "Targets of an upstream, by how they stand.", "upstream", "state")
	breakers       = gauge("breaker_state", "How a breaker stands: 0 closed, 1 half-open, 2 open. The name is UPSTREAM/TARGET, or redis.", "name")
	retries        = counter("upstream_retries_total", "Requests that were sent to a further target because one had failed them.", "upstream")
	removalReasons = []tiers.RemoveReason{tiers.Evicted, tiers.Rejected, tiers.Expired, tiers.Deleted}
)

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{requestsDesc, durationDesc, uncachedDesc, conditionsDesc} {
		out <- d
	}
	for _, f := range []figure{
		l1Bytes, l1MaxBytes, l1Entries, l1Evictions, variants, collapsed, fetches, encodings, encodingQueue, panics,
		invalidations, appliedSeq, openConns, maxConns, refusedConns, malformed, accessLogLost, targets, breakers, retries,
	} {
		out <- f.desc
	}
	for _, f := range redisFigures {
		out <- f.desc
	}
	for _, f := range logFigures {
		out <- f.desc
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(out chan<- prometheus.Metric) {
	m.routes.Load().collect(out)

	c := m.sources.Cache()
	l1Bytes.send(out, float64(c.Memory.Bytes))
	l1MaxBytes.send(out, float64(c.Memory.MaxBytes))
	l1Entries.send(out, float64(c.Memory.Entries))
	for _, reason := range removalReasons {
		l1Evictions.send(out, float64(c.Memory.Removed[reason]), reason.String())
	}
	variants.send(out, float64(c.VariantsDropped))

	p := m.sources.Proxy()
	collapsed.send(out, float64(p.Collapsed))
	fetches.send(out, float64(p.Fetches))
	panics.send(out, float64(p.Panics))
	collectEncodings(out, &p.Encoding)

	for _, n := range m.sources.Purges() {
		invalidations.send(out, float64(n.Total), n.Kind.String(), n.Strategy.String())
	}
	appliedSeq.send(out, float64(m.sources.Applied().Seq))

	conns := m.sources.Connections()
	openConns.send(out, float64(conns.Open))
	maxConns.send(out, float64(conns.Limit))
	refusedConns.send(out, float64(conns.Refused))
	malformed.send(out, float64(m.sources.Malformed()))
	accessLogLost.send(out, float64(m.sources.AccessLost()))

	for name, u := range m.sources.Upstreams() {
		collectUpstream(out, name, &u)
	}
	if r := m.sources.Redis(); r != nil {
		r.collect(out, &c.Remote)
	}
	if l := m.sources.Log(); l != nil {
		l.collect(out)
	}
}

func collectEncodings(out chan<- prometheus.Metric, s *proxy.EncodingStats) {
	encodingQueue.send(out, float64(s.Waiting))
	for coding := rfc9111.Brotli; coding < rfc9111.CodingCount; coding++ {
		for result, n := range s.Counts[coding] {
			encodings.send(out, float64(n), coding.String(), proxy.EncodingResult(result).String())
		}
	}
}

func collectUpstream(out chan<- prometheus.Metric, name string, u *upstream.Stats) {
	retries.send(out, float64(u.Retries), name)
	count := map[upstream.State]int{}
	for _, t := range u.Targets {
		count[t.State]++
		breakers.send(out, float64(t.Breaker), name+"/"+t.Name)
	}
	for _, state := range upstream.States() {
		targets.send(out, float64(count[state]), name, string(state))
	}
}
