package upstream

import (
	"slices"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"
)

// State is how a target stands.
type State string

const (
	Healthy   State = "healthy"
	Unhealthy State = "unhealthy" // by its health check: it gets no requests
	Ejected   State = "ejected"   // by its breaker: it gets no requests
	HalfOpen  State = "half-open" // it has failed, and gets a request to see whether it is well again; or its share, where max_ejected leaves it in
)

// States returns all states.
func States() []State { return []State{Healthy, Unhealthy, Ejected, HalfOpen} }

// roster knows how the targets stand and chooses among them. It never calls a
// breaker while it holds mu, because breakers call it while they hold their own.
type roster struct {
	targets []*target
	balance string
	most    int           // how many targets may be ejected at once
	openFor time.Duration // of the breakers

	mu      sync.Mutex  // guards the targets' standing
	changes chan change // those that nobody has been told of; what finds no room is lost
}

// change is one of a target's state.
type change struct {
	target   string
	from, to State
}

// standing is how one target stands.
type standing struct {
	unhealthy bool            // says its health check
	circuit   gobreaker.State // as its breaker said last
	epoch     int             // of the breaker: those before it are not listened to any more
	failing   time.Time       // since when circuit is not closed
	retry     time.Time       // when a trial may be made
	trying    bool            // a trial is under way
	deaf      bool            // its last failure was not to be reached, or not to answer in time
	streak    int             // failures since the last success
	out       bool            // ejected, trials aside
	inFlight  int             // requests under way, bodies included
	turn      int             // of smooth weighted round robin
	state     State           // as it was told last
	since     time.Time       // when state began
}

// newRoster returns the roster of targets that are still to be put in.
func newRoster(o *Options) *roster {
	n := len(o.Targets)
	most := max(1, int(o.MaxEjected*float64(n)+1e-9)) // 0.3 of 10 is 3, whatever the binary fraction says
	if n > 1 {
		most = min(most, n-1)
	}
	return &roster{balance: o.Balance, most: most, openFor: o.Breaker.OpenFor, changes: make(chan change, 64)}
}

func (s *standing) good() bool { return !s.unhealthy && s.circuit == gobreaker.StateClosed }

// due reports whether a trial may be made.
func (s *standing) due(now time.Time) bool {
	return !s.unhealthy && s.circuit != gobreaker.StateClosed && !s.trying && now.After(s.retry)
}

// choice is what a target is wanted for.
type choice struct {
	key    uint64    // for the balance hash
	trials bool      // the request can be sent again, so that it may go where it may fail
	retry  bool      // it has failed elsewhere, and should not fail again
	except []*target // not these
}

// pick chooses a target and notes that a request is on its way to it. It returns
// nil where every target has failed, or, for a retry, where no other is well.
func (r *roster) pick(c choice, now time.Time) *visit {
	r.mu.Lock()
	defer r.mu.Unlock()
	var room [16]*target
	all, trial := r.candidates(room[:0], c, now)
	v := &visit{}
	switch {
	case trial != nil && (c.trials || len(all) == 0):
		v.target, v.trial = trial, true
		trial.trying = true
	case len(all) > 0:
		v.target = r.choose(all, c.key)
	case c.retry:
		return nil
	default:
		all = r.talking(all, c)
		if len(all) == 0 {
			return nil
		}
		v.target, v.last = r.choose(all, c.key), true
	}
	v.inFlight++
	v.requests.Add(1)
	return v
}

