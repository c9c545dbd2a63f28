package tiers

import "time"

const (
	wheelBits    = 6
	wheelBuckets = 1 << wheelBits
	wheelLevels  = 5

	// wheelHorizon is how many seconds ahead the wheel can see: 34 years.
	// What expires later is looked at then and scheduled again.
	wheelHorizon = 1 << (wheelBits * wheelLevels)

	// expiryBatch and expirySeconds bound what one look does under the lock:
	// entries freed or moved to a finer level, and seconds gone through after
	// the process or its clock was stopped for long.
	expiryBatch   = 128
	expirySeconds = 4096
)

// wheel is a hierarchical timing wheel: level l has 64 buckets of 64^l seconds
// each. An entry sits in the bucket its expiry falls into, on the finest level
// that reaches so far, and moves to a finer level when that bucket's time
// comes: at most four times in its life. A bucket is a doubly linked list
// through the slots, so leaving is quick and nothing is left behind.
type wheel struct {
	now   int64 // the Unix second that is being worked on
	count int
	heads [wheelLevels * wheelBuckets]uint32
}

// seconds returns t in Unix seconds, rounded up; zero is never.
func seconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	sec := t.Unix()
	if t.Nanosecond() > 0 {
		sec++
	}
	return max(sec, 1)
}

// schedule puts slot i, which is in no bucket, where expires belongs.
func (s *shard[K, V]) schedule(i uint32, e *slot[K, V], expires int64) {
	e.expires = expires
	if expires == 0 {
		return
	}
	// The bucket of now may be half empty: what is due already waits for the
	// next second, so that emptying always ends.
	ahead := min(max(expires-s.wheel.now, 1), wheelHorizon-1)
	level := 0
	for d := ahead; d >= wheelBuckets; d >>= wheelBits {
		level++
	}
	e.bucket = bucketOf(s.wheel.now+ahead, level)
	head := &s.wheel.heads[e.bucket]
	e.next, e.prev = *head, 0
	if *head != 0 {
		s.at(*head).prev = i
	}
	*head = i
	s.wheel.count++
}

// bucketOf returns the bucket of a level that a second falls into.
func bucketOf(second int64, level int) uint16 {
	return uint16(level<<wheelBits | int(second>>(wheelBits*level))&(wheelBuckets-1))
}

// unschedule takes e out of its bucket, if it is in one.
func (s *shard[K, V]) unschedule(e *slot[K, V]) {
	if e.expires == 0 {
		return
	}
	if e.prev != 0 {
		s.at(e.prev).next = e.next
	} else {
		s.wheel.heads[e.bucket] = e.next
	}
	if e.next != 0 {
		s.at(e.next).prev = e.prev
	}
	e.next, e.prev, e.expires = 0, 0, 0
	s.wheel.count--
}

// expire frees what is due at the second now, up to a bound, and returns it;
// more says that there is more to do. It takes the lock.
func (s *shard[K, V]) expire(now int64) (gone []removal[K, V], more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	left := expiryBatch
	for range expirySeconds {
		if s.wheel.count == 0 {
			s.wheel.now = now
			return gone, false
		}
		if gone = s.turn(gone, &left); left == 0 {
			return gone, true
		}
		if s.wheel.now >= now {
			return gone, false
		}
		s.wheel.now++
	}
	return gone, true
}

// turn empties the buckets whose time is wheel.now, coarse levels first because
// their entries may belong into a finer one of the same second. It stops when
// left reaches zero and can be called again.
func (s *shard[K, V]) turn(gone []removal[K, V], left *int) []removal[K, V] {
	for level := wheelLevels - 1; level >= 0; level-- {
		if s.wheel.now&(1<<(wheelBits*level)-1) != 0 {
			continue
		}
		head := &s.wheel.heads[bucketOf(s.wheel.now, level)]
		for ; *head != 0; *left-- {
			if *left == 0 {
				return gone
			}
			i := *head
			e := s.at(i)
			if e.expires <= s.wheel.now {
				gone = append(gone, s.drop(i, Expired))
				continue
			}
			expires := e.expires
			s.unschedule(e)
			s.schedule(i, e, expires)
		}
	}
	return gone
}
