//go:build linux

package scale_test

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cacheproxy/cacheproxy/test/redistest"
	"github.com/cacheproxy/cacheproxy/test/scale"
)

var (
	full   = flag.Bool("full", false, "measure at full size; else only a little, to see that it works")
	record = flag.Bool("record", false, "write the tables into docs/scale.md")
)

// size is short, or what it is with -full.
func size[T any](short, long T) T {
	if *full {
		return long
	}
	return short
}

// start starts a server on the last processor.
func start(t *testing.T) string {
	t.Helper()
	server := redistest.Start(t)
	pid, err := strconv.Atoi(field(t, server, "process_id"))
	if err != nil {
		t.Fatal(err)
	}
	var set unix.CPUSet
	set.Set(runtime.NumCPU() - 1)
	if err := unix.SchedSetaffinity(pid, &set); err != nil {
		t.Fatal(err)
	}
	return server.Addr
}

// field returns what the server says of itself.
func field(t *testing.T, server *redistest.Server, name string) string {
	t.Helper()
	for line := range strings.Lines(server.Client().Info(t.Context(), "server").Val()) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+":"); ok {
			return value
		}
	}
	t.Fatalf("the server does not tell its %s", name)
	return ""
}

func open(t *testing.T, addr string) *scale.Log {
	log := scale.Open(addr, 64)
	t.Cleanup(func() { log.Close() })
	return log
}

func us(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d)/float64(time.Microsecond)) }
func ms(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d)/float64(time.Millisecond)) }

// On what is it measured?
func TestMachine(t *testing.T) {
	server := redistest.Start(t)
	version := field(t, server, "redis_version")
	model := "unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, rest, ok := strings.Cut(string(text), "model name"); ok {
			model, _, _ = strings.Cut(strings.TrimLeft(rest, "\t :"), "\n")
		}
	}
	var name unix.Utsname
	var info unix.Sysinfo_t
	if err := unix.Uname(&name); err != nil {
		t.Fatal(err)
	}
	if err := unix.Sysinfo(&info); err != nil {
		t.Fatal(err)
	}
	load := float64(info.Loads[0]) / (1 << 16)
	replace(t, "The tables are of one run", fmt.Sprintf("The tables are of one run on a machine with %d x %s, %d GiB, Linux %s, %s, Redis %s, on %s. On the average of the minute before, %.1f other threads wanted to run: what is more than the processors can do makes the rates and the times until something is applied worse, and the processor times a little.\n",
		runtime.NumCPU(), model, info.Totalram*uint64(info.Unit)>>30, unix.ByteSliceToString(name.Release[:]), runtime.Version(), version, time.Now().Format(time.DateOnly), load))
}

// What does an append cost, and how many does a core of Redis bear?
func TestAppends(t *testing.T) {
	rows := []string{"| appends | µs of Redis | a second, of a whole core | a second, measured | of the core |", "| --- | --- | --- | --- | --- |"}
	for _, tt := range []struct {
		name      string
		instances int
		members   bool
	}{
		{"nobody registered", 0, false},
		{"`wait=local`, 3 instances registered", 3, true},
		{"`wait=local`, 100 instances registered", 100, true},
		{"`wait=local`, 1,000 instances registered", 1000, true},
	} {
		log := open(t, start(t))
		if tt.instances > 0 {
			if err := log.Register(t.Context(), tt.instances); err != nil {
				t.Fatal(err)
			}
		}
		c, err := log.Appends(t.Context(), 32, size(200*time.Millisecond, 10*time.Second), tt.members)
		if err != nil || c.Ops == 0 || c.CPU == 0 {
			t.Fatalf("%s: %+v, %v", tt.name, c, err)
		}
		rows = append(rows, fmt.Sprintf("| %s | %s | %.0f | %.0f | %.0f %% |", tt.name, us(c.Each()), c.Full(), c.Rate(), 100*c.Busy()))
	}
	write(t, rows)
}

// What does renewing cost with many instances?
func TestRenewals(t *testing.T) {
	rows := []string{"| renewals | µs of Redis | a second, of a whole core | of a core, four in each lease of 2 s |", "| --- | --- | --- | --- |"}
	for _, instances := range []int{3, 100, 1000} {
		log := open(t, start(t))
		if _, err := log.Fill(t.Context(), 64, 1000); err != nil {
			t.Fatal(err)
		}
		if err := log.Register(t.Context(), instances); err != nil {
			t.Fatal(err)
		}
		c, err := log.Renewals(t.Context(), instances, size(200*time.Millisecond, 10*time.Second))
		if err != nil || c.Ops == 0 || c.CPU == 0 {
			t.Fatalf("%d instances: %+v, %v", instances, c, err)
		}
		needed := float64(instances) * 4 / scale.Lease.Seconds()
		rows = append(rows, fmt.Sprintf("| %d instances | %s | %.0f | %.1f %% |", instances, us(c.Each()), c.Full(), 100*needed/c.Full()))
	}
	write(t, rows)
}

