package invalidation

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	bolt "go.etcd.io/bbolt"
)

// breakDisk lets nothing be written any more; mend undoes that.
func breakDisk(t *testing.T, p *Pending) (mend func()) {
	t.Helper()
	if err := p.open(); err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	whole, file := p.db, p.db.Path()
	if err := whole.Close(); err != nil {
		t.Fatal(err)
	}
	reopen := func(readOnly bool) {
		db, err := bolt.Open(file, 0o600, &bolt.Options{Timeout: time.Second, ReadOnly: readOnly})
		if err != nil {
			t.Fatal(err)
		}
		p.db = db
	}
	reopen(true)
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if err := p.db.Close(); err != nil {
			t.Fatal(err)
		}
		reopen(false)
	}
}

// A purge that the disk does not take is refused; it puts nothing that is born
// elsewhere afterwards in doubt.
func TestADiskThatTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := NewMemLogOf(1000)
		pending := openPending(t, t.TempDir(), 10)
		a, other := follow(t, "a", log, pending), follow(t, "other", log, nil)
		defer a.stop()
		defer other.stop()
		settle()
		a.log.down.Store(true)
		time.Sleep(time.Second)
		mend := breakDisk(t, pending)
		if _, err := a.Purge(t.Context(), purgeOf(x)); !errors.Is(err, ErrFull) {
			t.Errorf("a purge that cannot be kept: %v", err)
		}
		mend()
		a.log.down.Store(false)
		settle()
		later := other.purge(t, purgeOf(x)).Position
		synctest.Wait()
		if got := a.s.check(a.s.thing(Birth{Position: later}, x)); got != Valid {
			t.Errorf("what is born elsewhere afterwards is %v", got)
		}
	})
}

// A disk that does not let go of what is in the log does not make it come there
// again and again.
func TestADiskThatLetsNothingGo(t *testing.T) {
	log := NewMemLogOf(1000)
	away := &faulty{Log: log}
	away.down.Store(true)
	state, pending := NewState(100), openPending(t, t.TempDir(), 10)
	p := NewFollower(away, state, FollowerOptions{}).Purger(pending)
	for range 2 {
		if r, err := p.Purge(t.Context(), purgeOf(x)); err != nil || !r.Pending {
			t.Fatal(r, err)
		}
	}
	mend := breakDisk(t, pending)
	away.down.Store(false)
	state.Begin(log.Head())
	for range 5 {
		if p.drain(t.Context()) == nil {
			t.Error("it does not say that nothing was removed")
		}
	}
	if got := log.Head().Seq; got != 2 || p.Waiting() != 2 {
		t.Errorf("the log has %d records and %d wait, want 2 of each", got, p.Waiting())
	}
	mend()
	if err := p.drain(t.Context()); err != nil || log.Head().Seq != 2 || p.Waiting() != 0 {
		t.Errorf("in the end: %v, the log has %d records and %d wait, want 2 and none", err, log.Head().Seq, p.Waiting())
	}
}
