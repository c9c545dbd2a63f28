package upstream

import (
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// Run checks the health of the targets and follows their names until ctx ends.
// It may be called once. Without it requests are served all the same, by what
// they find out themselves.
func (u *Upstream) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, t := range u.targets {
		if t.dialer.name != nil {
			wg.Go(func() { t.dialer.name.follow(ctx, u.resolveEvery, u.options.Timeout.Connect) })
		}
		if u.options.Health.Path != "" {
			wg.Go(func() { u.watch(ctx, t) })
		}
	}
	u.tell(ctx)
	wg.Wait()
	return nil
}

// tell calls Changed until ctx ends.
func (u *Upstream) tell(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case c := <-u.roster.changes:
			if u.Changed != nil {
				u.Changed(u.name, c.target, c.from, c.to)
			}
		}
	}
}

// checks is what the checks of one target have come to. It belongs to the
// goroutine that makes them.
type checks struct {
	sick bool
	row  int // results in a row that speak against sick
}

// add counts the result of a check, and reports whether it changes the verdict.
func (c *checks) add(passed bool, h *Health) (changed bool) {
	if passed != c.sick {
		c.row = 0
		return false
	}
	c.row++
	needed := h.UnhealthyAfter
	if c.sick {
		needed = h.HealthyAfter
	}
	if c.row < needed {
		return false
	}
	c.sick, c.row = !c.sick, 0
	return true
}

// watch checks one target until ctx ends. Checks of different targets, and of
// different instances, spread over the interval.
func (u *Upstream) watch(ctx context.Context, t *target) {
	h := &u.options.Health
	ticker := time.NewTicker(h.Interval)
	defer ticker.Stop()
	first := time.NewTimer(rand.N(h.Interval/10 + 1))
	defer first.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-first.C:
		case <-ticker.C:
		}
		passed := u.check(ctx, t)
		if ctx.Err() != nil || !t.checks.add(passed, h) {
			continue
		}
		if passed {
			u.closeCircuit(t) // whatever it failed before, it was sick then
		}
		u.roster.check(t, passed, time.Now())
	}
}

// check asks a target once, on a connection of its own: one that is kept says
// nothing about whether the target still takes others.
func (u *Upstream) check(ctx context.Context, t *target) (passed bool) {
	ctx, cancel := context.WithTimeout(ctx, u.options.Health.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.address.protocol()+"://"+t.address.authority()+u.options.Health.Path, nil)
	if err != nil {
		return false
	}
	req.Header.Set("User-Agent", "cacheproxy (health check)")
	p := newPool(t.dialer, &u.options)
	defer p.close()
	if t.pool.Load().onlyPlain.Load() {
		p.onlyPlain.Store(true)
	}
	response, err := p.roundTrip(req)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	_, _ = io.CopyN(io.Discard, response.Body, 4<<10) // as much as the target may have to say about itself; the head has told all that counts
	return response.StatusCode >= 200 && response.StatusCode < 400
}

// roundTrip is for requests without a body that nobody looks into.
func (p *pool) roundTrip(req *http.Request) (*http.Response, error) {
	for {
		transport, multiplexed := p.choose(false)
		response, err := transport.RoundTrip(req)
		if !multiplexed || !isPlain(err) {
			return response, err
		}
		p.onlyPlain.Store(true)
	}
}
