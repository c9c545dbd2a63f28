package scale

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/cacheproxy/cacheproxy/invalidation"
)

// rows is how many purged URLs an instance remembers: the default of
// cache.log.max_rows.
const rows = 1_000_000

// instance follows a log.
type instance struct {
	*invalidation.Follower
	state *invalidation.State
	log   *Log
}

// Fleet are instances in one process that follow one log, each over connections
// of its own. The first purges.
type Fleet struct {
	purger    *invalidation.Purger
	instances []*instance
	running   sync.WaitGroup
	end       context.CancelFunc

	mu      sync.Mutex // guards the following
	left    int        // those that have not applied the purge that is under way
	applied chan time.Time
}

// Start starts so many instances, and returns when all hold a lease.
func Start(ctx context.Context, addr string, n int) (*Fleet, error) {
	ctx, end := context.WithCancel(ctx)
	f := &Fleet{end: end, applied: make(chan time.Time, 1)}
	for i := range n {
		in := &instance{state: invalidation.NewState(rows), log: Open(addr, 4)}
		in.Follower = invalidation.NewFollower(in.log, in.state, invalidation.FollowerOptions{
			ID: "fleet-" + strconv.Itoa(i), Lease: Lease, OnApply: f.onApply,
		})
		f.instances = append(f.instances, in)
	}
	f.purger = f.instances[0].Purger(nil)
	for _, in := range f.instances {
		f.running.Go(func() { in.Run(ctx) })
	}
	for _, in := range f.instances {
		if err := leased(ctx, in.state); err != nil {
			f.Stop()
			return nil, err
		}
	}
	return f, nil
}

// Stop ends them.
func (f *Fleet) Stop() {
	f.end()
	f.running.Wait()
	for _, in := range f.instances {
		in.log.Close()
	}
}

// leased waits until the instance holds a lease.
func leased(ctx context.Context, s *invalidation.State) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	for !s.Leased(time.Now()) {
		select {
		case <-ctx.Done():
			return fmt.Errorf("no lease at %v: %w", s.Applied(), ctx.Err())
		case <-time.After(time.Millisecond):
		}
	}
	return nil
}

// onApply counts those who have applied the purge.
func (f *Fleet) onApply(invalidation.Record) int {
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left--; f.left == 0 {
		f.applied <- now
	}
	return 0
}

// Times are sorted.
type Times []time.Duration

// At returns the quantile q, such as 0.5.
func (t Times) At(q float64) time.Duration { return t[min(int(q*float64(len(t))), len(t)-1)] }

// Purge purges n times, one purge after the other with a pause in between. It
// returns how long each took until the last instance had applied it, and until
// all had reported that (wait=all).
func (f *Fleet) Purge(ctx context.Context, n int, pause time.Duration) (applied, complete Times, cost Cost, err error) {
	cost, err = f.instances[0].log.Measure(ctx, func() (int, error) {
		for i := range n {
			f.mu.Lock()
			f.left = len(f.instances)
			f.mu.Unlock()
			start := time.Now()
			r, err := f.purger.Purge(ctx, invalidation.Purge{Selectors: purge(i).Selectors, Wait: invalidation.WaitAll})
			switch {
			case err != nil:
				return 0, err
			case !r.Complete || r.Acknowledged != len(f.instances):
				return 0, fmt.Errorf("%d instances, and the receipt is %+v", len(f.instances), r)
			}
			complete = append(complete, r.Elapsed)
			applied = append(applied, (<-f.applied).Sub(start))
			time.Sleep(pause)
		}
		return n, nil
	})
	slices.Sort(applied)
	slices.Sort(complete)
	return applied, complete, cost, err
}

// Return measures an instance that has applied everything, is away while n
// records are appended, and comes back: how long it takes until it holds its
// lease again.
func Return(ctx context.Context, addr string, n int) (back time.Duration, appended, read Cost, err error) {
	log := Open(addr, 64)
	defer log.Close()
	s := invalidation.NewState(rows)
	if _, err = come(ctx, log, s); err != nil {
		return
	}
	if appended, err = log.Fill(ctx, 64, n); err != nil {
		return
	}
	read, err = log.Measure(ctx, func() (int, error) {
		back, err = come(ctx, log, s)
		return n, err
	})
	if err == nil && s.Applied().Seq < invalidation.Seq(n) {
		err = fmt.Errorf("it stands at %v after %d records", s.Applied(), n)
	}
	return
}

// come has an instance with this state follow the log until it holds its lease.
func come(ctx context.Context, log *Log, s *invalidation.State) (time.Duration, error) {
	f := invalidation.NewFollower(log, s, invalidation.FollowerOptions{ID: "away", Lease: Lease})
	ctx, end := context.WithCancel(ctx)
	var running sync.WaitGroup
	start := time.Now()
	running.Go(func() { f.Run(ctx) })
	err := leased(ctx, s)
	took := time.Since(start)
	end()
	running.Wait()
	return took, err
}

// StateBytes returns how much memory each of n purges takes in the applied state:
// of n URLs, all different.
func StateBytes(n int) float64 {
	before := heap()
	s := invalidation.NewState(n)
	for i := range n {
		s.Apply(invalidation.Record{
			Position:  invalidation.Position{Epoch: 1, Seq: invalidation.Seq(i + 1)},
			Selectors: []invalidation.Selector{{Kind: invalidation.KindURL, Value: "//www.example.com/" + strconv.Itoa(i)}},
		})
	}
	after := heap()
	runtime.KeepAlive(s)
	return float64(after-before) / float64(n)
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
