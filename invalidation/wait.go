package invalidation

import (
	"context"
	"time"
)

// waiting is for all other instances to have applied a record, or to have lost
// the right to answer.
type waiting struct {
	f       *Follower
	at      Position
	members []Member  // of the register, when the record was appended
	since   time.Time // when the append had returned, by the monotonic clock
	lease   time.Duration
	young   bool // the register may not know of all who hold a lease

	replicated bool // as many replicas hold the record as must
}

// wait returns what to wait for where a record has been appended just now. Only
// the register as it was then matters: who comes later reads the record before it
// gets a lease.
func (f *Follower) wait(a *Appended) *waiting {
	w := &waiting{f: f, at: a.Record.Position, since: time.Now(), lease: f.o.Lease, replicated: a.Replicated}
	for _, m := range a.Members {
		if m.ID != f.o.ID {
			w.members = append(w.members, m)
			w.lease = max(w.lease, m.Lease)
		}
	}
	w.lease = withMargin(w.lease)
	f.mu.Lock()
	defer f.mu.Unlock()
	w.young = f.o.Lease > 0 && (f.state.Applied().Epoch != w.at.Epoch || w.since.Sub(f.known) < w.lease)
	return w
}

// run waits until all have acknowledged, until no lease from before the record
// can live any longer, or until ctx ends, whichever is first. It returns how many
// others have acknowledged, and how many have lost their leases.
func (w *waiting) run(ctx context.Context) (acknowledged, expired int, complete bool) {
	over := time.NewTimer(time.Until(w.since.Add(w.lease)))
	defer over.Stop()
	// What is told may be lost: the register is looked at too, seldom.
	look := time.NewTicker(max(w.lease/8, time.Millisecond))
	defer look.Stop()
	for {
		acknowledged, moved := w.count()
		if acknowledged == len(w.members) && !w.young {
			return acknowledged, 0, true
		}
		select {
		case <-moved:
		case <-look.C:
			w.look(ctx)
		case <-over.C:
			acknowledged, _ = w.count()
			w.forget(ctx)
			return acknowledged, len(w.members) - acknowledged, true
		case <-ctx.Done():
			return acknowledged, 0, false
		}
	}
}

// count returns how many have acknowledged, and what is closed when that may
// have changed.
func (w *waiting) count() (n int, moved <-chan struct{}) {
	w.f.mu.Lock()
	defer w.f.mu.Unlock()
	for _, m := range w.members {
		if w.has(m.Applied) || w.has(w.f.heard[m.ID]) {
			n++
		}
	}
	return n, w.f.moved
}

// has reports whether who stands at p has applied the record.
func (w *waiting) has(p Position) bool { return p.Epoch == w.at.Epoch && p.Seq >= w.at.Seq }

// look takes note of what has been reported, and of who has left in good order:
// those answer nothing any more.
func (w *waiting) look(ctx context.Context) {
	now, head, err := w.f.log.Members(ctx)
	if err != nil || head.Epoch != w.at.Epoch { // a register that was lost says nothing
		return
	}
	byID := make(map[string]Member, len(now))
	for _, m := range now {
		byID[m.ID] = m
	}
	left := w.members[:0]
	for _, m := range w.members {
		if n, ok := byID[m.ID]; ok {
			m.Applied = n.Applied
			left = append(left, m)
		}
	}
	w.members = left
}

// forget takes those out of the register that have not reported for as long as
// this has waited: nobody need wait for them again.
func (w *waiting) forget(ctx context.Context) {
	for _, m := range w.members {
		if !w.has(m.Applied) {
			_ = w.f.log.Forget(ctx, m) // the next who waits may do it
		}
	}
}
