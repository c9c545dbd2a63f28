package upstream

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// bench lets a test play the requests to the targets of an upstream, in the time
// of a synctest bubble.
type bench struct {
	*testing.T
	*Upstream
}

func newBench(t *testing.T, n int, change ...func(*Options)) bench {
	return bench{t, several(t, nowhere(n), change...)}
}

// fail lets target i fail so often that its breaker opens.
func (b bench) fail(i int, what verdict) {
	for range b.options.Breaker.Failures {
		v := &visit{target: b.targets[i]}
		done, err := v.breaker.Load().Allow()
		if err != nil {
			b.Fatalf("the breaker of %d is open already", i)
		}
		v.done = done
		b.roster.mu.Lock()
		v.inFlight++
		b.roster.mu.Unlock()
		b.end(v, what)
		b.roster.leave(v)
	}
}

// play sends a request that ends with what, and returns where it went: -1 is nowhere.
func (b bench) play(again bool, what verdict) int {
	v := b.visit(0, again, nil)
	if v == nil {
		return -1
	}
	b.end(v, what)
	b.roster.leave(v)
	return index(b.Upstream, v)
}

// reached returns the targets that n requests go to.
func (b bench) reached(n int, again bool) (at []int) {
	for range n {
		if i := b.play(again, unknown); !slices.Contains(at, i) {
			at = append(at, i)
		}
	}
	slices.Sort(at)
	return at
}

func (b bench) states() string {
	var s []string
	for _, t := range b.Stats().Targets {
		s = append(s, string(t.State))
	}
	return strings.Join(s, " ")
}

func (b bench) want(states string, reached ...int) {
	b.Helper()
	if got := b.states(); got != states {
		b.Errorf("the states are %q, want %q", got, states)
	}
	if got := b.reached(20, false); !slices.Equal(got, reached) {
		b.Errorf("requests go to %v, want %v", got, reached)
	}
}

func TestTargetIsEjectedTriedAndReadmitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 3)
		begin := time.Now()
		time.Sleep(time.Second)
		b.want("healthy healthy healthy", 0, 1, 2)
		if since := b.Stats().Targets[0].Since; !since.Equal(begin) {
			t.Errorf("it is healthy since %v, want %v", since, begin)
		}

		b.fail(1, failed)
		b.want("healthy ejected healthy", 0, 2)
		if s := b.Stats().Targets[1]; !s.Since.Equal(time.Now()) || s.Breaker != 2 || s.Failures != 5 {
			t.Errorf("the ejected target is %+v", s)
		}

		time.Sleep(10*time.Second + 1) // open_for
		if got := b.states(); got != "healthy half-open healthy" {
			t.Errorf("after open_for the states are %q", got)
		}
		if i := b.play(true, failed); i != 1 {
			t.Errorf("the trial went to %d, want 1", i)
		}
		b.want("healthy ejected healthy", 0, 2)

		time.Sleep(10*time.Second + 1)
		if i := b.play(true, fine); i != 1 {
			t.Errorf("the second trial went to %d, want 1", i)
		}
		b.want("healthy healthy healthy", 0, 1, 2)
	})
}

// Only a request that can be sent again is risked for a trial, one at a time; a
// client that gives up meanwhile decides nothing.
func TestTrials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 3)
		b.fail(1, deaf)
		time.Sleep(10*time.Second + 1)
		if got := b.reached(20, false); slices.Contains(got, 1) {
			t.Error("a request that cannot be sent again was sent to see whether the target is well")
		}
		trial := b.visit(0, true, nil)
		if index(b.Upstream, trial) != 1 || !trial.trial {
			t.Fatalf("the request went to %d, want a trial of 1", index(b.Upstream, trial))
		}
		if got := b.reached(20, true); !slices.Equal(got, []int{0, 2}) {
			t.Errorf("while a trial is under way requests go to %v, want 0 and 2", got)
		}
		b.end(trial, unknown)
		b.roster.leave(trial)
		if i := b.play(true, fine); i != 1 {
			t.Errorf("after a trial that told nothing the next request went to %d, want 1", i)
		}
		b.want("healthy healthy healthy", 0, 1, 2)
	})
}

