package tiers

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"testing"
)

// TestOverhead holds the bookkeeping that each entry is charged against what
// the heap really grows by: never less, and not absurdly more.
func TestOverhead(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector changes what is allocated")
	}
	forPolicies(t, func(t *testing.T, p Policy) {
		charged := float64(entryOverhead[key16, *int](p))
		for _, entries := range []uint64{100_000, 150_000, 200_000, 300_000} {
			value := new(int)
			before := liveHeap()
			m := New(Options[key16, *int]{MaxBytes: int64(entries) * int64(charged), Policy: p, Shards: 16, Hash: hash16})
			for i := range entries {
				put(m, keyOf(i), value)
			}
			stored := m.Stats().Entries
			used := float64(liveHeap()-before) / float64(stored)
			t.Logf("%d entries: %.0f bytes each, charged %.0f", stored, used, charged)
			if used > charged || used < charged/2 {
				t.Errorf("%d entries take %.0f bytes each, want %.0f to %.0f", entries, used, charged/2, charged)
			}
			runtime.KeepAlive(m)
		}
	})
}

// liveHeap returns the bytes of all objects that collections leave: a second
// one frees what pools of other tests still hold after the first.
func liveHeap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

const (
	rssBudget = 128 << 20
	rssChild  = "TIERS_TEST_RSS_POLICY" // set in the child process
)

// TestMemoryRSS holds the promise that the process grows by at most 1.3 times
// the budget with objects of 1 KiB. A child process fills the tier four times
// over, with the memory limit set as the proxy sets it, and says by how much
// its peak resident set grew.
func TestMemoryRSS(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector keeps a shadow of all memory: run this test without -race")
	}
	if runtime.GOOS != "linux" {
		t.Skip("reads /proc/self/status")
	}
	if policy := os.Getenv(rssChild); policy != "" {
		growResident(t, policy)
		return
	}
	for _, policy := range []string{"auto", "lru"} {
		t.Run(policy, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestMemoryRSS$", "-test.v")
			cmd.Env = append(os.Environ(), rssChild+"="+policy)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			_, said, _ := bytes.Cut(out, []byte("grew by "))
			var grown int64
			if _, err := fmt.Sscan(string(said), &grown); err != nil {
				t.Fatalf("%v in\n%s", err, out)
			}
			ratio := float64(grown) / rssBudget
			t.Logf("resident set grew by %.3f times the budget", ratio)
			if ratio > 1.3 || ratio < 0.9 {
				t.Errorf("resident set grew by %.3f times the budget, want 0.9 to 1.3", ratio)
			}
		})
	}
}

// growResident is the child process of TestMemoryRSS.
func growResident(t *testing.T, policy string) {
	const size = 1024
	start := resident(t, "VmRSS:")
	debug.SetMemoryLimit(start + rssBudget*5/4)
	o := Options[key16, *[size]byte]{
		MaxBytes: rssBudget,
		Hash:     hash16,
		Cost:     func(key16, *[size]byte) int64 { return size },
	}
	if policy == "lru" {
		o.Policy = LRU
	}
	m := New(o)
	for i := range uint64(4 * rssBudget / size) {
		v := new([size]byte)
		v[0] = 1
		m.Get(keyOf(i))
		put(m, keyOf(i), v)
	}
	fmt.Printf("grew by %d bytes with %+v\n", resident(t, "VmHWM:")-start, m.Stats())
	runtime.KeepAlive(m)
}

// resident returns a line of /proc/self/status in bytes: VmRSS is what the
// process has resident now, VmHWM what it had at most.
func resident(t *testing.T, field string) int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(status) {
		if words := bytes.Fields(line); len(words) > 1 && string(words[0]) == field {
			kib, err := strconv.ParseInt(string(words[1]), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatalf("no %s in /proc/self/status", field)
	return 0
}
