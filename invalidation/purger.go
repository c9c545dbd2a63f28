package invalidation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"
)

// Purger is the one door for purges: it logs them, applies them here, has the
// memory freed, waits for the others, and answers with a [Receipt].
type Purger struct {
	*Follower
	pending   *Pending                         // nil: without the log nothing can be purged
	kept      chan struct{}                    // tells Drain that something waits
	removable []kept                           // in pending, but in the log too; of Drain
	counts    [kinds][strategies]atomic.Uint64 // selectors logged
}

// NewPurger returns the purger of an instance that is alone with its log and its
// state; neither may have another. Where onApply is not nil it is called after
// each record was applied, to free what the record ended, and returns how much
// that was; calls of it may overlap, and come in any order. It need not be run.
func NewPurger(log *MemLog, s *State, onApply func(Record) (freed int)) *Purger {
	return NewFollower(log, s, FollowerOptions{OnApply: onApply}).Purger(nil)
}

// Purger returns the purger that appends to the log that f follows, and keeps in
// pending, which may be nil, what it cannot append. What is there already is
// applied now.
func (f *Follower) Purger(pending *Pending) *Purger {
	p := &Purger{Follower: f, pending: pending, kept: make(chan struct{}, 1)}
	if pending != nil {
		p.restore()
	}
	return p
}

// Wait says how far a purge must have got before Purge returns.
type Wait uint8

// How far.
const (
	// WaitAll: every instance has applied it, or cannot answer any more.
	WaitAll Wait = iota
	// WaitLocal: it is in the log, and applied here.
	WaitLocal
	// WaitNone: it is accepted and applied here.
	WaitNone

	waits = iota
)

var waitNames = [waits]string{"all", "local", "none"}

// String is the name in configuration and in the admin API.
func (w Wait) String() string { return waitNames[w] }

// ErrWait is returned for what names no Wait.
var ErrWait = errors.New("not a way to wait: it is none, local or all")

// ParseWait reads the name of a Wait; "" is all. The error matches ErrWait.
func ParseWait(text string) (Wait, error) {
	i := slices.Index(waitNames[:], text)
	if i < 0 && text != "" {
		return 0, fmt.Errorf("%q: %w", text, ErrWait)
	}
	return Wait(max(i, 0)), nil
}

// Purge is what is asked for.
type Purge struct {
	Selectors []Selector
	Strategy  Strategy
	TTL       time.Duration // of the strategy TTL: the lifetime that is left
	// Dependents says that the selectors hold what depends on what was named.
	Dependents bool
	// Happened says that what the purge is for has happened already, such as a
	// write that the origin has accepted: where it is refused with ErrFull, it
	// holds here all the same.
	Happened bool
	Wait     Wait
	Timeout  time.Duration // of the waiting; 0: as long as it takes, which is bounded
}

// ErrFull is returned where the log is away and the purge cannot wait for it on
// disk: as many wait as may, or the disk does not take it.
var ErrFull = errors.New("the log cannot be reached, and no more purges can be kept for it")

// Receipt says what has become of a purge.
type Receipt struct {
	Position                                   // of the record
	Instances, Acknowledged, ExpiredLeases int // how many there are, have applied it, have lost the right to answer
	Pending                                bool
	Complete                               bool  // every instance has acknowledged it or lost its lease
	Reached                                bool  // what Wait asked for
	Freed                                  int   // what was dropped from this instance's memory
	Applied                                Birth // of what is requested next: the record was applied here
	Elapsed                                time.Duration
}

// MarshalJSON writes the form of the admin API. The epoch is a string of
// hexadecimal digits, because it needs more bits than a JSON number keeps.
func (r Receipt) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Epoch         string  `json:"epoch"`
		Seq           Seq     `json:"seq"`
		Pending       bool    `json:"pending"`
		Instances     int     `json:"instances"`
		Acknowledged  int     `json:"acknowledged"`
		ExpiredLeases int     `json:"expired_leases"`
		Complete      bool    `json:"complete"`
		Freed         int     `json:"freed"`
		ElapsedMS     float64 `json:"elapsed_ms"`
	}{
		r.Epoch.String(), r.Seq, r.Pending, r.Instances, r.Acknowledged, r.ExpiredLeases,
		r.Complete, r.Freed, float64(r.Elapsed) / float64(time.Millisecond),
	})
}

// local bounds how long a record that is in the log may take to be applied here.
const local = time.Second

