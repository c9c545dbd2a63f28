package tiers

import (
	"cmp"
	"slices"
)

// Hottest returns at most n keys, those that were asked for most often lately
// first. With LRU, which does not count, they are any. It looks at all entries,
// 256 at a time under a lock.
func (m *Memory[K, V]) Hottest(n int) []K {
	var hot []counted[K]
	for _, s := range m.shards {
		for page, more := 0, true; more; page++ {
			if hot, more = s.count(page, hot); len(hot) > 4*n+pageSlots {
				hot = most(hot, n)
			}
		}
	}
	hot = most(hot, n)
	keys := make([]K, len(hot))
	for i, c := range hot {
		keys[i] = c.key
	}
	return keys
}

// counted is a key and how often it was asked for lately.
type counted[K comparable] struct {
	key   K
	times int
}

// most returns the n most often asked for.
func most[K comparable](hot []counted[K], n int) []counted[K] {
	slices.SortStableFunc(hot, func(a, b counted[K]) int { return cmp.Compare(b.times, a.times) })
	return hot[:min(n, len(hot))]
}

// count appends the entries of a page. It takes the lock.
func (s *shard[K, V]) count(page int, hot []counted[K]) (all []counted[K], more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if page >= len(s.pages) {
		return hot, false
	}
	for j := range s.pages[page] {
		if e := &s.pages[page][j]; e.place != free {
			hot = append(hot, counted[K]{e.key, s.sketch.estimate(s.spread(e.key))})
		}
	}
	return hot, true
}
