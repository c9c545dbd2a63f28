package app_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime/pprof"
	"strings"
	"testing"

	"github.com/cacheproxy/cacheproxy/internal/app"
	"github.com/cacheproxy/cacheproxy/test/bench/load"
)

// What becomes of the processor's time of a hit, from socket to socket, with metrics and access log? `make profile` shows it: the load,
// which runs beside the instance, has a label by which it can be left out.
func BenchmarkHitOverTCP(b *testing.B) {
	body := strings.Repeat("0123456789abcdef", 64)
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=3600")
		_, _ = io.WriteString(w, body) // the load says it if this fails
	}))
	b.Cleanup(origin.Close)
	i := start(b, upstreamOf(origin.URL), func(o *app.Options) { o.Stderr = io.Discard })
	job := load.Job{Addr: i.Addr().String(), Conns: 64, Requests: 64, Targets: load.Targets{Order: load.One, Store: "keep", Least: len(body), Most: len(body), First: 1}}
	ask := func(n int) {
		job.Requests = n
		pprof.Do(context.Background(), pprof.Labels("side", "load"), func(context.Context) {
			if _, err := load.Run(job); err != nil {
				b.Fatal(err)
			}
		})
	}
	ask(job.Conns) // stores it
	b.ResetTimer()
	ask(b.N)
}
