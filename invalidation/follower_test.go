package invalidation

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// faulty is a log between which and its user something can go wrong.
type faulty struct {
	Log
	down atomic.Bool  // nothing reaches it
	deaf atomic.Bool  // nothing is told
	slow atomic.Int64 // how long each answer takes
}

var errDown = errors.New("the log is down")

func (l *faulty) fault() error {
	if l.down.Load() {
		time.Sleep(10 * time.Millisecond)
		return errDown
	}
	time.Sleep(time.Duration(l.slow.Load()) / 2)
	return nil
}

func (l *faulty) Append(ctx context.Context, r Record, members bool) (a Appended, err error) {
	if err = l.fault(); err == nil {
		a, err = l.Log.Append(ctx, r, members)
		time.Sleep(time.Duration(l.slow.Load()) / 2)
	}
	return a, err
}

func (l *faulty) Sync(ctx context.Context, r Report) (s Synced, err error) {
	if err = l.fault(); err == nil {
		s, err = l.Log.Sync(ctx, r)
		time.Sleep(time.Duration(l.slow.Load()) / 2)
	}
	return s, err
}

func (l *faulty) Members(ctx context.Context) (m []Member, at Position, err error) {
	if err = l.fault(); err == nil {
		m, at, err = l.Log.Members(ctx)
	}
	return m, at, err
}

func (l *faulty) Listen(ctx context.Context, id string, told func(Message)) error {
	return l.Log.Listen(ctx, id, func(m Message) {
		if !l.deaf.Load() && !l.down.Load() {
			told(m)
		}
	})
}

const testLease = 2 * time.Second

// instance is one of several that follow a log.
type instance struct {
	*Purger
	s    *State
	log  *faulty
	stop func()
}

// follow starts an instance that ends with the bubble.
func follow(t *testing.T, id string, log Log, pending *Pending) *instance {
	i := &instance{s: NewState(1000), log: &faulty{Log: log}}
	i.s.SetOnPartition(Bypass)
	i.Purger = NewFollower(i.log, i.s, FollowerOptions{ID: id, Lease: testLease}).Purger(pending)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { i.Run(ctx) })
	running.Go(func() { i.Drain(ctx) })
	i.stop = func() { cancel(); running.Wait() }
	return i
}

func purgeOf(uri string) Purge { return Purge{Selectors: []Selector{{KindURL, uri}}} }

func (i *instance) purge(t *testing.T, p Purge) Receipt {
	t.Helper()
	r, err := i.Purge(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const x = "http://h/x"

// settle lets an epoch grow old enough that the register is believed.
func settle() { time.Sleep(2 * testLease) }

func TestAPurgeReachesAllAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := NewMemLogOf(1000)
		a, b := follow(t, "a", log, nil), follow(t, "b", log, nil)
		defer a.stop()
		defer b.stop()
		settle()
		old := b.s.thing(b.s.Birth(), x)
		r := a.purge(t, purgeOf(x))
		if !r.Complete || !r.Reached || r.Instances != 2 || r.Acknowledged != 2 || r.ExpiredLeases != 0 || r.Elapsed > 100*time.Millisecond {
			t.Errorf("the receipt is %+v", r)
		}
		if got := b.s.check(old); got != Invalid {
			t.Errorf("on the other instance it is %v", got)
		}
		r = a.purge(t, Purge{Selectors: []Selector{{Kind: KindAll}}, Wait: WaitLocal})
		if r.Complete || !r.Reached {
			t.Errorf("the receipt of a purge that waits for nobody is %+v", r)
		}
	})
}

func TestWhoDoesNotAnswerLosesItsLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := NewMemLogOf(1000)
		a, b := follow(t, "a", log, nil), follow(t, "b", log, nil)
		defer a.stop()
		defer b.stop()
		settle()
		old := b.s.thing(b.s.Birth(), x)
		b.log.down.Store(true)
		begin := time.Now()
		r := a.purge(t, purgeOf(x))
		if !r.Complete || r.Acknowledged != 1 || r.ExpiredLeases != 1 || r.Elapsed < testLease || r.Elapsed > testLease*11/10 {
			t.Errorf("the receipt is %+v", r)
		}
		if got := b.s.check(old); got != Valid || b.s.CutOff(time.Now()) != Bypass {
			t.Errorf("the other says %v and may serve: %v", got, b.s.CutOff(time.Now()))
		}
		if b.s.CutOff(begin) != Serve {
			t.Error("the other has lost its lease before it ran out")
		}
		// It was watched for a whole lease: nobody waits for it again.
		if r := a.purge(t, purgeOf(x)); !r.Complete || r.Instances != 1 || r.Elapsed > testLease/10 {
			t.Errorf("the next receipt is %+v", r)
		}
		b.log.down.Store(false)
		time.Sleep(testLease)
		if got := b.s.check(old); got != Invalid || b.s.CutOff(time.Now()) != Serve {
			t.Errorf("back again, it says %v and does %v", got, b.s.CutOff(time.Now()))
		}
	})
}

func TestATimeoutIsNoSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := NewMemLogOf(1000)
		a, b := follow(t, "a", log, nil), follow(t, "b", log, nil)
		defer a.stop()
		defer b.stop()
		settle()
		b.log.down.Store(true)
		p := purgeOf(x)
		p.Timeout = testLease / 2
		if r := a.purge(t, p); r.Complete || r.Reached || r.Instances != 2 || r.Acknowledged != 1 {
			t.Errorf("the receipt is %+v", r)
		}
	})
}

// In a young epoch the register may not know of all who hold a lease.
func TestAYoungEpochWaitsOutTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := follow(t, "a", NewMemLogOf(1000), nil)
		defer a.stop()
		synctest.Wait()
		if r := a.purge(t, purgeOf(x)); !r.Complete || r.Elapsed < testLease {
			t.Errorf("the first receipt is %+v", r)
		}
		if r := a.purge(t, purgeOf(x)); !r.Complete || r.Elapsed > 0 {
			t.Errorf("the second receipt is %+v", r)
		}
	})
}

func TestWhoHasLeftIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := NewMemLogOf(1000)
		a, b := follow(t, "a", log, nil), follow(t, "b", log, nil)
		defer a.stop()
		settle()
		b.stop()
		if r := a.purge(t, purgeOf(x)); !r.Complete || r.Instances != 1 || r.Elapsed > 0 {
			t.Errorf("the receipt is %+v", r)
		}
		if b.s.CutOff(time.Now()) != Bypass {
			t.Error("who has left may still serve")
		}
	})
}

func TestAnInstanceThatStartsIsCutOffUntilItHasReadTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := NewMemLogOf(100_000)
		for range 5*page + 1 {
			if _, err := log.Append(t.Context(), Record{Selectors: []Selector{{KindURL, x}}}, false); err != nil {
				t.Fatal(err)
			}
		}
		a := follow(t, "a", log, nil)
		defer a.stop()
		if a.s.CutOff(time.Now()) != Bypass {
			t.Error("it may serve before it has read anything")
		}
		synctest.Wait()
		if a.s.CutOff(time.Now()) != Serve || a.s.Applied() != log.Head() {
			t.Errorf("it stands at %v of %v", a.s.Applied(), log.Head())
		}
	})
}

// A message that is lost shows with the next one, and without one at the next
// renewal.
func TestWhatIsNotToldIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := NewMemLogOf(1000)
		a, b := follow(t, "a", log, nil), follow(t, "b", log, nil)
		defer a.stop()
		defer b.stop()
		settle()
		b.log.deaf.Store(true)
		a.purge(t, Purge{Selectors: []Selector{{KindURL, x}}, Wait: WaitLocal})
		b.log.deaf.Store(false)
		a.purge(t, Purge{Selectors: []Selector{{KindURL, x}}, Wait: WaitLocal})
		synctest.Wait()
		if b.s.Applied() != log.Head() {
			t.Errorf("after a gap: at %v of %v", b.s.Applied(), log.Head())
		}
		b.log.deaf.Store(true)
		r := a.purge(t, purgeOf(x))
		if !r.Complete || r.ExpiredLeases != 0 || r.Elapsed > testLease/2 {
			t.Errorf("to one who hears nothing: %+v", r)
		}
	})
}

