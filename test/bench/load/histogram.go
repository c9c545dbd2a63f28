//go:build linux

package load

import (
	"math/bits"
	"time"
)

// A Histogram counts durations in buckets that are at most 1/32 of their value wide.
type Histogram struct {
	buckets [64 * 32]uint64
	count   uint64
	max     time.Duration
}

// Add counts d. It allocates nothing.
func (h *Histogram) Add(d time.Duration) {
	h.buckets[bucket(d)]++
	h.count++
	h.max = max(h.max, d)
}

// Count returns how many durations were added.
func (h *Histogram) Count() uint64 { return h.count }

// Quantile returns a duration that the share q of all does not exceed, to 1/32 too much, or zero where there are none.
func (h *Histogram) Quantile(q float64) time.Duration {
	if h.count == 0 {
		return 0
	}
	rank := uint64(q * float64(h.count-1))
	for i, n := range h.buckets {
		if rank < n {
			return min(upper(i), h.max)
		}
		rank -= n
	}
	return h.max
}

// bucket numbers what d falls in: below 64 ns each has its own, above it the highest bit and the five after it count.
func bucket(d time.Duration) int {
	v := uint64(max(d, 0))
	if v < 64 {
		return int(v)
	}
	shift := bits.Len64(v) - 6
	return shift*32 + int(v>>shift)
}

// upper returns the greatest duration of a bucket.
func upper(i int) time.Duration {
	if i < 64 {
		return time.Duration(i)
	}
	shift := i/32 - 1
	return time.Duration((uint64(i-shift*32)+1)<<shift - 1)
}
