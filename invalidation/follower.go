package invalidation

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"time"
)

// FollowerOptions say how a log is followed.
type FollowerOptions struct {
	// ID names this instance in the register. Empty: its host's name and a random
	// part.
	ID string
	// Lease is how long this instance may answer from its copies after it was up
	// to date. 0: the log is of this process, and no lease is needed.
	Lease time.Duration
	// OnApply is called after each record was applied, to free what the record
	// ended, and returns how much that was; nil: nothing is freed. Calls of it may
	// overlap, and come in any order. A record without a place that selects
	// everything stands for those that it was not told of: they came faster than
	// it returned, or the log had lost them before they were read here.
	OnApply func(Record) (freed int)
	// Observe is told how long ago a record of another instance was logged when it
	// was applied; Changed, that the log cannot be reached, and why, or that it
	// can again (nil). Either may be nil, and must be quick.
	Observe func(time.Duration)
	Changed func(err error)
}

// Follower applies the records of a log to a state, in order and without gaps,
// and keeps the lease of its instance.
//
// Messages are the fast path: a record that is the next is applied as it is told.
// The log is the truth: Run synchronizes with it several times in each lease,
// and at once where a message shows that one was missed.
type Follower struct {
	o     FollowerOptions
	log   Log
	state *State
	wake  chan struct{} // asks Run to synchronize now
	freed chan Record   // records whose memory is to be freed
	tried chan struct{} // closed when Run has synchronized once, or could not

	mu     sync.Mutex // guards the following; records are applied under it
	known  time.Time  // when this epoch was first seen
	head   Position   // of the log, when it was looked at last
	away   error      // why the log was not reached the last time; nil: it was
	missed bool       // records did not find room in freed
	tell   map[string]struct{}
	heard  map[string]Position // what other instances have reported to this one
	moved  chan struct{}       // closed at the next change of heard and of what is applied
}

// housekeeping is how many records may wait for their memory to be freed. Past
// that everything is looked at once.
const housekeeping = 1024

// NewFollower returns a follower of log. Without a lease, the state stands where
// the log does; with one it is cut off until Run has read all of the log.
func NewFollower(log Log, s *State, o FollowerOptions) *Follower {
	if o.ID == "" {
		o.ID = newID()
	}
	f := &Follower{
		o: o, log: log, state: s, wake: make(chan struct{}, 1), freed: make(chan Record, housekeeping), tried: make(chan struct{}),
		tell: map[string]struct{}{}, heard: map[string]Position{}, moved: make(chan struct{}),
	}
	if o.Lease > 0 {
		s.lend(time.Time{})
		f.away = errNotYet
		return f
	}
	if answer, err := log.Sync(context.Background(), Report{}); err == nil {
		s.Begin(answer.Head)
	}
	return f
}

var errNotYet = errors.New("the log has not been read yet")

func newID() string {
	var b [6]byte
	rand.Read(b[:]) // it never fails
	host, err := os.Hostname()
	if err != nil {
		host = "instance"
	}
	return host + "-" + hex.EncodeToString(b[:])
}

// Ready returns when Run has read the log for the first time, when it has failed
// to, or when ctx ends. What is requested from an origin before that is born in no
// epoch, and is Unsure to everybody.
func (f *Follower) Ready(ctx context.Context) {
	select {
	case <-f.tried:
	case <-ctx.Done():
	}
}

// ID names this instance in the register.
func (f *Follower) ID() string { return f.o.ID }

// Reached returns nil where the log was reached the last time it was tried.
func (f *Follower) Reached() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.away
}

// Away reports whether the log could not be reached when it was last tried. One
// that has not been tried yet is not away.
func (f *Follower) Away() bool {
	err := f.Reached()
	return err != nil && err != errNotYet
}

// Lag returns how many records are in the log, as far as is known, that have not
// been applied here.
func (f *Follower) Lag() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	applied := f.state.Applied()
	if applied.Epoch != f.head.Epoch || applied.Seq >= f.head.Seq {
		return 0
	}
	return uint64(f.head.Seq - applied.Seq)
}