// The answer to a renewal may take longer than the lease.
func TestALeaseCountsFromBeforeItWasAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := NewMemLogOf(1000)
		a := follow(t, "a", log, nil)
		defer a.stop()
		settle()
		a.log.slow.Store(int64(3 * testLease))
		for range 100 {
			time.Sleep(testLease / 10)
			held := a.s.Leased(time.Now())
			var idle time.Duration
			members, _, _ := log.Members(t.Context()) // it has no errors
			for _, m := range members {
				idle = m.Idle
			}
			// Half of the answer's time passes before the log gets the report.
			if held && idle > testLease {
				t.Fatalf("the lease is held %v after it was granted", idle)
			}
		}
		if a.s.Leased(time.Now()) {
			t.Error("a lease of less than a round trip is held")
		}
	})
}

// What was acknowledged is lost: the epoch shows it, and nothing from before is
// believed.
func TestALogThatLosesRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := NewMemLogOf(1000)
		a, b := follow(t, "a", log, nil), follow(t, "b", log, nil)
		defer a.stop()
		defer b.stop()
		settle()
		a.purge(t, purgeOf("http://h/first"))
		b.log.down.Store(true)
		old, spared := b.s.thing(b.s.Birth(), x), a.s.thing(a.s.Birth(), "http://h/y")
		a.purge(t, purgeOf(x))
		log.Lose(1)
		b.log.down.Store(false)
		time.Sleep(testLease)
		if got := b.s.check(old); got != Unsure {
			t.Errorf("on who has missed the purge that was lost, it is %v", got)
		}
		if got := a.s.check(spared); got != Unsure {
			t.Errorf("what was not purged is %v", got)
		}
		if a.s.CutOff(time.Now()) != Serve || b.s.CutOff(time.Now()) != Serve || a.s.Applied() != log.Head() {
			t.Errorf("in the new epoch they stand at %v and %v, the log at %v", a.s.Applied(), b.s.Applied(), log.Head())
		}
		fresh := b.s.thing(b.s.Birth(), x)
		if got := b.s.check(fresh); got != Valid {
			t.Errorf("what was fetched in the new epoch is %v", got)
		}
	})
}

func openPending(t *testing.T, dir string, limit int) *Pending {
	t.Helper()
	p, err := OpenPending(filepath.Join(dir, "purges"), limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func TestPurgesWaitForALogThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := NewMemLogOf(1000)
		pending := openPending(t, t.TempDir(), 3)
		a, b := follow(t, "a", log, pending), follow(t, "b", log, nil)
		defer a.stop()
		defer b.stop()
		settle()
		here, there := a.s.thing(a.s.Birth(), x), b.s.thing(b.s.Birth(), x)
		a.log.down.Store(true)
		for n := range 3 {
			r := a.purge(t, purgeOf(x))
			if !r.Pending || r.Complete || r.Reached || r.Elapsed > time.Second {
				t.Errorf("receipt %d is %+v", n, r)
			}
		}
		if got := a.s.check(here); got != Invalid {
			t.Errorf("here it is %v at once", got)
		}
		if got := a.s.check(a.s.thing(a.s.Birth(), x)); got != Valid {
			t.Errorf("what was requested afterwards is %v", got)
		}
		if got := a.s.check(a.s.thing(Birth{Position: log.Head()}, x)); got != Invalid {
			t.Errorf("what comes from elsewhere is %v meanwhile", got)
		}
		if _, err := a.Purge(t.Context(), purgeOf(x)); !errors.Is(err, ErrFull) {
			t.Errorf("the fourth of three: %v", err)
		}
		written := a.s.thing(a.s.Birth(), x)
		if got := a.s.check(written); got != Valid {
			t.Errorf("after a purge that was refused it is %v", got)
		}
		write := purgeOf(x)
		write.Happened = true
		if _, err := a.Purge(t.Context(), write); !errors.Is(err, ErrFull) {
			t.Errorf("a write that has happened: %v", err)
		}
		if got := a.s.check(written); got != Invalid {
			t.Errorf("after a write that has happened it is %v here", got)
		}
		if a.Waiting() != 3 {
			t.Errorf("%d wait, want 3", a.Waiting())
		}
		a.log.down.Store(false)
		time.Sleep(testLease)
		if a.Waiting() != 0 || log.Head().Seq != 3 {
			t.Errorf("%d still wait, and the log is at %v", a.Waiting(), log.Head())
		}
		if got := b.s.check(there); got != Invalid {
			t.Errorf("there it is %v in the end", got)
		}
		if got := a.s.check(a.s.thing(Birth{Position: log.Head()}, x)); got != Valid {
			t.Errorf("what comes from elsewhere is %v in the end", got)
		}
	})
}

