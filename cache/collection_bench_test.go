package cache

import (
	"fmt"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What does one collection cost for each stored response? It is what a full cache pays whenever the heap has grown by its room.
func BenchmarkCollection(b *testing.B) {
	const entries = 300_000
	w := newWorldOf(b, Options{MaxBytes: 1 << 30, MaxVariants: 32})
	header := fields("Cache-Control: max-age=3600", "Content-Type: text/html; charset=utf-8", `Etag: "v1"`, "Vary: Accept-Encoding")
	body := strings.Repeat("x", 1024)
	for i := range entries {
		w.keep(response{uri: fmt.Sprintf("http://shop.example/page/%d", i), header: header, body: body, sent: start})
	}
	runtime.GC()
	before := cpuTime()
	for b.Loop() {
		runtime.GC()
	}
	b.ReportMetric(float64(cpuTime()-before)/float64(b.N)/entries, "cpu-ns/entry")
	b.ReportMetric(0, "ns/op")
	runtime.KeepAlive(w)
}

// cpuTime is what this process has used. The runtime's own figures count a collector that waits for a processor as working.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
