package app

import (
	"context"
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cacheproxy/cacheproxy/internal/config"
)

func TestPartsStopInReverse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var order []string
		ctx, cancel := context.WithCancel(t.Context())
		r := newRunner(ctx)
		for _, name := range []string{"first", "second", "third"} {
			r.start(name, func(ctx context.Context) error {
				<-ctx.Done()
				order = append(order, name)
				return nil
			}, nil)
		}
		cancel()
		if err := r.wait(); err != nil {
			t.Errorf("wait = %v", err)
		}
		synctest.Wait()
		if order != nil {
			t.Errorf("%q ended with the context of the whole; they must outlive it until they are stopped", order)
		}
		if err := r.stop(t.Context()); err != nil {
			t.Errorf("stop = %v", err)
		}
		if want := []string{"third", "second", "first"}; !slices.Equal(order, want) {
			t.Errorf("they stopped in the order %q, want %q", order, want)
		}
	})
}

// Parts that were started beside one another are told at once that they stop, and the part before them only when all have ended.
func TestPartsBesideEachOtherStopTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRunner(t.Context())
		begin := time.Now()
		told := map[string]time.Duration{}
		var mu sync.Mutex
		end := func(name string) func(context.Context) error {
			return func(context.Context) error {
				mu.Lock()
				told[name] = time.Since(begin)
				mu.Unlock()
				time.Sleep(time.Second)
				return errors.New("late")
			}
		}
		r.start("alone", untilDone, end("alone"))
		r.start("one", untilDone, end("one"))
		r.startBeside("two", untilDone, end("two"))
		r.startBeside("three", untilDone, end("three"))
		err := r.stop(t.Context())
		want := map[string]time.Duration{"one": 0, "two": 0, "three": 0, "alone": time.Second}
		if !maps.Equal(told, want) {
			t.Errorf("told at %v, want %v", told, want)
		}
		for name := range want {
			if err == nil || !strings.Contains(err.Error(), name+": late") {
				t.Errorf("the error names no %q: %v", name, err)
			}
		}
	})
}

func TestPartThatFailsStopsTheWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken")
		r := newRunner(t.Context())
		r.start("quiet", func(context.Context) error { return nil }, nil) // has done its work
		r.start("worker", untilDone, nil)
		r.start("bad", func(context.Context) error {
			time.Sleep(time.Second)
			return broken
		}, nil)
		if err := r.wait(); !errors.Is(err, broken) || !strings.HasPrefix(err.Error(), "bad: ") {
			t.Errorf("wait = %v, want bad: broken", err)
		}
		if err := r.stop(t.Context()); !errors.Is(err, broken) {
			t.Errorf("stop = %v", err)
		}
	})
}

func TestPartIsGivenTheTimeThatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRunner(t.Context())
		r.start("slow", untilDone, func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begin := time.Now()
		if err := r.stop(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != time.Minute {
			t.Errorf("stop = %v after %v, want that the minute was up", err, time.Since(begin))
		}
	})
}

// TestTheProcessorTimeIsThatOfNow: it grows while no cycle of the collector comes. Were it only told with the next, as the runtime's own
// figures are, a share that was high once would let the room grow all that time.
func TestTheProcessorTimeIsThatOfNow(t *testing.T) {
	begin := processorSeconds()
	for deadline := time.Now().Add(10 * time.Second); processorSeconds() < begin+0.01; {
		if time.Now().After(deadline) {
			t.Fatalf("busy for ten seconds, but %v s of processor time, after %v", processorSeconds(), begin)
		}
	}
}

func TestMostRoom(t *testing.T) {
	const mib = 1 << 20
	for _, tt := range []struct{ budget, live, want int64 }{
		{400 * mib, 0, 32 * mib},          // nothing yet: the least room
		{400 * mib, 100 * mib, 100 * mib}, // Go's own choice
		{400 * mib, 200 * mib, 200 * mib}, // half full
		{400 * mib, 300 * mib, 172 * mib}, // up to the budget and 18 %
		{400 * mib, 400 * mib, 72 * mib},  // full
		{400 * mib, 900 * mib, 72 * mib},  // much else is alive: there is room still
		{1 * mib, 50 * mib, 32 * mib},     // a small budget: the least room
	} {
		if got := mostRoom(tt.budget, tt.live); got != tt.want {
			t.Errorf("mostRoom(%d MiB, %d MiB) = %d MiB, want %d MiB", tt.budget/mib, tt.live/mib, got/mib, tt.want/mib)
		}
	}
}