// A log that takes long to be read gets what waits for it once, and not again
// and again while it is read.
func TestWhatWaitsIsAppendedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const missed = 20 * page
		log := NewMemLogOf(2 * missed)
		a := follow(t, "a", log, openPending(t, t.TempDir(), 3))
		defer a.stop()
		settle()
		a.log.down.Store(true)
		a.purge(t, purgeOf(x))
		for range missed {
			if _, err := log.Append(t.Context(), Record{Selectors: []Selector{{KindTag, "t"}}}, false); err != nil {
				t.Fatal(err)
			}
		}
		a.log.slow.Store(int64(time.Second))
		a.log.down.Store(false)
		time.Sleep(time.Minute)
		if got := log.Head().Seq; a.Waiting() != 0 || got != missed+1 {
			t.Errorf("%d wait, and the log has %d records, want %d", a.Waiting(), got, missed+1)
		}
	})
}

func TestWhatWaitsSurvivesARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, dir := NewMemLogOf(1000), t.TempDir()
		b := follow(t, "b", log, nil)
		defer b.stop()
		pending := openPending(t, dir, 10)
		a := follow(t, "a", log, pending)
		settle()
		elsewhere := b.s.Birth().Position
		a.log.down.Store(true)
		a.purge(t, purgeOf(x))
		a.stop()
		pending.Close()

		s := NewState(100)
		down := &faulty{Log: log}
		down.down.Store(true)
		NewFollower(down, s, FollowerOptions{ID: "c", Lease: testLease}).Purger(openPending(t, dir, 10))
		s.Begin(log.Head())
		if got := s.check(s.thing(Birth{Position: elsewhere}, x)); got != Invalid {
			t.Errorf("after the restart, what another stored before is %v", got)
		}
	})
}

func TestPendingKeepsTheOrder(t *testing.T) {
	dir := t.TempDir()
	p, err := OpenPending(filepath.Join(dir, "purges"), 100)
	if err != nil {
		t.Fatal(err)
	}
	want := Record{
		At: time.UnixMilli(1_700_000_000_000), Strategy: TTL, TTL: time.Minute, Origin: "me",
		Selectors: []Selector{{KindTag, "t"}, {Kind: KindAll}},
	}
	for i := range 20 {
		if err := p.reserve(); err != nil {
			t.Fatal(err)
		}
		want.Origin = string(rune('a' + i))
		if err := p.push(want); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if p, err = OpenPending(filepath.Join(dir, "purges"), 100); err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	list, err := p.oldest(10)
	if err != nil || len(list) != 10 || p.Len() != 20 {
		t.Fatalf("%d of %d, %v", len(list), p.Len(), err)
	}
	for i, k := range list {
		if k.Origin != string(rune('a'+i)) || !k.At.Equal(want.At) || k.TTL != want.TTL || len(k.Selectors) != 2 || k.Selectors[0] != want.Selectors[0] {
			t.Errorf("record %d is %+v", i, k.Record)
		}
	}
	if err := p.remove(list); err != nil || p.Len() != 10 {
		t.Errorf("%d are left, %v", p.Len(), err)
	}
}
