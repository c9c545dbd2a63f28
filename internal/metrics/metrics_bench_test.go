package metrics_test

import (
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/cache"
	"github.com/cacheproxy/cacheproxy/internal/metrics"
)

// What does counting a hit cost, alone and when all processors count the same route? Against it, what log/slog would cost for the
// line that the access log writes.

func BenchmarkObserve(b *testing.B) {
	table := tableOf(b, "a")
	m, _ := newMetrics(b, table)
	r := report(table, 0, cache.ResultHit, 0, 60*time.Microsecond)
	b.Run("alone", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			m.Observe(r)
		}
	})
	b.Run("all", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				m.Observe(r)
			}
		})
	})
}

func BenchmarkAccessLog(b *testing.B) {
	for _, tt := range []struct {
		name   string
		format metrics.Format
	}{{"json", metrics.JSON}, {"text", metrics.Text}} {
		b.Run(tt.name, func(b *testing.B) {
			l := metrics.NewAccessLog(io.Discard, tt.format)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				r := sample()
				for n := 0; pb.Next(); n++ {
					l.Observe(r)
					if n%500 == 0 { // in place of Run, which this loop would leave no processor
						l.Flush()
					}
				}
			})
			b.ReportMetric(float64(l.Lost())/float64(b.N), "lost/op")
		})
	}
	b.Run("slog", func(b *testing.B) {
		log := slog.New(slog.NewJSONHandler(io.Discard, nil))
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			r := sample()
			for pb.Next() {
				log.Info("access", "route", r.Route, "method", r.Method, "host", r.Host, "path", r.Path, "status", r.Status,
					"cache_status", r.Result.String(), "tier", r.Tier, "key", "00112233445566778899aabbccddeeff", "ttl", int64(r.TTL/time.Second),
					"age", int64(r.Age/time.Second), "bytes", r.Bytes, "duration_ms", 1.234)
			}
		})
	})
}
