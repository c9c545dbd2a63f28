package invalidation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Purger is the one door for purges: it logs them, applies them here, has the
// memory freed, and answers with a [Receipt].
type Purger struct {
	onApply func(Record) (freed int)
	counts  [kinds][strategies]atomic.Uint64 // selectors logged

	mu    sync.Mutex // guards the following: records are applied in the order of the log
	log   *MemLog
	state *State
}

// NewPurger returns the purger of a log and its state; neither may have another.
// The state takes the epoch of the log. Where onApply is not nil it is called
// after each record was applied, to free what the record ended, and returns how
// much that was; calls of it may overlap, and come in any order.
func NewPurger(log *MemLog, s *State, onApply func(Record) (freed int)) *Purger {
	s.Begin(log.Head())
	return &Purger{onApply: onApply, log: log, state: s}
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
	Wait       Wait
	Timeout    time.Duration // of the waiting; 0: as long as it takes, which is bounded
}

// ErrFull is returned where the log is away and as many purges wait for it as
// may: nothing was done.
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

// Purge ends whatever the selectors select and was born before now. When it
// returns without error, no Check that begins later on this instance calls such
// a thing Valid; the receipt says what holds elsewhere. The error matches
// [ErrEmpty], [ErrSelector], [ErrStrategy] or [ErrFull], and then nothing was
// done.
//
// The context bounds how long others are waited for, never the purge itself: a
// write that the origin has accepted must end what is stored even where the
// client who sent it has gone.
func (p *Purger) Purge(_ context.Context, purge Purge) (Receipt, error) {
	begin := time.Now()
	if err := purge.validate(); err != nil {
		return Receipt{}, err
	}
	r, applied := p.append(purge.record())
	for _, sel := range r.Selectors {
		p.counts[sel.Kind][r.Strategy].Add(1)
	}
	freed := 0
	if p.onApply != nil {
		freed = p.onApply(r)
	}
	return Receipt{
		Position:  r.Position,
		Instances: 1, Acknowledged: 1, Complete: true, Reached: true,
		Freed:   freed,
		Applied: applied,
		Elapsed: time.Since(begin),
	}, nil
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

// append logs a record and applies it.
func (p *Purger) append(r Record) (Record, Birth) {
	p.mu.Lock()
	r = p.log.Append(r)
	applied := p.state.Apply(r)
	p.mu.Unlock()
	return r, applied
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