// Members returns the instances that the log knows of; of one that is alone, it
// alone.
func (f *Follower) Members(ctx context.Context) ([]Member, error) {
	if f.o.Lease == 0 {
		return []Member{{ID: f.o.ID, Applied: f.state.Applied()}}, nil
	}
	members, _, err := f.log.Members(ctx)
	return members, err
}

// Run follows the log until ctx ends, and then leaves the register: after that
// the instance must answer nothing from its copies. It must not be called again.
func (f *Follower) Run(ctx context.Context) error {
	var running sync.WaitGroup
	running.Go(func() { f.listen(ctx) })
	running.Go(func() { f.free(ctx) })
	running.Go(func() { f.count(ctx) })
	f.keep(ctx)
	running.Wait()
	if f.o.Lease > 0 {
		f.state.lend(time.Time{})
		_ = f.log.Leave(context.WithoutCancel(ctx), f.o.ID) // where that fails it is forgotten after a lease
	}
	return nil
}

// keep synchronizes until ctx ends.
func (f *Follower) keep(ctx context.Context) {
	every := f.o.Lease / 4
	if every <= 0 {
		every = time.Second
	}
	for first := true; ; first = false {
		pause := every
		if f.sync(ctx) != nil {
			pause = min(every, 100*time.Millisecond)
		}
		if first {
			close(f.tried)
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-f.wake:
			timer.Stop()
			if f.Reached() != nil { // no busy loop against a log that refuses
				select {
				case <-ctx.Done():
					return
				case <-time.After(pause):
				}
			}
		case <-timer.C:
		}
	}
}

// Wake has Run synchronize now.
func (f *Follower) Wake() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// sync reports and reads until this instance is up to date.
func (f *Follower) sync(ctx context.Context) error {
	for idle := 0; ; {
		asked, report := f.state.Birth(), f.report()
		// The lease counts from before the report is sent: the answer may take
		// longer than all of it.
		sent := time.Now()
		answer, err := f.log.Sync(ctx, report)
		if err != nil {
			if ctx.Err() == nil {
				f.reached(err, report.Tell)
			}
			return err
		}
		done := f.take(&answer, sent, asked)
		if len(answer.Records) == 0 {
			idle++
		}
		if !done && idle > 3 {
			err := fmt.Errorf("the log stands at %v and has nothing for who stands at %v", answer.Head, f.state.Applied())
			f.reached(err, report.Tell)
			return err
		}
		f.reached(nil, nil)
		// Who waits for a record that this answer has brought is told by another
		// report: the message of the record will be an old one.
		if done && !f.owes() {
			return nil
		}
	}
}

// owes reports whether somebody waits for a report of this instance.
func (f *Follower) owes() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.o.Lease > 0 && len(f.tell) > 0
}

// report says where this instance stands.
func (f *Follower) report() Report {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.o.Lease == 0 {
		return Report{Applied: f.state.Applied()}
	}
	tell := slices.Collect(maps.Keys(f.tell))
	clear(f.tell)
	return Report{ID: f.o.ID, Applied: f.state.Applied(), Lease: f.o.Lease, Tell: tell}
}

// reached notes whether the log could be reached. Who was to be told, and was
// not, is told the next time.
func (f *Follower) reached(err error, tell []string) {
	f.mu.Lock()
	before := f.away
	f.away = err
	for _, id := range tell {
		f.tell[id] = struct{}{}
	}
	f.mu.Unlock()
	if f.o.Changed != nil && ((before == nil) != (err == nil) || before == errNotYet) {
		f.o.Changed(err)
	}
}

