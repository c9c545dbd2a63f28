//go:build linux

package bench

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/test/bench/load"
	"github.com/cacheproxy/cacheproxy/test/process"
)

// The collector is measured with so many entries of 1 KiB, in a budget that they nearly fill. `make collector` takes a million, and
// asks for less than 2 % of the processor time; by itself the test makes sure that the measurement works.
const (
	someEntries  = 10_000
	entryNeeds   = 1_900 // bytes of the budget, or a little less
	collectorMax = 0.02
)

// TestTheCollectorsShare fills the memory, and lets clients have hits as fast as they come: which part of the server's processor time
// does the garbage collector take, and how much memory in all?
func TestTheCollectorsShare(t *testing.T) {
	entries, judged := someEntries, false
	if text := os.Getenv("COLLECTOR_ENTRIES"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatalf("COLLECTOR_ENTRIES: %v", err)
		}
		entries, judged = n, true
	}
	o := startOrigin(t)
	s := newSite(t, o, 512)
	budget := max(int64(entries)*entryNeeds, 64<<20)
	config := s.file(t, "cacheproxy.yaml", fmt.Sprintf(`
listen: [{ address: "{addr}" }]
cache: { l1: { max_bytes: %d } }
upstreams:
  origin: { targets: [{ url: "http://{origin}" }] }
log: { access: false }
`, budget))
	core, _ := cores(t)
	p := process.Serve(t, process.Options{Configured: true, Shell: fmt.Sprintf(`export GODEBUG=gctrace=1; exec taskset -c %d "$@"`, core)},
		"--config", config)
	job := load.Job{Addr: s.addr, PID: p.PID(), Conns: 64, Requests: entries, Targets: load.Targets{
		Order: load.Next, Store: "keep", Least: 1 << 10, Most: 1 << 10, First: 1, Count: entries,
	}}
	empty, err := load.Used(p.PID())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := run(t, job); err != nil {
		t.Fatal(err)
	}
	full, err := load.Used(p.PID())
	if err != nil {
		t.Fatal(err)
	}
	before, _ := collections(p.Output(), 0)
	asked := o.asked(t)
	job.Requests, job.For, job.Targets.Order = 0, time.Second, load.Zipf
	if judged {
		job.For = 30 * time.Second
	}
	if _, err := run(t, job); err != nil {
		t.Fatal(err)
	}
	used, err := load.Used(p.PID())
	if err != nil {
		t.Fatal(err)
	}
	_, during := collections(p.Output(), before)
	share := sum(during).Seconds() / (used.CPU - full.CPU).Seconds()
	grown := float64(max(full.Memory, used.Memory)-empty.Memory) / float64(budget)
	t.Logf("%d entries: %d collections took %v of %v of processor time, which is %.2f %%; the process grew by %.2f times the budget",
		entries, len(during), sum(during), used.CPU-full.CPU, 100*share, grown)
	if n := o.asked(t) - asked; n > entries/50 {
		t.Errorf("the origin was asked %d times while there should be hits alone", n)
	}
	switch {
	case len(during) == 0 && judged:
		t.Error("no collection was seen")
	case judged && share >= collectorMax:
		t.Errorf("the collector takes %.2f %% of the processor time, want less than %.0f %%", 100*share, 100*collectorMax)
	}
	if judged && grown > 1.3 {
		t.Errorf("the process grew by %.2f times the budget, want at most 1.3", grown)
	}
}

// collections returns the number of the last collection that the runtime tells of (GODEBUG=gctrace=1), and the processor time of each
// that comes after the given one. It counts a worker that waits for a processor as working, so on a busy machine it is too much rather
// than too little.
func collections(output string, after int) (last int, all []time.Duration) {
	for line := range strings.Lines(output) {
		_, figures, ok := strings.Cut(line, " ms clock, ")
		var number int
		if _, err := fmt.Sscanf(line, "gc %d @", &number); err != nil || !ok {
			continue
		}
		if last = number; number <= after {
			continue
		}
		figures, _, _ = strings.Cut(figures, " ms cpu")
		all = append(all, sumOf(strings.FieldsFunc(figures, func(r rune) bool { return r == '+' || r == '/' })))
	}
	return last, all
}

// sumOf adds milliseconds.
func sumOf(figures []string) (d time.Duration) {
	for _, f := range figures {
		ms, err := strconv.ParseFloat(f, 64)
		if err != nil {
			continue
		}
		d += time.Duration(ms * float64(time.Millisecond))
	}
	return d
}

func sum(all []time.Duration) (d time.Duration) {
	for _, one := range all {
		d += one
	}
	return d
}
