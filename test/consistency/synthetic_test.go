package consistency

import (
	"math/rand/v2"
	"testing"
	"time"
)

// synthetic makes up a history that keeps the promise: registers whose purges
// take a while and are not always acknowledged, and readers that see whatever
// they may, some for a long time.
func synthetic(rng *rand.Rand, operations int) *history {
	const registers = 20
	h := &history{}
	between := func(low, high time.Duration) time.Duration { return low + time.Duration(rng.Int64N(int64(high-low))) }
	for register := range registers {
		var writes []write
		var pending []read
		at := time.Millisecond
		for v := version(2); len(h.reads)+len(pending) < operations*(register+1)/registers; v++ {
			w := write{register: register, version: v, begin: at}
			w.sent = w.begin + between(1, time.Millisecond)
			w.acknowledged = w.sent + between(time.Millisecond, 20*time.Millisecond)
			if rng.IntN(10) == 0 {
				w.acknowledged = w.sent + between(500*time.Millisecond, 1500*time.Millisecond)
			}
			at = w.acknowledged + between(1, 300*time.Millisecond)
			if rng.IntN(5) == 0 {
				at, w.acknowledged = w.sent+between(1, 100*time.Millisecond), never
			}
			writes = append(writes, w)
			for when := w.begin; when < at; when += between(1, 20*time.Millisecond) {
				r := read{register: register, begin: when, end: when + between(1, 5*time.Millisecond)}
				if rng.IntN(20) == 0 {
					r.end += between(1, time.Second)
				}
				pending = append(pending, r)
			}
		}
		for _, r := range pending {
			low, high := version(1), version(1)
			for _, w := range writes {
				if w.acknowledged < r.begin {
					low = w.version
				}
				if w.begin <= r.end {
					high = w.version
				}
			}
			r.version = low + version(rng.IntN(int(high-low)+1))
			h.reads = append(h.reads, r)
		}
		h.writes = append(h.writes, writes...)
	}
	return h
}

const eachPiece = 10 * time.Second

// TestCheckers: both checkers pass a history that keeps the promise, in bounded
// time, and find each single read that does not.
func TestCheckers(t *testing.T) {
	const size = 250_000
	begin := time.Now()
	h := synthetic(rand.New(rand.NewPCG(1, 2)), size)
	t.Logf("made %d operations in %v", h.operations(), time.Since(begin))
	begin = time.Now()
	if found := h.violations(); len(found) > 0 {
		t.Fatalf("%d violations where there are none, the first: %v", len(found), found[0])
	}
	t.Logf("looked at in %v", time.Since(begin))
	begin = time.Now()
	v := h.check(eachPiece)
	t.Logf("checked in %v: %d pieces, of up to %d operations", time.Since(begin), v.pieces, v.longest)
	if len(v.illegal)+len(v.undecided) > 0 {
		t.Fatalf("%d pieces of %d are illegal and %d undecided, want none", len(v.illegal), v.pieces, len(v.undecided))
	}
}

// TestCheckersFind: a single read that breaks the promise is found by both.
func TestCheckersFind(t *testing.T) {
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 3))
		h := synthetic(rng, 2000)
		// A version before the oldest that may be read, or behind the newest.
		r := &h.reads[rng.IntN(len(h.reads))]
		low, high := version(1), version(1)
		for _, w := range h.writes {
			if w.register != r.register {
				continue
			}
			if w.acknowledged < r.begin {
				low = max(low, w.version)
			}
			if w.begin <= r.end {
				high = max(high, w.version)
			}
		}
		switch {
		case low > 1 && seed%2 == 0:
			r.version = low - 1
		default:
			r.version = high + 1
		}
		if found := h.violations(); len(found) != 1 || found[0].read != *r {
			t.Errorf("seed %d: read %+v, between %d and %d: found %v", seed, *r, low, high, found)
		}
		if v := h.check(eachPiece); len(v.illegal) != 1 || len(v.undecided) > 0 {
			t.Errorf("seed %d: read %+v: the checker finds %d pieces illegal and %d undecided", seed, *r, len(v.illegal), len(v.undecided))
		}
	}
}