// max_ejected bounds how many are out; what is left in although it has failed
// gets its share of what can be sent again.
func TestCapOfEjections(t *testing.T) {
	tests := []struct {
		targets int
		share   float64
		most    int
	}{
		{1, 0.5, 1}, {2, 0.5, 1}, {2, 1, 1}, {2, 0, 1}, {3, 0.5, 1}, {5, 0.5, 2}, {5, 1, 4}, {5, 0, 1}, {10, 0.3, 3}, {10, 0.1, 1},
	}
	for _, tt := range tests {
		o := Options{Targets: make([]Target, tt.targets), MaxEjected: tt.share}
		if got := newRoster(&o).most; got != tt.most {
			t.Errorf("%v of %d targets: at most %d are out, want %d", tt.share, tt.targets, got, tt.most)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 5)
		for i := range 3 {
			b.fail(i, deaf)
			time.Sleep(time.Second)
		}
		b.want("ejected ejected half-open healthy healthy", 3, 4)
		if got := b.reached(20, true); !slices.Equal(got, []int{2, 3, 4}) {
			t.Errorf("what can be sent again goes to %v, want 2, 3 and 4", got)
		}
		// It takes requests and does not answer: then it is not given more than the others have.
		var under [5]int
		for range 30 {
			v := b.visit(0, true, nil)
			under[index(b.Upstream, v)]++
			if v.target != b.targets[2] {
				b.end(v, fine)
				b.roster.leave(v)
			}
		}
		if under[2] != 1 {
			t.Errorf("the target that holds its requests got %d of 30, want 1", under[2])
		}
		time.Sleep(7*time.Second + 1) // the first is due
		if i := b.play(true, fine); i != 0 {
			t.Errorf("the trial went to %d, want 0", i)
		}
		b.want("healthy ejected ejected healthy healthy", 0, 3, 4) // its place outside is taken by the third
	})
}

// Once every target has failed requests are not sent, but for trials; not so
// where one does answer, be it 503.
func TestEveryTargetHasFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 3)
		for i := range 3 {
			b.fail(i, deaf)
		}
		b.want("ejected half-open half-open", -1)
		time.Sleep(10*time.Second + 1)
		if i := b.play(false, deaf); i < 0 {
			t.Error("no trial was made, although nothing else is left")
		}

		b = newBench(t, 3)
		b.fail(0, deaf)
		b.fail(1, failed)
		b.fail(2, deaf)
		b.want("ejected half-open half-open", 1)
	})
}

func TestSingleTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.fail(0, failed) // it answers: there is no other to ask
		b.want("healthy", 0)
		b.fail(0, deaf)
		b.want("ejected", -1)
		time.Sleep(10*time.Second + 1)
		if i := b.play(false, fine); i != 0 {
			t.Errorf("the trial went to %d, want 0", i)
		}
		b.want("healthy", 0)
	})
}

// What the health check says goes before, and is not capped; a target that it
// finds well again has no past.
func TestHealthCheckAndBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 4)
		for i := range 3 {
			b.roster.check(b.targets[i], false, time.Now())
		}
		b.want("unhealthy unhealthy unhealthy healthy", 3)
		b.fail(3, deaf)
		b.want("unhealthy unhealthy unhealthy ejected", -1)

		var late []func(error) // of requests that the old breaker has let through
		for range b.options.Breaker.Failures {
			done, err := b.targets[0].breaker.Load().Allow()
			if err != nil {
				t.Fatal(err)
			}
			late = append(late, done)
		}
		b.closeCircuit(b.targets[0])
		b.roster.check(b.targets[0], true, time.Now())
		for _, done := range late {
			done(errFailure)
		}
		b.want("healthy unhealthy unhealthy ejected", 0)
	})
}

func TestRetryGoesWhereNothingHasFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 4)
		b.fail(0, deaf)
		v := &visit{target: b.targets[1]}
		b.end(v, failed)
		for range 10 {
			v := b.visit(0, true, []*target{b.targets[2]})
			if index(b.Upstream, v) != 3 {
				t.Fatalf("the retry goes to %d, want 3: 0 is out, 1 has failed lately, 2 was tried", index(b.Upstream, v))
			}
			b.roster.leave(v)
		}
		if i := index(b.Upstream, b.visit(0, true, []*target{b.targets[2], b.targets[3]})); i != 1 {
			t.Errorf("the retry goes to %d, want 1, which is the best that is left", i)
		}
		if v := b.visit(0, true, b.targets[1:]); v != nil {
			t.Errorf("the retry goes to %d, want none: the one that is left is out", index(b.Upstream, v))
		}
		time.Sleep(10*time.Second + 1)
		if v := b.visit(0, true, b.targets[1:]); v != nil {
			t.Errorf("the retry goes to %d, want none: a request that has failed once is no trial", index(b.Upstream, v))
		}
	})
}
