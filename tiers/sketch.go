package tiers

import "math/bits"

// sketch estimates how often a hash was added lately, up to 16 times: a
// count-min sketch of 4-bit counters behind a doorkeeper, as in TinyLFU
// (Einziger, Friedman, Manes 2017).
//
// The table is made of blocks of 64 bytes, a cache line, and a hash has all
// its bits in one of them. The first half of a block is the doorkeeper, a
// Bloom filter that takes the first access of each hash; only a hash that
// passes it is counted in the second half. So a scan, which adds each hash
// once, neither fills the counters nor ages them: with a scan mixed into Zipf
// 0.99, at a capacity of 1 % of the keys, the doorkeeper gave 4 points of hit
// ratio.
//
// It ages in two ways: the doorkeeper forgets all after doorPeriod additions
// per entry, and the counters are halved after countPeriod. Longer periods
// hold the hit ratio of a popularity that never changes; shorter ones forget
// yesterday's sooner. At 24, all keys changing at once, at a capacity of 10 %
// of the keys, costs 12 points over the next 100,000 requests.
//
// One goroutine at a time.
type sketch struct {
	table   []uint64 // blocks of blockWords
	entries int      // that the table is made for
	passed  int      // additions to the doorkeeper since it was emptied
	counted int      // additions to the counters, halved with them
}

const (
	blockWords = 8
	doorWords  = 4 // of a block; the others hold 16 counters each

	// blockEntries is how many entries of the shard a block is made for: 128
	// bits of doorkeeper and 32 counters each.
	blockEntries = 2

	// sketchBytesPerEntry is what an entry costs at worst, when the table has
	// just doubled.
	sketchBytesPerEntry = 2 * 8 * blockWords / blockEntries

	doorPeriod  = 16
	countPeriod = 24
	maxCount    = 15

	// shardBits is how many low bits of a hash choose the shard and so are
	// the same for all that a sketch sees.
	shardBits = 12
)

func newSketch() sketch {
	return sketch{table: make([]uint64, 4*blockWords), entries: 4 * blockEntries}
}

// fit makes the table large enough for that many entries. Doubling copies each
// block to both places its hashes may now belong to, so no estimate falls.
func (s *sketch) fit(entries int) {
	for s.entries < entries {
		doubled := make([]uint64, 2*len(s.table))
		copy(doubled[copy(doubled, s.table):], s.table)
		s.table = doubled
		s.entries *= 2
	}
}

// block returns the block of a hash, and 32 of its bits that say where in it.
func (s *sketch) block(h uint64) (*[blockWords]uint64, uint32) {
	n := uint64(len(s.table) / blockWords)
	i := h >> shardBits & (n - 1) * blockWords
	return (*[blockWords]uint64)(s.table[i : i+blockWords]), uint32(h * 0xd6e8feb86659fd93 >> 32)
}

// door returns the two bits of the doorkeeper that where names: each is a word
// and a mask.
func door(where uint32) (w0 uint32, m0 uint64, w1 uint32, m1 uint64) {
	return where >> 6 & 3, 1 << (where & 63), where >> 14 & 3, 1 << (where >> 8 & 63)
}

// add notes an access.
func (s *sketch) add(h uint64) {
	b, where := s.block(h)
	w0, m0, w1, m1 := door(where)
	if b[w0]&m0 == 0 || b[w1]&m1 == 0 {
		b[w0] |= m0
		b[w1] |= m1
		if s.passed++; s.passed >= doorPeriod*s.entries {
			s.reopen()
		}
		return
	}
	least := minCount(b, where)
	// Only the lowest counters grow: the others belong to other hashes also,
	// and would make those look wanted.
	for i := range uint32(blockWords - doorWords) {
		shift := shiftOf(where, i)
		if int(b[doorWords+i]>>shift&maxCount) == least && least < maxCount {
			b[doorWords+i] += 1 << shift
		}
	}
	if s.counted++; s.counted >= countPeriod*s.entries {
		s.halve()
	}
}

// estimate returns how often h was added lately: rarely less, sometimes more.
func (s *sketch) estimate(h uint64) int {
	b, where := s.block(h)
	n := minCount(b, where)
	if w0, m0, w1, m1 := door(where); b[w0]&m0 != 0 && b[w1]&m1 != 0 {
		n++
	}
	return n
}

// minCount returns the least of the four counters that where names.
func minCount(b *[blockWords]uint64, where uint32) int {
	least := uint64(maxCount)
	for i := range uint32(blockWords - doorWords) {
		least = min(least, b[doorWords+i]>>shiftOf(where, i)&maxCount)
	}
	return int(least)
}

// shiftOf returns where in word i of a block's counters the counter stands.
func shiftOf(where, i uint32) uint32 {
	return bits.RotateLeft32(where, -int(16+4*i)) & 15 * 4
}

func (s *sketch) reopen() {
	s.passed = 0
	for i := 0; i < len(s.table); i += blockWords {
		clear(s.table[i : i+doorWords])
	}
}

func (s *sketch) halve() {
	s.counted /= 2
	for i := 0; i < len(s.table); i += blockWords {
		for j := i + doorWords; j < i+blockWords; j++ {
			s.table[j] = s.table[j] >> 1 & 0x7777777777777777
		}
	}
}
