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

	// coldSample is how many entries are compared when one has to leave and
	// no newcomer asks for its room.
	coldSample = 5
)

// makeRoom evicts until the shard is within its budget and appends what left
// to gone. Slot fresh has just been written, stands at the front of the list
// if it is there, and stays: alone it is within the budget.
func (s *shard[K, V]) makeRoom(fresh uint32, gone []removal[K, V]) []removal[K, V] {
	if s.policy == LRU {
		for s.bytes > s.budget {
			i, _, _ := s.list.GetOldest()
			gone = append(gone, s.drop(i, Evicted))
		}
		return gone
	}
	for s.windowFull() {
		i, _, _ := s.list.GetOldest()
		if s.bytes > s.budget {
			if !s.contest(i, fresh) {
				gone = append(gone, s.drop(i, Rejected))
				continue
			}
			for _, victim := range s.victims {
				gone = append(gone, s.drop(victim, Evicted))
			}
		}
		s.settle(i)
	}
	for s.bytes > s.budget {
		gone = append(gone, s.drop(s.coldest(fresh), Evicted))
	}
	return gone
}

// windowFull reports whether the oldest entry of the window has to leave it.
func (s *shard[K, V]) windowFull() bool {
	switch n := s.list.Len(); {
	case n <= 1:
		return false
	case n <= windowEntries:
		return s.listBytes > s.budget/windowLimit
	default:
		return s.listBytes > s.budget/windowShare
	}
}

// settle moves slot i from the window to main.
func (s *shard[K, V]) settle(i uint32) {
	s.leave(i)
	e := s.at(i)
	e.place, e.pos = inMain, uint32(len(s.main))
	s.main = append(s.main, i)
}

// contest decides whether candidate, which leaves the window, is worth more
// than the entries of main under the hand that would have to go in its stead
// to bring the shard within its budget. If so, it leaves those in s.victims.
//
// A large candidate is weighed against all that it would push out together,
// so it must be asked for more often than their sum. Entries that stay have
// won, and the hand looks at them again only after all the others.
func (s *shard[K, V]) contest(candidate, fresh uint32) bool {
	s.victims = s.victims[:0]
	worth := s.frequency(candidate)
	need := min(s.at(candidate).cost, s.bytes-s.budget)
	sum := 0
	for n := len(s.main); n > 0 && need > 0; n-- {
		i := s.next()
		if i == fresh {
			continue
		}
		if sum += s.frequency(i); sum >= worth {
			return false
		}
		s.victims = append(s.victims, i)
		need -= s.at(i).cost
	}
	return need <= 0
}

// coldest returns the entry least asked for among the next few of main, or the
// oldest of the window where main has none but fresh.
func (s *shard[K, V]) coldest(fresh uint32) uint32 {
	var best uint32
	least := 0
	for n := min(len(s.main), coldSample); n > 0; n-- {
		i := s.next()
		if i == fresh {
			continue
		}
		if f := s.frequency(i); best == 0 || f < least {
			best, least = i, f
		}
	}
	if best == 0 {
		best, _, _ = s.list.GetOldest()
	}
	return best
}

// next returns the entry under the hand, and moves the hand on. Main must not
// be empty.
func (s *shard[K, V]) next() uint32 {
	if s.hand >= len(s.main) {
		s.hand = 0
	}
	i := s.main[s.hand]
	s.hand++
	return i
}

func (s *shard[K, V]) frequency(i uint32) int {
	return s.sketch.estimate(s.spread(s.at(i).key))
}
