package app

import (
	"context"
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// tuner chooses how large the heap grows between two cycles of the garbage collector, and how much memory the process keeps.
//
// A cycle costs what marking all that is alive costs. How often there is one depends on the room between what is alive and the heap's
// goal. Go's default, GOGC=100, makes that room as large as what is alive, so that a full cache takes twice its budget. Entries are
// cheap to mark (see package cache), so little room will do where little is allocated. So the tuner looks at the collector's share of
// the processor time: above highShare the room grows, below lowShare it shrinks. It never grows so far that the process takes more
// than 1.3 times the budget of the memory tier: towards a full cache that is 18 % of the budget, the rest being what the runtime
// keeps besides. The memory limit follows the goal: it makes the runtime give back what it would keep beyond. Both look at what
// really is alive, so that a moment with much else in memory does not end in collecting without end, as it would under a fixed limit.
//
// In a container the memory limit is never above nine tenths of the container's. Where the environment sets GOGC or GOMEMLIMIT, the
// user's value stays.
type tuner struct {
	budget    int64 // of the memory tier
	ceiling   int64 // of the memory limit
	ownGC     bool  // GOGC is the user's
	ownLimit  bool  // GOMEMLIMIT is the user's
	room      int64 // between what is alive and the heap's goal
	load      load
	percent   int64 // that is set
	limit     int64 // that is set
	figures   []metrics.Sample
	setLimit  func(int64) int64
	setGCRate func(int) int
}

const (
	// leastRoom is enough for what requests allocate where little is alive, and one of leastShare of what is alive where that is much,
	// be it more than the cache's: with less there would be no end of collecting.
	leastRoom  = 32 << 20
	leastShare = 16
	// tuneEvery is how often it is looked at what is alive.
	tuneEvery = time.Second
	// The collector's share of the processor time that is aimed at. Above 2 % it would be felt.
	highShare, lowShare = 0.015, 0.0075
)

// load is how the processor time of the last seconds was spent. What is longer ago counts less.
type load struct{ collector, rest float64 }

// memory of the load: what was a tick ago counts so much still.
const loadMemory = 0.8

// idleSeconds of processor time in all: below it a share means nothing, and nobody is hindered by a collection.
const idleSeconds = 0.05

func (l *load) add(collector, rest float64) {
	l.collector = l.collector*loadMemory + collector
	l.rest = l.rest*loadMemory + rest
}

// share is that of the collector.
func (l *load) share() float64 {
	if l.collector+l.rest < idleSeconds {
		return 0
	}
	return l.collector / (l.collector + l.rest)
}

// newTuner returns the tuner for the configuration in force.
func (a *App) newTuner() *tuner {
	t := &tuner{
		budget:   a.started.Cache.L1.MaxBytes,
		ceiling:  math.MaxInt64,
		ownGC:    os.Getenv("GOGC") != "",
		ownLimit: os.Getenv("GOMEMLIMIT") != "",
		figures: []metrics.Sample{
			{Name: "/gc/heap/live:bytes"},
			{Name: "/memory/classes/total:bytes"},
			{Name: "/memory/classes/heap/released:bytes"},
			{Name: "/memory/classes/heap/free:bytes"},
			{Name: "/memory/classes/heap/objects:bytes"},
			{Name: "/cpu/classes/gc/total:cpu-seconds"}, // as of the last cycle
		},
		setLimit:  debug.SetMemoryLimit,
		setGCRate: debug.SetGCPercent,
	}
	if container, err := memlimit.FromCgroup(); err == nil && container < math.MaxInt64 {
		t.ceiling = int64(container / 10 * 9)
	}
	if need := t.budget + mostRoom(t.budget, t.budget); need > t.ceiling {
		a.log.Warn("a full cache will not fit into the container: cache.l1.max_bytes leaves too little for everything else",
			"max_bytes", t.budget, "needed", need, "available", t.ceiling)
	}
	return t
}

// run tunes until ctx ends, and then leaves the collector as it was.
func (t *tuner) run(ctx context.Context) error {
	rate, limit := t.setGCRate(100), t.setLimit(-1)
	defer t.setLimit(limit)
	defer t.setGCRate(rate)
	if t.ownGC {
		t.setGCRate(rate)
	}
	tick := time.NewTicker(tuneEvery)
	defer tick.Stop()
	var collector, all float64
	for {
		metrics.Read(t.figures)
		value := func(i int) int64 { return int64(t.figures[i].Value.Uint64()) }
		nowCollector, nowAll := t.figures[5].Value.Float64(), processorSeconds()
		t.load.add(nowCollector-collector, nowAll-all-(nowCollector-collector))
		collector, all = nowCollector, nowAll
		t.tune(value(0), value(1)-value(2)-value(3)-value(4))
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// tune sets what follows from live bytes in the heap and other bytes beside it. It does so only where that differs by more than a
// tenth, or a twentieth for the limit: setting it stops the world for a moment.
func (t *tuner) tune(live, other int64) {
	switch share := t.load.share(); {
	case share > highShare:
		t.room += t.room / 4
	case share < lowShare:
		t.room -= t.room / 5
	}
	t.room = max(min(t.room, mostRoom(t.budget, live)), live/leastShare, leastRoom)
	goal := live + t.room
	if percent := 100 * (goal - live) / max(live, 1<<20); !t.ownGC && differs(percent, t.percent, 10) {
		t.percent = percent
		t.setGCRate(int(percent))
	}
	limit := t.ceiling
	if !t.ownGC { // the runtime keeps 3 % of the limit free, and would collect early
		limit = min(limit, goal+goal/25+other)
	}
	if !t.ownLimit && differs(limit, t.limit, 20) {
		t.limit = limit
		t.setLimit(limit)
	}
}

// differs reports whether a differs from b by more than one part of so many.
func differs(a, b, parts int64) bool { return a > b+b/parts || a < b-b/parts }

// mostRoom is how much the heap may grow while live bytes of it are alive: Go's own choice, as far as that leaves the process within
// its bounds.
func mostRoom(budget, live int64) int64 {
	beyond := budget * 18 / 100
	return max(min(live, max(beyond, budget+beyond-live)), leastRoom)
}