// candidates returns the targets that a request may go to in the ordinary way,
// and one that waits for a trial.
func (r *roster) candidates(all []*target, c choice, now time.Time) (_ []*target, trial *target) {
	clean, load, weight := 0, 0, 0
	for _, t := range r.targets {
		if slices.Contains(c.except, t) {
			continue
		}
		switch {
		case t.good():
			all = append(all, t)
			load, weight = load+t.inFlight, weight+t.weight
			if t.streak == 0 {
				clean++
			}
		case !c.retry && t.due(now) && (trial == nil || t.retry.Before(trial.retry)):
			trial = t
		}
	}
	switch {
	case c.retry && clean > 0:
		all = slices.DeleteFunc(all, func(t *target) bool { return t.streak > 0 })
	case c.trials && len(all) > 0:
		// What max_ejected leaves in although it has failed gets its share, as long
		// as it does not hold more requests than the others: it may be one that
		// takes them and never answers.
		for _, t := range r.targets {
			held := !t.unhealthy && t.circuit != gobreaker.StateClosed && !t.out
			if held && !slices.Contains(c.except, t) && t.inFlight*weight <= load*t.weight {
				all = append(all, t)
			}
		}
	}
	return all, trial
}

// talking returns the targets that have failed, but not by silence: where nothing
// better is left their answer, be it 503, is that of the origin.
func (r *roster) talking(all []*target, c choice) []*target {
	for _, t := range r.targets {
		if !t.unhealthy && !t.deaf && !t.trying && !slices.Contains(c.except, t) {
			all = append(all, t)
		}
	}
	return all
}

// leave notes that a request has ended.
func (r *roster) leave(v *visit) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v.inFlight--
}

// forgo notes that a trial is not made after all.
func (r *roster) forgo(v *visit) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v.inFlight--
	v.trying = false
}

// note keeps what is known of a target from one request.
func (r *roster) note(v *visit, what verdict) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if v.trial {
		v.trying = false
	}
	switch what {
	case fine:
		v.streak = 0
	case failed, deaf:
		v.streak++
		v.standing.deaf = what == deaf
	}
}

// well reports whether the target is in good standing.
func (r *roster) well(t *target) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return t.good()
}

// turn notes that a target's breaker has changed its state. It is called by the
// breaker of the epoch.
func (r *roster) turn(t *target, epoch int, to gobreaker.State, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t.epoch == epoch {
		r.turned(t, to, now)
	}
}

func (r *roster) turned(t *target, to gobreaker.State, now time.Time) {
	if t.circuit == gobreaker.StateClosed {
		t.failing = now
	}
	t.circuit = to
	switch to {
	case gobreaker.StateOpen:
		t.retry = now.Add(r.openFor)
	case gobreaker.StateClosed:
		t.streak, t.trying = 0, false
	}
	r.reckon(now)
}

// renew notes that a target has a new breaker, which has seen no failure, and
// returns the epoch of that.
func (r *roster) renew(t *target, now time.Time) (epoch int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t.epoch++
	r.turned(t, gobreaker.StateClosed, now)
	return t.epoch
}

// check notes what a target's health check has come to.
func (r *roster) check(t *target, healthy bool, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t.unhealthy = !healthy
	r.reckon(now)
}

// reckon finds out which targets are out: those that have failed for longest, as
// many as may be.
func (r *roster) reckon(now time.Time) {
	var failing []*target
	for _, t := range r.targets {
		t.out = false
		if !t.unhealthy && t.circuit != gobreaker.StateClosed {
			failing = append(failing, t)
		}
	}
	slices.SortStableFunc(failing, func(a, b *target) int { return a.failing.Compare(b.failing) })
	for _, t := range failing[:min(len(failing), r.most)] {
		t.out = true
	}
	for _, t := range r.targets {
		from, to := t.state, t.standing.now(now)
		if from == to {
			continue
		}
		t.state, t.since = to, now
		select {
		case r.changes <- change{t.text, from, to}:
		default:
		}
	}
}

// now returns the state.
func (s *standing) now(now time.Time) State {
	switch {
	case s.unhealthy:
		return Unhealthy
	case s.circuit == gobreaker.StateClosed:
		return Healthy
	case s.out && !s.trying && !now.After(s.retry):
		return Ejected
	}
	return HalfOpen
}

// status returns how a target stands.
func (r *roster) status(t *target, now time.Time) (State, gobreaker.State, time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	state, since := t.standing.now(now), t.since
	if state == HalfOpen && t.state == Ejected {
		since = t.retry
	}
	return state, t.circuit, since
}
