package consistency

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sort"
	"time"
)

// version is what a register holds: 1 at the beginning, one more with each write.
type version int32

// read is what a client got. Times are since the beginning of the run.
type read struct {
	register   int
	version    version
	begin, end time.Duration // before the request was sent, after all of the answer was read
	page       string
	instance   int
	status     string // the Cache-Status field
}

// write is a version that was raised at the origin, and then purged.
type write struct {
	register     int
	version      version
	begin, sent  time.Duration // before it was raised; when it had been, and before the purge was sent
	acknowledged time.Duration // as complete; never where it was not
	answered     time.Duration // at all, as accepted; never where it was not
	instance     int           // that was asked for the purge
	pending      bool          // it waits on disk
	unsafe       bool          // by a POST, whose answer does not tell how far its purge has got
	patience     string        // how long was to be waited for all instances
	how, answer  string
}

// never is when a purge is acknowledged that was not.
const never = time.Duration(math.MaxInt64)

// history is all that clients did and saw in a run. It is in no order.
type history struct {
	reads  []read
	writes []write
}

func (h *history) operations() int { return len(h.reads) + len(h.writes) }

// at returns the history as those see it who speak with one instance only. To
// them more is promised: a purge that this instance has accepted holds there at
// once, be it complete, in the log only, or waiting on disk for Redis.
func (h *history) at(instance int) *history {
	local := &history{}
	for _, r := range h.reads {
		if r.instance == instance {
			local.reads = append(local.reads, r)
		}
	}
	for _, w := range h.writes {
		if w.instance == instance {
			w.acknowledged = w.answered
		}
		local.writes = append(local.writes, w)
	}
	return local
}

// violation is a read that must not have been.
type violation struct {
	read
	write      // the latest that had been acknowledged when the read began; or the one that had not begun when it ended; or none
	local bool // only those who speak with this one instance were promised more
}

func (v violation) String() string {
	r, w := &v.read, &v.write
	if w.version > r.version {
		whom := "to all"
		if v.local {
			whom = "to this instance alone"
		}
		return fmt.Sprintf("register %d: %s on instance %d from %v to %v gave version %d (%s), but version %d was raised at %v, purged by %s on instance %d at %v, and acknowledged "+whom+" at %v: %s",
			r.register, r.page, r.instance, r.begin, r.end, r.version, r.status, w.version, w.begin, w.how, w.instance, w.sent, w.acknowledged, w.answer)
	}
	raised := "was never raised"
	if w.version > 0 {
		raised = fmt.Sprintf("was raised only at %v", w.begin)
	}
	return fmt.Sprintf("register %d: %s on instance %d from %v to %v gave version %d (%s), which %s",
		r.register, r.page, r.instance, r.begin, r.end, r.version, r.status, raised)
}

// violations looks at each read by itself: it must return no less than what had
// been acknowledged when it began, and no more than what had been raised when it
// ended. The writes of a register follow each other.
func (h *history) violations() (found []violation) {
	acknowledged, raised := map[int][]write{}, map[int][]write{}
	for _, w := range h.writes {
		raised[w.register] = append(raised[w.register], w)
		if w.acknowledged < never {
			acknowledged[w.register] = append(acknowledged[w.register], w)
		}
	}
	for _, of := range acknowledged {
		slices.SortFunc(of, func(a, b write) int { return cmp.Compare(a.acknowledged, b.acknowledged) })
	}
	for _, of := range raised {
		slices.SortFunc(of, func(a, b write) int { return cmp.Compare(a.version, b.version) })
	}
	for _, r := range h.reads {
		before := acknowledged[r.register]
		if i := sort.Search(len(before), func(i int) bool { return before[i].acknowledged >= r.begin }); i > 0 && before[i-1].version > r.version {
			found = append(found, violation{read: r, write: before[i-1]})
		}
		of := raised[r.register]
		i := sort.Search(len(of), func(i int) bool { return of[i].version >= r.version })
		switch {
		case r.version == 1: // as at the beginning
		case i == len(of):
			found = append(found, violation{read: r})
		case of[i].begin > r.end:
			found = append(found, violation{read: r, write: of[i]})
		}
	}
	slices.SortFunc(found, func(a, b violation) int { return cmp.Compare(a.read.end, b.read.end) })
	return found
}
