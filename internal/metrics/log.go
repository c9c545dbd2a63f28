package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Log are the figures of a log of purges that is in Redis.
type Log struct {
	Lag     uint64 // records that have not been applied here
	Leased  bool   // this instance may answer from its copies
	Pending int    // purges on disk that are not in the log yet
}

var (
	logLag     = gauge("log_lag", "Purges in the log in Redis, as far as is known, that have not been applied here.")
	leaseHeld  = gauge("lease_held", "Whether this instance is up to date with the log in Redis, and may answer from its copies.")
	logPending = gauge("log_pending", "Purges that wait on disk until the log in Redis can be reached.")

	logFigures = []figure{logLag, leaseHeld, logPending}
)

func (l *Log) collect(out chan<- prometheus.Metric) {
	held := 0.0
	if l.Leased {
		held = 1
	}
	logLag.send(out, float64(l.Lag))
	leaseHeld.send(out, held)
	logPending.send(out, float64(l.Pending))
}

func newPropagation() prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "cacheproxy_invalidation_propagation_seconds",
		Help:    "Time from when a purge on another instance was logged, by the clock of Redis, until it was applied here, by that of this machine.",
		Buckets: []float64{.00025, .0005, .001, .002, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	})
}

// ObservePropagation counts one purge of another instance.
func (m *Metrics) ObservePropagation(d time.Duration) { m.propagation.Observe(max(d, 0).Seconds()) }