// take applies what the log has answered, and takes the lease where it was
// granted. It reports whether this instance has applied all that there was. Sent
// and asked are the time and the birth at which the log was asked.
func (f *Follower) take(s *Synced, sent time.Time, asked Birth) (done bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.head = s.Head
	applied := f.state.Applied()
	if applied.Epoch != s.Head.Epoch {
		f.known = time.Now()
		clear(f.heard)
	}
	if applied.Epoch != s.Head.Epoch || applied.Seq < s.Floor {
		f.state.Begin(Position{s.Head.Epoch, s.Floor})
		if applied.Epoch != 0 {
			f.hand(everything())
		}
	}
	for _, r := range s.Records {
		f.next(r)
	}
	applied = f.state.Applied()
	if applied.Epoch != s.Head.Epoch || applied.Seq < s.Head.Seq {
		return false
	}
	f.state.caughtUp(asked)
	if s.Granted {
		f.state.lend(sent.Add(f.o.Lease))
	}
	// Without the lease the next report is granted it, unless there is more by then.
	return s.Granted || f.o.Lease == 0
}

// next applies r where it is the next record. The caller holds the lock.
func (f *Follower) next(r Record) (birth Birth, done bool) {
	applied := f.state.Applied()
	if r.Epoch != applied.Epoch || r.Seq != applied.Seq+1 {
		return Birth{}, false
	}
	// Until is reckoned from At: a clock that is ahead must not lengthen it.
	if now := time.Now(); r.At.After(now) {
		r.At = now
	}
	birth = f.state.Apply(r)
	f.change()
	if r.Origin == f.o.ID {
		return birth, true // its memory is freed by who asked for the purge
	}
	if r.Waits {
		f.tell[r.Origin] = struct{}{}
	}
	if f.o.Observe != nil {
		f.o.Observe(time.Since(r.At))
	}
	f.hand(r)
	return birth, true
}

// everything stands for records that OnApply was not told of.
func everything() Record { return Record{At: time.Now(), Selectors: []Selector{{Kind: KindAll}}} }

// hand has the memory freed of what r has ended. The caller holds the lock.
func (f *Follower) hand(r Record) {
	select {
	case f.freed <- r:
	default:
		f.missed = true // and so there is something in freed, behind which that is seen
	}
}

// hasMissed reports whether records were not handed on, once all that were have
// been taken.
func (f *Follower) hasMissed() (missed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.freed) == 0 {
		missed, f.missed = f.missed, false
	}
	return missed
}

// change wakes those who wait for what is applied or heard. The caller holds the
// lock.
func (f *Follower) change() {
	close(f.moved)
	f.moved = make(chan struct{})
}

// free frees the memory of what records of other instances have ended.
func (f *Follower) free(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-f.freed:
			if f.o.OnApply == nil {
				continue
			}
			f.o.OnApply(r)
			if f.hasMissed() {
				f.o.OnApply(everything())
			}
		}
	}
}

// listen takes what is told until ctx ends.
func (f *Follower) listen(ctx context.Context) {
	for ctx.Err() == nil {
		if f.log.Listen(ctx, f.o.ID, f.told) == nil {
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// told takes one message.
func (f *Follower) told(m Message) {
	f.mu.Lock()
	wake := true
	switch {
	case m.Record != nil:
		applied := f.state.Applied()
		_, next := f.next(*m.Record)
		old := m.Record.Epoch == applied.Epoch && m.Record.Seq <= applied.Seq
		wake = !old && (!next || len(f.tell) > 0)
	case m.Report != nil:
		wake = false
		if before := f.heard[m.Report.ID]; before.Epoch != m.Report.Applied.Epoch || before.Seq < m.Report.Applied.Seq {
			f.heard[m.Report.ID] = m.Report.Applied
			f.change()
		}
	}
	f.mu.Unlock()
	if wake {
		f.Wake()
	}
}

// appended applies a record that this instance has appended, as soon as all
// before it have been applied. It reports whether that came before ctx ended.
func (f *Follower) appended(ctx context.Context, r Record) (birth Birth, done bool) {
	for {
		f.mu.Lock()
		birth, done := f.next(r)
		applied, moved := f.state.Applied(), f.moved
		f.mu.Unlock()
		switch {
		case done:
			return birth, true
		case applied.Epoch == r.Epoch && applied.Seq >= r.Seq:
			return f.state.Birth(), true
		}
		f.Wake()
		select {
		case <-ctx.Done():
			return Birth{}, false
		case <-moved:
		}
	}
}