// What do the parts of the scripts cost?
func TestParts(t *testing.T) {
	rows := []string{"| part | µs of Redis |", "| --- | --- |"}
	log := open(t, start(t))
	if _, err := log.Fill(t.Context(), 64, 1000); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, call string }{
		{"`INFO server`, for the `run_id`", "redis.call('INFO', 'server')"},
		{"`INFO replication`, for the `master_replid`", "redis.call('INFO', 'replication')"},
		{"`XINFO STREAM`, for the last record and the oldest", "redis.call('XINFO', 'STREAM', KEYS[1])"},
		{"the last record and the oldest by `XREVRANGE` and `XRANGE`", "redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1) redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)"},
		{"`HGET` of the word", "redis.call('HGET', KEYS[2], '.epoch')"},
		{"`EXISTS` of the stream", "redis.call('EXISTS', KEYS[1])"},
		{"`TIME`", "redis.call('TIME')"},
		{"SHA-1 of the epoch's parts", "redis.sha1hex('0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789')"},
	} {
		c, err := log.Inside(t.Context(), tt.call, size(10_000, 200_000))
		if err != nil || c.CPU == 0 {
			t.Fatalf("%s: %+v, %v", tt.name, c, err)
		}
		rows = append(rows, fmt.Sprintf("| %s | %.2f |", tt.name, float64(c.CPU)/float64(c.Ops)/1000))
	}
	write(t, rows)
}

// How long does a purge take to reach many instances, and what does it cost?
func TestFollowers(t *testing.T) {
	rows := []string{
		"| followers | applied by all, p50, ms | p99 | max | `wait=all`, p50, ms | p99 | max | µs of Redis, with renewals | a second, of a whole core |",
		"| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
	}
	for _, n := range size([]int{10}, []int{1, 3, 10, 30, 100, 200, 500}) {
		f, err := scale.Start(t.Context(), start(t), n)
		if err != nil {
			t.Fatal(err)
		}
		// The epoch is known to the first only now: until it has been for a lease, a purge waits for one.
		time.Sleep(scale.Lease + scale.Lease/10)
		applied, complete, cost, err := f.Purge(t.Context(), size(20, 500), size(time.Millisecond, 10*time.Millisecond))
		f.Stop()
		if err != nil {
			t.Fatalf("%d followers: %v", n, err)
		}
		rows = append(rows, fmt.Sprintf("| %d | %s | %s | %s | %s | %s | %s | %s | %.0f |", n,
			ms(applied.At(.5)), ms(applied.At(.99)), ms(applied.At(1)), ms(complete.At(.5)), ms(complete.At(.99)), ms(complete.At(1)), us(cost.Each()), cost.Full()))
	}
	write(t, rows)
}

// How long does an instance take that was away for long?
func TestReturn(t *testing.T) {
	rows := []string{"| records behind | until it holds its lease, s | records/s | µs of Redis for each | µs of Redis for each append |", "| --- | --- | --- | --- | --- |"}
	for _, n := range size([]int{20_000}, []int{3_600, 60_000, 3_600_000}) {
		back, appended, read, err := scale.Return(t.Context(), start(t), n)
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, fmt.Sprintf("| %d | %.2f | %.0f | %s | %s |", n, back.Seconds(), float64(n)/back.Seconds(), us(read.Each()), us(appended.Each())))
	}
	write(t, rows)
}

// How much memory does the applied state take?
func TestStateBytes(t *testing.T) {
	rows := []string{"| purged, each once | bytes each | MiB |", "| --- | --- | --- |"}
	for _, n := range size([]int{10_000}, []int{10_000, 100_000, 1_000_000, 3_600_000}) {
		each := scale.StateBytes(n)
		if each < 16 || each > 256 {
			t.Errorf("%d purges take %.0f bytes each, want some dozens", n, each)
		}
		rows = append(rows, fmt.Sprintf("| %d URLs | %.0f | %.1f |", n, each, each*float64(n)/(1<<20)))
	}
	write(t, rows)
}

// page is where the tables stand: each between its first line and the next empty
// one.
const page = "../../docs/scale.md"

func write(t *testing.T, rows []string) {
	t.Helper()
	replace(t, rows[0], strings.Join(rows, "\n")+"\n")
}

// replace puts text in the place of the paragraph that begins with first.
func replace(t *testing.T, first, paragraph string) {
	t.Helper()
	t.Log("\n" + paragraph)
	if !*record || t.Failed() {
		return
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), first)
	if !ok {
		t.Fatalf("%s has no paragraph that begins with %s", page, first)
	}
	_, after, _ := strings.Cut(rest, "\n\n")
	if err := os.WriteFile(page, []byte(before+paragraph+"\n"+after), 0o644); err != nil {
		t.Fatal(err)
	}
}
