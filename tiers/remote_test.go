package tiers_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cacheproxy/cacheproxy/tiers"
	"github.com/cacheproxy/cacheproxy/tiers/backendtest"
)

// note is the metadata of these tests.
type note struct{ Text string }

// far is a Remote over a Fake, and what it was told to tell.
type far struct {
	*tiers.Remote[string]
	t    *testing.T
	fake *backendtest.Fake

	mu      sync.Mutex // guards the following
	results map[string]int
	opened  []bool
}

const timeout, openFor = 100 * time.Millisecond, 2 * time.Second

// newFar returns a Remote that runs until the test ends. It must be called in a bubble of synctest.
func newFar(t *testing.T, change ...func(*tiers.RemoteOptions)) *far {
	f := &far{t: t, fake: backendtest.NewFake(), results: map[string]int{}}
	o := tiers.RemoteOptions{
		Backend: f.fake, Codec: tiers.Codec{MaxBytes: 1 << 20}, Timeout: timeout, Failures: 5, OpenFor: openFor,
		Observe: func(op tiers.Operation, result tiers.RemoteResult, took time.Duration) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.results[string(op)+" "+string(result)]++
			if took > timeout {
				t.Errorf("%s took %v", op, took)
			}
		},
		Changed: func(open bool) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.opened = append(f.opened, open)
		},
	}
	for _, c := range change {
		c(&o)
	}
	f.Remote = tiers.NewRemote[string](o)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return f
}

// open makes the text of the first frame that can be read.
func open(found *tiers.Found) string {
	var n note
	body, _, ok := found.Decode(0, &n)
	if !ok {
		return "nothing"
	}
	return n.Text + string(body)
}

func (f *far) get(key string) (string, error) { return f.Get(f.t.Context(), key, []string{"v"}, open) }

func (f *far) set(key, text, body string) {
	f.Set(&tiers.Store{
		Key: key, Field: "v", Time: time.Now(), TTL: time.Hour, Size: int64(len(body)),
		Seal: func() (any, []byte, bool) { return note{text}, []byte(body), false },
	})
}

func (f *far) want(key, want string) {
	f.t.Helper()
	if got, err := f.get(key); got != want || err != nil {
		f.t.Errorf("Get(%s) = %q, %v, want %q", key, got, err, want)
	}
}

func (f *far) count(what string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.results[what]
}

func (f *far) flush() {
	f.t.Helper()
	if err := f.Flush(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
}

func TestRemoteKeepsWhatItIsGiven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFar(t)
		f.want("k", "nothing")
		f.set("k", "a text, ", "a body")
		f.flush()
		f.want("k", "a text, a body")
		if f.count("get miss") != 1 || f.count("get ok") != 1 || f.count("set ok") != 1 {
			t.Errorf("told: %v", f.results)
		}
	})
}

// TestReadsOfOneKeyAreOne: a thousand who ask at once cause one read, and get the value that was made of it once.
func TestReadsOfOneKeyAreOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFar(t)
		f.set("k", "x", "")
		f.flush()
		before := f.fake.Asked()
		f.fake.Fail(backendtest.Fault{Delay: timeout / 2})
		var opened atomic.Int32
		var all sync.WaitGroup
		for range 1000 {
			all.Go(func() {
				got, err := f.Get(t.Context(), "k", []string{"v"}, func(found *tiers.Found) string {
					opened.Add(1)
					return open(found)
				})
				if got != "x" || err != nil {
					t.Errorf("%q, %v", got, err)
				}
			})
		}
		all.Wait()
		if n := f.fake.Asked() - before; n != 1 || opened.Load() != 1 {
			t.Errorf("%d reads, opened %d times, want one", n, opened.Load())
		}
	})
}

// TestAHeldReadAnswersAll who ask until it is done, so that a fetch can begin that they then join.
func TestAHeldReadAnswersAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFar(t)
		got, done, err := f.Hold(t.Context(), "k", []string{"v"}, open)
		if got != "nothing" || err != nil {
			t.Fatal(got, err)
		}
		f.want("k", "nothing")
		if n := f.fake.Asked(); n != 1 {
			t.Errorf("%d reads, want one", n)
		}
		done()
		f.set("k", "x", "")
		f.flush()
		f.want("k", "x")
		f.fake.Fail(backendtest.Fault{Err: backendtest.ErrBroken})
		if _, done, err := f.Hold(t.Context(), "k", []string{"v"}, open); err == nil {
			t.Error("a read that failed gave no error")
		} else {
			f.fake.Fail(backendtest.Fault{})
			f.want("k", "x") // a failure is not held
			done()
		}
	})
}

