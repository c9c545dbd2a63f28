package app

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// tuner chooses how often the garbage collector runs.
//
// A cycle costs what marking all that is alive costs: measured, half a second of one processor for a million entries of 1 KiB, which
// are 4 million objects. How often there is one depends on the room between what is alive and the heap's goal. Go's default,
// GOGC=100, makes that room as large as what is alive, so that a full cache would take twice its budget; a small GOGC would leave no
// room at all while little is stored. So the tuner keeps the room at a fixed size, a quarter of the budget, and sets GOGC to what
// that is at the moment. The process stays within 1.3 times the budget of the memory tier, and the share of the collector does not
// depend on how large that is: cycles of a larger one cost more, and are rarer in proportion.
//
// Where the environment sets GOGC or GOMEMLIMIT, the user's value stays.
type tuner struct {
	room   int64 // bytes between what is alive and the goal
	manual bool  // GOGC is the user's
	last   int   // percent that is set
}

const (
	// leastRoom is enough for what requests allocate where the budget is small.
	leastRoom = 32 << 20
	// tuneEvery is how often the live heap is looked at. It grows no faster than entries are fetched.
	tuneEvery = time.Second
)

// newTuner sets the memory limit of the process to nine tenths of the container's, where there is one, and returns the tuner for
// the budget of the memory tier.
func (a *App) newTuner() *tuner {
	budget := a.current.Load().cfg.Cache.L1.MaxBytes
	t := &tuner{room: max(budget/4, leastRoom), manual: os.Getenv("GOGC") != ""}
	limit, err := memlimit.Set(memlimit.WithProvider(memlimit.FromCgroup))
	if err != nil {
		a.log.Debug("no memory limit found", "error", err)
	}
	if limit > 0 && limit < budget+t.room {
		a.log.Warn("cache.l1.max_bytes leaves too little of the memory limit for everything else", "max_bytes", budget, "memory_limit", limit)
	}
	return t
}

// run tunes until ctx ends.
func (t *tuner) run(ctx context.Context) error {
	if t.manual {
		return nil
	}
	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	tick := time.NewTicker(tuneEvery)
	defer tick.Stop()
	for {
		metrics.Read(live)
		t.set(percent(t.room, int64(live[0].Value.Uint64())))
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// set sets GOGC where it differs by more than a tenth: setting it stops the world for a moment.
func (t *tuner) set(p int) {
	if d := p - t.last; d*10 > t.last || -d*10 > t.last {
		debug.SetGCPercent(p)
		t.last = p
	}
}

// percent is the GOGC at which room bytes lie between live bytes and the goal.
func percent(room, live int64) int {
	return int(min(max(100*room/max(live, 1<<20), 10), 10_000))
}
