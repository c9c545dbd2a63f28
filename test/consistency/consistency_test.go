// Package consistency has instances of the built binary share a real Redis, lets
// everything fail that can, and checks what clients read against what purges
// have promised.
package consistency

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/test/process"
)

func TestMain(m *testing.M) { process.Main(m) }

var (
	operationsFlag = flag.Int("operations", 0, "TestConsistency goes on until there were so many reads and writes")
	faultsFlag     = flag.Int("faults", 3*len(faults())/2, "TestConsistency goes on until there were so many faults")
	limitFlag      = flag.Duration("limit", 3*time.Minute, "TestConsistency ends, and fails, when it takes longer")
	seedFlag       = flag.Uint64("seed", 0, "of the order of the faults; 0: any")
)

// The lease is short so that a run is.
const (
	lease   = 500 * time.Millisecond
	timeout = 100 * time.Millisecond
)

var usual = rates{readers: 6, writers: 6, pause: 15 * time.Millisecond, rest: 150 * time.Millisecond}

// TestConsistency: whatever happens to Redis, to the instances and to what is
// between them, no read that began after the purge of a version was acknowledged
// as complete returns an older one.
func TestConsistency(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a minute")
	}
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d", seed)
	r := run(t, plan{
		settings: settings{lease: lease, timeout: timeout}, rates: usual, deck: &deck{rng: rand.New(rand.NewPCG(seed, 0)), kinds: faults()},
		operations: *operationsFlag, faults: *faultsFlag, limit: *limitFlag,
	})
	t.Logf("\n%s", r)
	r.judge(t)
	if r.load.history.operations() < *operationsFlag || len(r.had) < *faultsFlag {
		t.Errorf("%d operations and %d faults within %v, want %d and %d", r.load.history.operations(), len(r.had), *limitFlag, *operationsFlag, *faultsFlag)
	}
}

// plan is a run.
type plan struct {
	settings
	rates
	deck               *deck
	operations, faults int           // it goes on until there were so many of both,
	limit              time.Duration // until this is over, or until the promise is broken
}

// run lets clients work, and faults come over a site.
func run(t *testing.T, p plan) *report {
	all := units()
	s := startSite(t, time.Now(), all, p.settings)
	l := newLoad(s, all)
	s.origin.failing.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), p.limit)
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.run(ctx, p.rates)
	}()
	var had []befallen
	for n := 0; ctx.Err() == nil && !l.broken.Load() && (len(had) < p.faults || int(l.count.Load()) < p.operations); n++ {
		if n%12 == 0 {
			l.rest()
		}
		had = append(had, s.befall(p.deck)...)
		pause(ctx, 2*s.lease)
	}
	cancel()
	<-ended
	return l.report(had)
}

// rest is a quiet time: what comes from faults before it is over by then. A
// subscription that is silent is given up after some seconds.
func (l *load) rest() {
	time.Sleep(3 * time.Second)
	l.quiet.Store(true)
	time.Sleep(2 * time.Second)
	l.quiet.Store(false)
}

// report is what a run has come to.
type report struct {
	load        *load
	had         []befallen
	hits        int
	purges      int // by doors that tell how far they have got
	complete    int
	pending     int         // purges that waited on disk for Redis
	violations  []violation // of what is promised to all, and to those who speak with one instance
	verdict     verdict
	checked     time.Duration
	late, asked int
}

func (l *load) report(had []befallen) *report {
	r := &report{load: l, had: had, violations: l.history.violations()}
	begin := time.Now()
	r.verdict = l.history.check(time.Minute)
	for i := range instances {
		local := l.history.at(i)
		r.verdict.add(local.check(time.Minute))
		for _, v := range local.violations() {
			if !slices.ContainsFunc(r.violations, func(known violation) bool { return known.read == v.read }) {
				v.local = true
				r.violations = append(r.violations, v)
			}
		}
	}
	r.checked = time.Since(begin)
	for i := range l.history.reads {
		if l.history.reads[i].hit() {
			r.hits++
		}
	}
	for _, w := range l.history.writes {
		if !w.unsafe {
			r.purges++
		}
		if w.acknowledged < never {
			r.complete++
		}
		if w.pending {
			r.pending++
		}
	}
	r.late, r.asked = l.site.origin.late()
	return r
}

