package invalidation

import (
	"context"
	"time"
)

// census is how often the register is looked through.
const census = time.Minute

// watched is an entry of the register that has been seen, and since when it is
// as it is.
type watched struct {
	report string
	since  time.Time
}

// count takes those out of the register, now and then until ctx ends, that have
// ended without leaving it. Who waits for a purge does so too; but where nobody
// waits, each process that was killed would stand there for ever.
func (f *Follower) count(ctx context.Context) {
	if f.o.Lease == 0 {
		return
	}
	tick := time.NewTicker(census)
	defer tick.Stop()
	seen := map[string]watched{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if f.Reached() == nil {
			seen = f.lookThrough(ctx, seen)
		}
	}
}

// lookThrough forgets who has not reported for as long as its lease lasts while
// this instance has watched, by the clock here, and returns what has been seen of
// the others.
func (f *Follower) lookThrough(ctx context.Context, before map[string]watched) map[string]watched {
	asked := time.Now()
	members, _, err := f.log.Members(ctx)
	if err != nil {
		return before // the next time will do
	}
	now, seen := time.Now(), map[string]watched{}
	for _, m := range members {
		w, known := before[m.ID]
		switch {
		case m.ID == f.o.ID:
		case !known || w.report != m.report:
			seen[m.ID] = watched{m.report, now}
		case asked.Sub(w.since) < withMargin(m.Lease):
			seen[m.ID] = w
		default:
			_ = f.log.Forget(ctx, m) // the next time will do
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for id := range f.heard {
		if _, there := seen[id]; !there {
			delete(f.heard, id)
		}
	}
	return seen
}

// withMargin is how long a lease may last by the clock of somebody else: clocks
// may differ in their rates by a twentieth.
func withMargin(lease time.Duration) time.Duration { return lease + lease/20 }
