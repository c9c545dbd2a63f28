package upstream

import (
	"errors"
	"fmt"
	"hash/fnv"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"
)

// target is one server of an upstream.
type target struct {
	address  address
	text     string // its URL, for errors and people
	weight   int
	seed     uint64 // of its hash
	dialer   *dialer
	breaker  atomic.Pointer[gobreaker.TwoStepCircuitBreaker[struct{}]]
	pool     atomic.Pointer[pool]
	open     atomic.Int64 // connections
	requests atomic.Uint64
	failed   atomic.Uint64
	checks   checks // of the active health check

	standing // guarded by roster.mu
}

// newTarget returns the target that t describes.
func (u *Upstream) newTarget(t Target) (*target, error) {
	a, err := t.parse()
	if err != nil {
		return nil, err
	}
	h := fnv.New64a()
	h.Write([]byte(a.String())) // it never fails
	made := &target{address: a, text: a.String(), weight: t.Weight, seed: mix(h.Sum64())}
	made.standing.since = time.Now()
	if made.dialer, err = u.newDialer(made); err != nil {
		return nil, err
	}
	made.pool.Store(newPool(made.dialer, &u.options))
	u.closeCircuit(made)
	made.standing.state = Healthy
	return made, nil
}

func (u *Upstream) newDialer(t *target) (*dialer, error) {
	d := &dialer{address: t.address, timeout: u.options.Timeout, open: &t.open}
	var host string
	if t.address.scheme != "unix" {
		host, _ = t.address.hostPort()
	}
	if _, _, ok := t.address.socket(); !ok {
		d.name = &name{host: host, lookup: systemLookup, moved: func() { u.renew(t) }}
	}
	if t.address.secure() {
		var err error
		if d.tls, err = u.options.TLS.secured(host); err != nil {
			return nil, fmt.Errorf("tls: %w", err)
		}
	}
	return d, nil
}

// renew leaves the target's connections to the requests that use them: others get
// new ones.
func (u *Upstream) renew(t *target) {
	next := newPool(t.dialer, &u.options)
	next.closed.Store(u.closed.Load())
	t.pool.Swap(next).close()
}

// closeCircuit gives the target a breaker that has not seen any failure.
func (u *Upstream) closeCircuit(t *target) {
	epoch := u.roster.renew(t, time.Now())
	b := &u.options.Breaker
	t.breaker.Store(gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Timeout:     b.OpenFor,
		ReadyToTrip: func(c gobreaker.Counts) bool { return int64(c.ConsecutiveFailures) >= int64(b.Failures) },
		OnStateChange: func(_ string, _, to gobreaker.State) {
			u.roster.turn(t, epoch, to, time.Now())
		},
		IsExcluded: func(err error) bool { return err == errNoVerdict },
	}))
}

// What a breaker is told of a request.
var (
	errFailure   = errors.New("the request failed")
	errNoVerdict = errors.New("the request says nothing about the target")
)

// verdict is what a request says about its target.
type verdict uint8

const (
	fine    verdict = iota
	failed          // it did what it should not
	deaf            // it could not be reached, or did not answer
	unknown         // the client gave up, or the like
)

// visit is one attempt's stay at a target.
type visit struct {
	*target
	done  func(error) // tells the breaker; nil where it does not count
	trial bool        // the breaker lets it through to see whether the target is well again
	last  bool        // every target has failed; this one did answer, so its answer is better than none
}

// end tells what became of the request's head. alone is true where there is no
// other target.
func (u *Upstream) end(v *visit, what verdict) {
	if what == failed || what == deaf {
		v.failed.Add(1)
	}
	if what == failed && len(u.targets) == 1 {
		// It does answer: nothing is gained by not asking the only one that there is.
		what = unknown
	}
	u.roster.note(v, what)
	if v.done == nil {
		return
	}
	switch what {
	case fine:
		v.done(nil)
	case unknown:
		v.done(errNoVerdict)
	default:
		v.done(errFailure)
	}
}

// visit is the next target to ask, or nil where there is none. A request that
// can be sent again (again) may be a trial, and does not go to one of tried.
func (u *Upstream) visit(key uint64, again bool, tried []*target) *visit {
	var refused []*target
	for {
		v := u.roster.pick(choice{key: key, trials: again && len(tried) == 0, retry: len(tried) > 0, except: append(refused, tried...)}, time.Now())
		if v == nil {
			return nil
		}
		done, err := v.breaker.Load().Allow()
		switch {
		case err == nil:
			v.done = done
			return v
		case !v.trial: // the cap leaves it in, or it is the last resort
			return v
		}
		u.roster.forgo(v) // the clock of the breaker is behind ours
		refused = append(refused, v.target)
	}
}