// TestRoomFollowsTheCollectorsShare: the room grows while the collector takes much of the processor time, shrinks while it takes
// little or nothing happens at all, and stays within its bounds.
func TestRoomFollowsTheCollectorsShare(t *testing.T) {
	const mib = 1 << 20
	tuner := &tuner{
		budget: 2000 * mib, ceiling: math.MaxInt64,
		setGCRate: func(int) int { return 0 }, setLimit: func(int64) int64 { return 0 },
	}
	for _, step := range []struct {
		name            string
		collector, rest float64 // seconds each second
		ticks           int
		least, most     int64
	}{
		{"at the start", 0, 1, 1, 100 * mib, 100 * mib},
		{"the collector takes 5 %", 0.05, 0.95, 20, 720 * mib, 760 * mib},
		{"it takes 1 %: that is as it should be", 0.01, 0.99, 60, 720 * mib, 760 * mib},
		{"it takes 0.1 %", 0.001, 0.999, 60, 100 * mib, 100 * mib},
		{"it takes 5 % again", 0.05, 0.95, 20, 720 * mib, 760 * mib},
		{"nothing happens", 0, 0, 60, 100 * mib, 100 * mib},
	} {
		for range step.ticks {
			tuner.load.add(step.collector, step.rest)
			tuner.tune(1600*mib, 20*mib)
		}
		if tuner.room < step.least || tuner.room > step.most {
			t.Errorf("%s: the room is %d MiB, want %d to %d", step.name, tuner.room/mib, step.least/mib, step.most/mib)
		}
	}
}

// TestRoomWhereMuchElseIsAlive: where connections and bodies on their way take many times the budget, what is alive is not marked
// again each time that a small share of the budget has been allocated.
func TestRoomWhereMuchElseIsAlive(t *testing.T) {
	const mib = 1 << 20
	var percent int
	tuner := &tuner{
		budget: 64 * mib, ceiling: math.MaxInt64,
		setGCRate: func(p int) int { percent = p; return 0 }, setLimit: func(int64) int64 { return 0 },
	}
	for range 20 {
		tuner.load.add(0.5, 0.5)
		tuner.tune(4000*mib, 20*mib)
	}
	if percent < 6 {
		t.Errorf("with 62 times the budget alive GOGC is %d, want 6 at least", percent)
	}
}

// TestTunerKeepsWhatTheUserSets holds what is set against the environment, and counts how often.
func TestTunerKeepsWhatTheUserSets(t *testing.T) {
	const mib = 1 << 20
	for _, tt := range []struct {
		name            string
		ownGC, ownLimit bool
		ceiling         int64
		percent, limit  int64 // 0: not set
	}{
		{"neither", false, false, math.MaxInt64, 8, 432*mib + 432*mib/25 + 20*mib},
		{"a small container", false, false, 300 * mib, 8, 300 * mib},
		{"GOGC", true, false, 300 * mib, 0, 300 * mib},
		{"GOMEMLIMIT", false, true, 300 * mib, 8, 0},
		{"both", true, true, 300 * mib, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var percent, limit, calls int64
			tuner := &tuner{
				budget: 400 * mib, ceiling: tt.ceiling, ownGC: tt.ownGC, ownLimit: tt.ownLimit,
				setGCRate: func(p int) int { percent = int64(p); calls++; return 0 },
				setLimit:  func(l int64) int64 { limit = l; calls++; return 0 },
			}
			tuner.tune(400*mib, 20*mib)
			if percent != tt.percent || limit != tt.limit {
				t.Errorf("GOGC=%d and limit %d, want %d and %d", percent, limit, tt.percent, tt.limit)
			}
			before := calls
			if tuner.tune(399*mib, 20*mib); calls != before {
				t.Error("a small difference is set")
			}
		})
	}
}

func TestConnectionLimit(t *testing.T) {
	for _, text := range []struct {
		connections int
		want        func(n int64) bool
	}{
		{7, func(n int64) bool { return n == 7 }},
		{0, func(n int64) bool { return n >= fewest && n <= most && n < fileLimit() }},
	} {
		cfg := &config.Config{Limits: config.Limits{Connections: text.connections}}
		if n := connectionLimit(cfg); !text.want(n) {
			t.Errorf("connections %d: the limit is %d of %d files", text.connections, n, fileLimit())
		}
	}
}