func share(part, all int) string {
	return fmt.Sprintf("%d of %d (%.1f %%)", part, all, 100*float64(part)/float64(max(all, 1)))
}

func (r *report) String() string {
	var b strings.Builder
	h := &r.load.history
	fmt.Fprintf(&b, "operations: %d, of which %d reads and %d writes, in %v\n", h.operations(), len(h.reads), len(h.writes), r.load.site.now().Round(time.Second))
	fmt.Fprintf(&b, "reads that were hits: %s\n", share(r.hits, len(h.reads)))
	fmt.Fprintf(&b, "purges acknowledged as complete: %s\n", share(r.complete, r.purges))
	fmt.Fprintf(&b, "purges that waited on disk for Redis: %s\n", share(r.pending, r.purges))
	fmt.Fprintf(&b, "writes by POST: %d\n", len(h.writes)-r.purges)
	fmt.Fprintf(&b, "answers of the origin that were out of date when they were given: %s\n", share(r.late, r.asked))
	kinds := map[string]int{}
	for _, f := range r.had {
		kinds[f.name]++
	}
	fmt.Fprintf(&b, "faults: %d\n", len(r.had))
	for _, f := range faults() {
		fmt.Fprintf(&b, "  %-48s %d\n", f.name, kinds[f.name])
	}
	fmt.Fprintf(&b, "without an answer that counts: %v\n", r.load.failed)
	fmt.Fprintf(&b, "checked by porcupine in %v: %d pieces of up to %d operations; illegal: %d, undecided: %d\n",
		r.checked.Round(time.Millisecond), r.verdict.pieces, r.verdict.longest, len(r.verdict.illegal), len(r.verdict.undecided))
	fmt.Fprintf(&b, "violations: %d\n", len(r.violations))
	fmt.Fprintf(&b, "propagation in quiet times, %s\n", distribution(r.load.took))
	return b.String()
}

// distribution says how long something took.
func distribution(took []time.Duration) string {
	if len(took) == 0 {
		return "none"
	}
	slices.Sort(took)
	at := func(share float64) time.Duration {
		return took[int(share*float64(len(took)-1))].Round(10 * time.Microsecond)
	}
	return fmt.Sprintf("of %d purges: p50 %v, p99 %v, max %v", len(took), at(0.5), at(0.99), at(1))
}

// judge fails the test where the promise was broken, and where too little was
// asked of it: a cache that caches nothing is no proof.
func (r *report) judge(t *testing.T) {
	for i, v := range r.violations {
		if i == 5 {
			t.Errorf("and %d more", len(r.violations)-i)
			break
		}
		t.Errorf("%v\n%s", v, r.trace(v))
	}
	if len(r.verdict.illegal)+len(r.verdict.undecided) > 0 {
		t.Errorf("porcupine finds %d pieces illegal, and cannot tell of %d", len(r.verdict.illegal), len(r.verdict.undecided))
	}
	h := &r.load.history
	if 2*r.hits < len(h.reads) {
		t.Errorf("%s of the reads were hits, want half", share(r.hits, len(h.reads)))
	}
	if 4*r.complete < 3*r.purges {
		t.Errorf("%s of the purges were acknowledged as complete, want three quarters", share(r.complete, r.purges))
	}
}

// trace tells what was there around a violation.
func (r *report) trace(v violation) string {
	from, to := min(v.read.begin, v.write.begin)-2*time.Second, v.read.end
	text := r.load.site.origin.trace(v.page, from, to)
	for _, f := range r.had {
		if f.end >= from && f.begin <= to {
			text += f.String() + "\n"
		}
	}
	for _, w := range r.load.history.writes {
		if w.register == v.read.register && w.sent >= from && w.begin <= to {
			text += fmt.Sprintf("  write: version %d raised at %v, purged on instance %d at %v, acknowledged at %v: %s\n", w.version, w.begin, w.instance, w.sent, w.acknowledged, w.answer)
		}
	}
	return text
}
