package invalidation

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Who hears of purges hears of all of them, or that there were some it has not
// heard of: it may keep something that carries no stamp.
func TestWhoListensMissesNothingUnawares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &faulty{Log: NewMemLogOf(100)}
		mem := log.Log.(*MemLog)
		var mu sync.Mutex
		var heard []Record
		f := NewFollower(log, NewState(1000), FollowerOptions{ID: "f", Lease: testLease, OnApply: func(r Record) int {
			time.Sleep(time.Millisecond)
			mu.Lock()
			defer mu.Unlock()
			heard = append(heard, r)
			return 0
		}})
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { f.Run(ctx) })
		f.Ready(ctx)
		purge := func(n int) {
			for range n {
				mem.Append(ctx, Record{Selectors: []Selector{{KindTag, "a"}}}, false)
				synctest.Wait() // it is told
			}
		}
		// told returns how many records were heard of since, and how many of them
		// stand for others.
		told := func() (records, others int) {
			time.Sleep(time.Minute)
			mu.Lock()
			defer mu.Unlock()
			for _, r := range heard {
				if (r.Position == Position{}) && r.Selectors[0].Kind == KindAll {
					others++
				}
			}
			records, heard = len(heard), nil
			return records, others
		}

		purge(10)
		if n, missed := told(); n != 10 || missed != 0 {
			t.Errorf("at leisure: %d records and %d for those not told of, want 10 and 0", n, missed)
		}
		purge(2 * housekeeping)
		if n, missed := told(); n >= 2*housekeeping || missed != 1 {
			t.Errorf("faster than it listens: %d records and %d for those not told of, want one", n, missed)
		}
		log.down.Store(true)
		purge(200) // twice as many as are kept
		log.down.Store(false)
		if n, missed := told(); n != 1+100 || missed != 1 {
			t.Errorf("when it was away for long: %d records and %d for those not told of, want 100 and 1", n, missed)
		}
		mem.Lose(mem.Head().Seq - 1)
		if _, missed := told(); missed != 1 {
			t.Errorf("after a loss: %d for what may be lost, want 1", missed)
		}
		cancel()
		running.Wait()
	})
}