// TestAReadOutlivesWhoBeganIt: the first of those who wait goes away, the others get their answer.
func TestAReadOutlivesWhoBeganIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFar(t)
		f.set("k", "x", "")
		f.flush()
		f.fake.Fail(backendtest.Fault{Delay: timeout / 2})
		ctx, cancel := context.WithCancel(t.Context())
		go f.Get(ctx, "k", []string{"v"}, open)
		synctest.Wait()
		cancel()
		f.want("k", "x")
	})
}

// TestAStoreThatHangsIsLeftAlone: each request waits for the deadline at most until the breaker opens, and nobody afterwards, those
// included during which it is tried whether the store is back.
func TestAStoreThatHangsIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFar(t)
		f.fake.Fail(backendtest.Fault{Hang: true})
		for range 5 {
			begin := time.Now()
			if _, err := f.get("k"); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != timeout {
				t.Fatalf("%v after %v, want the deadline after %v", err, time.Since(begin), timeout)
			}
		}
		if f.Up() {
			t.Fatal("the breaker is closed after five failures")
		}
		for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			begin := time.Now()
			if _, err := f.get("k"); !errors.Is(err, tiers.ErrAway) || time.Since(begin) != 0 {
				t.Fatalf("%v after %v", err, time.Since(begin))
			}
			f.set("k", "x", "")
			if f.Delete(t.Context(), "k") == nil || time.Since(begin) != 0 {
				t.Fatalf("a delete took %v", time.Since(begin))
			}
		}
		f.fake.Fail(backendtest.Fault{})
		time.Sleep(2 * openFor)
		f.want("k", "nothing")
		f.set("k", "back", "")
		f.flush()
		if _, err := f.Get(t.Context(), "k", []string{"v"}, open); err != nil {
			t.Errorf("after it came back: %v", err)
		}
		if len(f.opened) != 2 || !f.opened[0] || f.opened[1] {
			t.Errorf("told of the breaker: %v, want open and closed", f.opened)
		}
	})
}

// TestAStoreThatRefusesIsStillRead: a full store is not one that is away.
func TestAStoreThatRefusesIsStillRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFar(t)
		f.set("k", "x", "")
		f.flush()
		f.fake.Fail(backendtest.Fault{Refuse: true})
		for range 100 {
			f.set("k", "y", "")
		}
		f.flush()
		f.want("k", "x")
		if f.count("set refused") != 100 || !f.Up() {
			t.Errorf("told: %v, up %v", f.results, f.Up())
		}
	})
}

// TestGarbageIsAMiss: what is no frame is nothing, is counted, and does not open the breaker.
func TestGarbageIsAMiss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFar(t)
		f.set("k", "x", strings.Repeat("body ", 100))
		f.flush()
		f.fake.Fail(backendtest.Fault{Lie: func(b []byte) []byte {
			b[len(b)/2] ^= 4
			return b
		}})
		for range 20 {
			f.want("k", "nothing")
		}
		if f.count("get corrupt") != 20 || f.Stats().Corrupt != 20 || !f.Up() {
			t.Errorf("told: %v, %+v", f.results, f.Stats())
		}
	})
}

// TestTheQueueDropsAndCounts: writes faster than the store takes them neither block nor grow.
func TestTheQueueDropsAndCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFar(t)
		f.fake.Fail(backendtest.Fault{Delay: timeout / 2})
		begin := time.Now()
		for i := range 10_000 {
			f.set(fmt.Sprint(i), "x", "")
		}
		if time.Since(begin) != 0 {
			t.Errorf("10,000 writes blocked for %v", time.Since(begin))
		}
		s := f.Stats()
		if dropped := f.count("set dropped"); dropped+s.Queued != 10_000 || dropped < 5000 {
			t.Errorf("%d dropped and %d queued of 10,000", dropped, s.Queued)
		}
		f.fake.Fail(backendtest.Fault{})
		f.flush()
		if s := f.Stats(); s.Queued != 0 || s.Bytes != 0 {
			t.Errorf("after the flush: %+v", s)
		}
	})
}

