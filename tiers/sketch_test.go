package tiers

import (
	"math/rand/v2"
	"testing"
)

// TestSketchNeverUnderestimates: before it ages, an estimate is at least the
// number of additions, as far as it can count, and seldom more.
func TestSketchNeverUnderestimates(t *testing.T) {
	s := newSketch()
	s.fit(1000)
	random := rand.New(rand.NewPCG(1, 0))
	added := map[uint64]int{}
	for range 5000 {
		h := stir(uint64(random.ExpFloat64() * 200))
		s.add(h)
		added[h]++
	}
	over := 0
	for h, n := range added {
		got := s.estimate(h)
		if got < min(n, maxCount+1) {
			t.Errorf("added %d times, estimated %d", n, got)
		}
		if got > n+1 {
			over++
		}
	}
	if over > len(added)/20 {
		t.Errorf("%d of %d estimates are over by more than one", over, len(added))
	}
}

// TestSketchGrowthKeepsEstimates: fit never lowers what is known.
func TestSketchGrowthKeepsEstimates(t *testing.T) {
	s := newSketch()
	before := map[uint64]int{}
	for i := range uint64(20) {
		for range i {
			s.add(stir(i))
		}
	}
	for i := range uint64(20) {
		before[i] = s.estimate(stir(i))
	}
	s.fit(10_000)
	for i, want := range before {
		if got := s.estimate(stir(i)); got != want {
			t.Errorf("key %d: estimate %d after growing, %d before", i, got, want)
		}
	}
}

// TestDoorkeeperKeepsScanOut: a scan neither counts nor ages the counters.
func TestDoorkeeperKeepsScanOut(t *testing.T) {
	s := newSketch()
	s.fit(100)
	for range 10 {
		s.add(stir(1))
	}
	want := s.estimate(stir(1))
	for i := range uint64(20 * doorPeriod * s.entries) {
		s.add(stir(1000 + i))
	}
	if got := s.estimate(stir(1)); got < want-1 {
		t.Errorf("estimate fell from %d to %d", want, got)
	}
	sum := 0
	for i := range uint64(1000) {
		sum += s.estimate(stir(1_000_000 + i))
	}
	if sum > 200 {
		t.Errorf("after the scan 1000 unknown hashes are estimated at %d together", sum)
	}
}

// TestSketchForgets: what is no longer added loses its rank.
func TestSketchForgets(t *testing.T) {
	s := newSketch()
	s.fit(64)
	for range 20 {
		s.add(stir(1))
	}
	for i := range countPeriod * s.entries * 4 {
		s.add(stir(uint64(100 + i%64)))
	}
	if got := s.estimate(stir(1)); got > 3 {
		t.Errorf("estimate is still %d", got)
	}
}
