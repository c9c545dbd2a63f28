package tiers

const (
	// windowShare is the part of a shard's bytes that new values live in
	// before they have to prove themselves. One percent is what gave the best
	// hit ratios on Zipf 0.99 with and without a scan; five and ten percent
	// lost 0.1 to 0.4 points.
	windowShare = 100

	// windowEntries is how many values the window holds even where they cost
	// more than its share, so that what was just stored can still be found.
	// They may take up to the shard's bytes / windowLimit for it, and the
	// newest one as much as there is.
	windowEntries = 4
	windowLimit   = 8

	// coldSample is how many of the oldest entries are compared when one has
	// to leave and no newcomer asks for its room.
	coldSample = 5
)

// makeRoom evicts until the shard is within its budget and appends what left
// to gone. Slot fresh has just been written, stands at the front of its list,
// and stays: alone it is within the budget.
func (s *shard[K, V]) makeRoom(fresh uint32, gone []removal[K, V]) []removal[K, V] {
	if s.policy == LRU {
		for s.bytes > s.budget {
			i, _, _ := s.main.GetOldest()
			gone = append(gone, s.drop(i, Evicted))
		}
		return gone
	}
	for s.windowFull() {
		i, _, _ := s.window.GetOldest()
		if s.bytes > s.budget && !s.contest(i, fresh) {
			gone = append(gone, s.drop(i, Rejected))
			continue
		}
		for _, victim := range s.victims {
			gone = append(gone, s.drop(victim, Evicted))
		}
		s.victims = s.victims[:0]
		s.leave(i)
		s.enter(i, inMain)
	}
	for s.bytes > s.budget {
		gone = append(gone, s.drop(s.coldest(fresh), Evicted))
	}
	return gone
}

// windowFull reports whether the oldest entry of the window has to leave it.
func (s *shard[K, V]) windowFull() bool {
	switch n := s.window.Len(); {
	case n <= 1:
		return false
	case n <= windowEntries:
		return s.windowBytes > s.budget/windowLimit
	default:
		return s.windowBytes > s.budget/windowShare
	}
}

// contest decides whether candidate, which leaves the window, is worth more
// than the oldest entries of main that would have to go to bring the shard
// within its budget. If so, it leaves those in s.victims.
//
// A large candidate is weighed against all that it would push out together,
// so it must be asked for more often than their sum. Entries that
// were looked at and stay go to the front: having won, they are looked at
// again only after all the others.
func (s *shard[K, V]) contest(candidate, fresh uint32) bool {
	s.victims = s.victims[:0]
	worth := s.frequency(candidate)
	need := s.bytes - s.budget
	sum := 0
	for n := s.main.Len(); n > 0 && need > 0; n-- {
		i, _, _ := s.main.GetOldest()
		s.main.Get(i)
		if i == fresh {
			continue
		}
		if sum += s.frequency(i); sum >= worth {
			break
		}
		s.victims = append(s.victims, i)
		need -= s.at(i).cost
	}
	if need > 0 {
		s.victims = s.victims[:0]
		return false
	}
	return true
}

// coldest returns the entry least asked for among the oldest few of main, or
// the oldest of the window where main has none but fresh.
func (s *shard[K, V]) coldest(fresh uint32) uint32 {
	var best uint32
	least := 0
	for n := min(s.main.Len(), coldSample); n > 0; n-- {
		i, _, _ := s.main.GetOldest()
		s.main.Get(i)
		if i == fresh {
			continue
		}
		if f := s.frequency(i); best == 0 || f < least {
			best, least = i, f
		}
	}
	if best == 0 {
		best, _, _ = s.window.GetOldest()
	}
	return best
}

func (s *shard[K, V]) frequency(i uint32) int {
	return s.sketch.estimate(s.spread(s.at(i).key))
}
