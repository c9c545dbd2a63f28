package consistency

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"time"
)

// fault is something that befalls the site. What begins it returns what ends it.
type fault struct {
	name  string
	redis bool // it befalls Redis: not together with another that does
	begin func(s *site, rng *rand.Rand) (end func())
	// lasts is how long it goes on, in leases, at least and at most.
	lasts [2]float64
}

// moment is a fault that has ended at once.
func moment() {}

// faults are all kinds.
func faults() []fault {
	return []fault{
		{"connections of pub/sub killed", true, func(s *site, _ *rand.Rand) func() {
			s.redis.Client().ClientKillByFilter(s.t.Context(), "TYPE", "pubsub")
			return moment
		}, [2]float64{0, 0.5}},
		{"all connections killed", true, func(s *site, _ *rand.Rand) func() {
			s.redis.Client().ClientKillByFilter(s.t.Context(), "TYPE", "normal", "SKIPME", "yes")
			s.redis.Client().ClientKillByFilter(s.t.Context(), "TYPE", "pubsub")
			return moment
		}, [2]float64{0, 0.5}},
		{"Redis paused", true, func(s *site, _ *rand.Rand) func() {
			s.redis.Pause()
			return s.redis.Resume
		}, [2]float64{0.2, 2}},
		{"Redis restarted with its data", true, func(s *site, _ *rand.Rand) func() {
			s.redis.Do("CLIENT", "PAUSE", "10000", "WRITE")
			s.redis.Do("SAVE")
			s.redis.Kill()
			return s.redis.Restart
		}, [2]float64{0, 1}},
		{"Redis restarted without its data", true, func(s *site, _ *rand.Rand) func() {
			s.redis.Kill()
			s.forgetData()
			return s.redis.Restart
		}, [2]float64{0, 1}},
		{"Redis restarted with the data of a moment ago", true, func(s *site, rng *rand.Rand) func() {
			s.redis.Do("SAVE")
			time.Sleep(time.Duration(rng.Int64N(int64(s.lease))))
			s.redis.Kill()
			return s.redis.Restart
		}, [2]float64{0, 1}},
		{"a replica that lagged takes over", true, func(s *site, rng *rand.Rand) func() {
			s.failOver(time.Duration(rng.Int64N(int64(s.lease))))
			return s.spare.Restart
		}, [2]float64{0, 1}},
		{"FLUSHALL", true, func(s *site, _ *rand.Rand) func() {
			s.redis.Do("FLUSHALL")
			return moment
		}, [2]float64{0, 0.5}},
		{"Redis full", true, func(s *site, _ *rand.Rand) func() {
			s.redis.Do("CONFIG", "SET", "maxmemory", "1")
			return func() { s.redis.Do("CONFIG", "SET", "maxmemory", "0") }
		}, [2]float64{0.2, 2}},
		{"instance stopped and continued", false, func(s *site, rng *rand.Rand) func() {
			p := s.some(rng).process.Load()
			s.signal(p.PID(), syscall.SIGSTOP)
			return func() { s.signal(p.PID(), syscall.SIGCONT) }
		}, [2]float64{1.2, 3}},
		{"instance killed and started", false, func(s *site, rng *rand.Rand) func() {
			n := s.some(rng)
			n.process.Load().Kill()
			return func() { s.start(n) }
		}, [2]float64{0, 1.5}},
		{"instance ended and started", false, func(s *site, rng *rand.Rand) func() {
			n := s.some(rng)
			n.process.Load().Stop()
			return func() { s.start(n) }
		}, [2]float64{0, 1.5}},
		{"link cut", false, func(s *site, rng *rand.Rand) func() {
			n := s.some(rng)
			n.relay.Refuse(true)
			return func() { n.relay.Refuse(false) }
		}, [2]float64{0, 2}},
		{"link silent", false, func(s *site, rng *rand.Rand) func() {
			n := s.some(rng)
			n.relay.Silence(true)
			return func() { n.relay.Silence(false) }
		}, [2]float64{0.5, 3}},
		{"link slow", false, func(s *site, rng *rand.Rand) func() {
			n := s.some(rng)
			n.relay.Slow(time.Duration(rng.Int64N(int64(s.lease))))
			return func() { n.relay.Slow(0) }
		}, [2]float64{0.5, 3}},
		{"link slow, then silent", false, func(s *site, rng *rand.Rand) func() {
			n := s.some(rng)
			n.relay.Slow(time.Duration(rng.Int64N(int64(s.lease / 4))))
			time.Sleep(s.lease)
			n.relay.Silence(true)
			return func() {
				n.relay.Slow(0)
				n.relay.Silence(false)
			}
		}, [2]float64{1, 2}},
		{"link silent while Redis is emptied", true, func(s *site, rng *rand.Rand) func() {
			n := s.some(rng)
			n.relay.Silence(true)
			time.Sleep(time.Duration(rng.Int64N(int64(s.lease))))
			if rng.IntN(2) == 0 {
				s.redis.Do("FLUSHALL")
			} else {
				s.redis.Kill()
				s.forgetData()
				s.redis.Restart()
			}
			return func() { n.relay.Silence(false) }
		}, [2]float64{0.2, 2}},
	}
}

// befallen is a fault that was.
type befallen struct {
	name       string
	begin, end time.Duration
}

func (b befallen) String() string {
	return fmt.Sprintf("  fault: %s from %v to %v", b.name, b.begin, b.end)
}

// some chooses an instance.
func (s *site) some(rng *rand.Rand) *node { return s.nodes[rng.IntN(instances)] }

func (s *site) signal(pid int, signal syscall.Signal) {
	if err := syscall.Kill(pid, signal); err != nil {
		s.t.Errorf("signal %v: %v", signal, err)
	}
}

// deck deals the kinds out in random order, each once in each round.
type deck struct {
	rng   *rand.Rand
	kinds []fault
	left  []fault
}

func (d *deck) next() fault {
	if len(d.left) == 0 {
		d.left = slices.Clone(d.kinds)
		d.rng.Shuffle(len(d.left), func(i, j int) { d.left[i], d.left[j] = d.left[j], d.left[i] })
	}
	f := d.left[0]
	d.left = d.left[1:]
	return f
}

// partner takes out of the deck what may come together with f: an instance that is stopped while Redis is emptied, say.
func (d *deck) partner(f fault) (fault, bool) {
	for i, other := range d.left {
		if other.redis != f.redis {
			d.left = slices.Delete(d.left, i, i+1)
			return other, true
		}
	}
	return fault{}, false
}

// befall lets one fault or two at a time come over the site, and returns when
// they are over.
func (s *site) befall(d *deck) (list []befallen) {
	f := d.next()
	list = append(list, befallen{f.name, s.now(), 0})
	ends := []func(){f.begin(s, d.rng)}
	if d.rng.IntN(4) == 0 {
		if other, ok := d.partner(f); ok {
			list = append(list, befallen{other.name, s.now(), 0})
			ends = append(ends, other.begin(s, d.rng))
		}
	}
	time.Sleep(time.Duration((f.lasts[0] + d.rng.Float64()*(f.lasts[1]-f.lasts[0])) * float64(s.lease)))
	for i, end := range ends {
		end()
		list[i].end = s.now()
	}
	return list
}