// TestTheQueueIsBoundedInBytes, too.
func TestTheQueueIsBoundedInBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFar(t)
		f.fake.Fail(backendtest.Fault{Hang: true})
		body := strings.Repeat("x", 1<<20)
		for i := range 200 {
			f.set(fmt.Sprint(i), "", body)
		}
		if s := f.Stats(); s.Bytes > 64<<20 || f.count("set dropped") < 100 {
			t.Errorf("%+v, %d dropped", s, f.count("set dropped"))
		}
		f.set("large", "", body+"x")
		if f.count("set too-big") != 1 {
			t.Errorf("told: %v", f.results)
		}
	})
}

// TestADeleteHoldsWhileTheStoreIsAway: until the store knows of it, nothing is read of the key; afterwards it is gone there.
func TestADeleteHoldsWhileTheStoreIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFar(t)
		f.set("k", "old", "")
		f.set("other", "there", "")
		f.flush()
		f.fake.Fail(backendtest.Fault{Err: backendtest.ErrBroken})
		if err := f.Delete(t.Context(), "k"); err == nil {
			t.Fatal("a delete that did not happen was confirmed")
		}
		if f.Stats().Deletes != 1 {
			t.Errorf("%+v, want one delete", f.Stats())
		}
		f.fake.Fail(backendtest.Fault{})
		if got, err := f.get("k"); !errors.Is(err, tiers.ErrAway) {
			t.Errorf("%q, %v was read although it is deleted", got, err)
		}
		f.want("other", "there")
		time.Sleep(openFor)
		f.want("k", "nothing")
		if f.Stats().Deletes != 0 {
			t.Errorf("%+v, want no delete left", f.Stats())
		}
	})
}

// TestAReplicaMayLag: for a while after a delete nothing is read of the key.
func TestAReplicaMayLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFar(t, func(o *tiers.RemoteOptions) { o.Lag = 10 * time.Second })
		if err := f.Delete(t.Context(), "k"); err != nil {
			t.Fatal(err)
		}
		if _, err := f.get("k"); !errors.Is(err, tiers.ErrAway) {
			t.Errorf("read within the lag: %v", err)
		}
		time.Sleep(11 * time.Second)
		f.want("k", "nothing")
	})
}

// TestAWriteFromBeforeADeleteIsNotTaken: the mark that was read before the fetch is not the key's any more.
func TestAWriteFromBeforeADeleteIsNotTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFar(t)
		f.want("k", "nothing") // its mark is ""
		if err := f.Delete(t.Context(), "k"); err != nil {
			t.Fatal(err)
		}
		f.set("k", "from before", "")
		f.flush()
		f.want("k", "nothing")
		if f.count("set lost") != 1 {
			t.Errorf("told: %v", f.results)
		}
	})
}

// TestClaims: one of two gets the key, the other waits for its store; a holder who dies keeps it no longer than its claim.
func TestClaims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFar(t)
		synctest.Wait() // it listens
		claim := func() tiers.Claim[string] {
			c, err := f.Claim(t.Context(), "k", "c", 10*time.Second, []string{"v"}, open)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		first, second := claim(), claim()
		if first.Token == "" || first.Value != "nothing" || second.Token != "" || second.Left != 10*time.Second {
			t.Fatalf("claims: %+v, %+v", first, second)
		}
		ended, stop := f.Watch("k")
		defer stop()
		f.Set(&tiers.Store{
			Key: "k", Field: "v", Time: time.Now(), TTL: time.Hour, Claim: "c", Token: first.Token,
			Seal: func() (any, []byte, bool) { return note{"stored"}, nil, false },
		})
		<-ended
		f.want("k", "stored")
		third := claim()
		if third.Token == "" || third.Value != "stored" {
			t.Errorf("after the store: %+v", third)
		}
		ended, stop = f.Watch("k")
		defer stop()
		f.Release("k", "c", third.Token)
		<-ended
		claim() // and its holder dies
		time.Sleep(10 * time.Second)
		if c := claim(); c.Token == "" {
			t.Errorf("after the claim has expired: %+v", c)
		}
	})
}
