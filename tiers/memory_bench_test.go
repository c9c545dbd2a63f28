package tiers

import (
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/maypok86/otter/v2"
)

// BenchmarkHitRatio asks: how many of 1,000,000 requests hit? The metric hit%
// is the answer.
func BenchmarkHitRatio(b *testing.B) {
	traces := map[bool]trace{false: newTrace(1_000_000, false), true: newTrace(1_000_000, true)}
	for _, column := range columns {
		for _, c := range contenders {
			b.Run(column.name+"/"+c.name, func(b *testing.B) {
				sum := 0.0
				for range b.N {
					sum += traces[column.scan].hitRatio(c.make(column.capacity))
				}
				b.ReportMetric(sum/float64(b.N), "hit%")
			})
		}
	}
}

// mutexLRU is one shard of the yardstick of BenchmarkGet: what one gets by
// putting a lock around simplelru.
type mutexLRU struct {
	mu  sync.Mutex
	lru *simplelru.LRU[key16, *int]
}

const (
	benchEntries = 1 << 18
	benchShards  = 16
)

// BenchmarkGet asks: what does a hit cost, on all processors at once, with keys
// drawn by Zipf 0.99 from all that is cached?
func BenchmarkGet(b *testing.B) {
	keys := make([]key16, 1<<20)
	z := newZipf(benchEntries, 0.99, 1)
	for i := range keys {
		keys[i] = keyOf(z.next())
	}
	memory := func(policy Policy) func(key16) bool {
		m := New(Options[key16, *int]{MaxBytes: 1 << 40, Policy: policy, Shards: benchShards, Hash: hash16})
		for i := range uint64(benchEntries) {
			m.Update(keyOf(i), func(*int, bool) (*int, bool) { return new(int), true })
		}
		return func(k key16) bool { _, ok := m.Get(k); return ok }
	}
	for _, c := range []struct {
		name string
		make func() func(key16) bool
	}{
		{"memory-auto", func() func(key16) bool { return memory(Auto) }},
		{"memory-lru", func() func(key16) bool { return memory(LRU) }},
		{"sharded-simplelru", func() func(key16) bool {
			var shards [benchShards]*mutexLRU
			for i := range shards {
				l, _ := simplelru.NewLRU[key16, *int](benchEntries, nil)
				shards[i] = &mutexLRU{lru: l}
			}
			for i := range uint64(benchEntries) {
				k := keyOf(i)
				shards[hash16(k)%benchShards].lru.Add(k, new(int))
			}
			return func(k key16) bool {
				s := shards[hash16(k)%benchShards]
				s.mu.Lock()
				_, ok := s.lru.Get(k)
				s.mu.Unlock()
				return ok
			}
		}},
		{"otter", func() func(key16) bool {
			c := otter.Must(&otter.Options[key16, *int]{MaximumSize: 2 * benchEntries})
			for i := range uint64(benchEntries) {
				c.Set(keyOf(i), new(int))
			}
			return func(k key16) bool { _, ok := c.GetIfPresent(k); return ok }
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			get := c.make()
			runtime.GC()
			b.ReportAllocs()
			var seed atomic.Uint64
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				i := seed.Add(1) * 7919
				for pb.Next() {
					if !get(keys[i%uint64(len(keys))]) {
						b.Error("a cached key is not found")
						return
					}
					i++
				}
			})
		})
	}
}

// BenchmarkUpdate asks: what does storing a new value in a full tier cost, with
// what it pushes out?
func BenchmarkUpdate(b *testing.B) {
	for _, policy := range policies {
		b.Run(policyName[policy], func(b *testing.B) {
			m := New(Options[key16, *int]{MaxBytes: 256 << 20, Policy: policy, Hash: hash16,
				Cost: func(key16, *int) int64 { return 1024 }})
			value := new(int)
			store := func(*int, bool) (*int, bool) { return value, true }
			n := uint64(0)
			for ; n < 300_000; n++ {
				m.Update(keyOf(n), store)
			}
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				m.Update(keyOf(n), store)
				n++
			}
		})
	}
}

// BenchmarkGCShare asks: which share of the processors does the collector take
// with 1,000,000 entries of 1 KiB, while all processors do nothing but Get and
// drop 16 bytes each time, with the memory limit at 1.25 times the budget? That
// is about 50 MB for a second of a processor, what a request makes that drops
// 2 KiB in 40 microseconds. The metric gc% is the answer. Run it for 20 s or
// more and on a quiet machine: it counts whole cycles, and the runtime counts
// the time for which a worker waits for a processor as the collector's.
func BenchmarkGCShare(b *testing.B) {
	const entries, size = 1_000_000, 1024
	for _, policy := range policies {
		b.Run(policyName[policy], func(b *testing.B) {
			// A 50th more, for shards that the hash gives more than their part.
			budget := (size + entryOverhead[key16, *[size]byte](policy)) * entries * 51 / 50
			m := New(Options[key16, *[size]byte]{MaxBytes: budget, Policy: policy, Hash: hash16,
				Cost: func(key16, *[size]byte) int64 { return size }})
			for i := range uint64(entries) {
				put(m, keyOf(i), new([size]byte))
			}
			if got := m.Stats().Entries; got != entries {
				b.Fatalf("%d entries, want %d", got, entries)
			}
			defer debug.SetMemoryLimit(debug.SetMemoryLimit(budget * 5 / 4))
			runtime.GC()
			before := readCPU()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				random := rand.New(rand.NewPCG(rand.Uint64(), 0))
				for pb.Next() {
					if _, ok := m.Get(keyOf(random.Uint64N(entries))); !ok {
						b.Error("a cached key is not found")
						return
					}
					garbage.Store(new([16]byte))
				}
			})
			b.StopTimer()
			after := readCPU()
			if cycles := after.cycles - before.cycles; cycles > 0 {
				b.ReportMetric(float64(cycles), "cycles")
				b.ReportMetric(100*(after.gc-before.gc)/(after.total-before.total), "gc%")
				b.ReportMetric(1000*(after.gc-before.gc)/float64(cycles), "cpu-ms/cycle")
			}
			runtime.KeepAlive(m)
		})
	}
}

var garbage atomic.Pointer[[16]byte]

type cpuTime struct {
	gc, total float64 // seconds, as of the end of the last cycle
	cycles    uint64
}

func readCPU() cpuTime {
	samples := []metrics.Sample{
		{Name: "/cpu/classes/gc/total:cpu-seconds"},
		{Name: "/cpu/classes/total:cpu-seconds"},
		{Name: "/gc/cycles/total:gc-cycles"},
	}
	metrics.Read(samples)
	return cpuTime{samples[0].Value.Float64(), samples[1].Value.Float64(), samples[2].Value.Uint64()}
}