// Purge ends whatever the selectors select and was born before now. When it
// returns without error, no Check that begins later on this instance calls such
// a thing Valid; the receipt says what holds elsewhere. The error matches
// [ErrEmpty], [ErrSelector] or [ErrStrategy], or [ErrFull] where the log cannot be
// reached and the purge could not be kept either; then it does not count as done.
//
// The context bounds how long others are waited for, never the purge itself: a
// write that the origin has accepted must end what is stored even where the
// client who sent it has gone.
func (p *Purger) Purge(ctx context.Context, purge Purge) (Receipt, error) {
	begin := time.Now()
	if err := purge.validate(); err != nil {
		return Receipt{}, err
	}
	r := purge.record()
	r.Origin, r.Waits = p.o.ID, purge.Wait == WaitAll && p.o.Lease > 0
	r, receipt, w, err := p.enter(context.WithoutCancel(ctx), r)
	if err != nil {
		if purge.Happened {
			r.At = time.Now()
			p.state.ApplyAlone(r)
		}
		return Receipt{}, err
	}
	for _, sel := range r.Selectors {
		p.counts[sel.Kind][r.Strategy].Add(1)
	}
	if p.o.OnApply != nil {
		receipt.Freed = p.o.OnApply(r)
	}
	if w != nil {
		p.await(ctx, &purge, w, &receipt)
	}
	receipt.Reached = receipt.Complete || purge.Wait == WaitNone || purge.Wait == WaitLocal && !receipt.Pending && w.replicated
	receipt.Elapsed = time.Since(begin)
	return receipt, nil
}

// enter appends a record to the log and applies it, or keeps it for the log. What
// is to be waited for is nil where it is kept.
func (p *Purger) enter(ctx context.Context, r Record) (Record, Receipt, *waiting, error) {
	if p.pending != nil && (p.pending.Len() > 0 || p.Away()) {
		return p.keepFor(r) // in order; and nobody waits for a log that is away
	}
	a, err := p.log.Append(ctx, r, true)
	if err == nil {
		w := p.wait(&a)
		bounded, cancel := context.WithTimeout(ctx, local)
		defer cancel()
		if applied, ok := p.appended(bounded, a.Record); ok {
			return a.Record, Receipt{Position: a.Record.Position, Applied: applied}, w, nil
		}
		err = errors.New("what is before it in the log could not be read")
	}
	p.Wake()
	if p.pending == nil {
		return r, Receipt{}, nil, fmt.Errorf("%w: %w", ErrFull, err)
	}
	return p.keepFor(r)
}

// await waits as far as it is asked for, and notes in the receipt how far it got.
func (p *Purger) await(ctx context.Context, purge *Purge, w *waiting, receipt *Receipt) {
	if purge.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, purge.Timeout)
		defer cancel()
	}
	acknowledged, expired, complete := 0, 0, len(w.members) == 0 && !w.young
	if purge.Wait == WaitAll {
		acknowledged, expired, complete = w.run(ctx)
	}
	receipt.Instances, receipt.Acknowledged, receipt.ExpiredLeases = 1+len(w.members), 1+acknowledged, expired
	receipt.Complete = complete && w.replicated
}

func (p *Purge) validate() error {
	err := validate(p.Selectors)
	switch {
	case int(p.Strategy) >= strategies:
		err = errors.Join(err, fmt.Errorf("%s: %w", p.Strategy, ErrStrategy))
	case p.Strategy == TTL && p.TTL < 0:
		err = errors.Join(err, fmt.Errorf("ttl=%s: %w", p.TTL, ErrStrategy))
	case p.Strategy != TTL && p.TTL != 0:
		err = errors.Join(err, fmt.Errorf("%s with a duration: %w", p.Strategy, ErrStrategy))
	}
	return err
}

// record returns the record of the purge, which has no place yet.
func (p *Purge) record() Record {
	return Record{
		Selectors: slices.Clone(p.Selectors), Strategy: p.Strategy, TTL: p.TTL, Dependents: p.Dependents,
	}
}

// Count is how many selectors of a kind were logged with a strategy.
type Count struct {
	Kind     Kind
	Strategy Strategy
	Total    uint64
}

// Stats returns the counts since the start, one for each kind and strategy.
func (p *Purger) Stats() []Count {
	counts := make([]Count, 0, kinds*strategies)
	for k := range p.counts {
		for s := range p.counts[k] {
			counts = append(counts, Count{Kind(k), Strategy(s), p.counts[k][s].Load()})
		}
	}
	return counts
}
