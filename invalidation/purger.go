package invalidation

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Purger is the one door for purges: it logs them, applies them here, has the
// memory freed, and answers with a [Receipt].
type Purger struct {
	onApply func(Record) (freed int)
	counts  [kinds]atomic.Uint64 // selectors logged, by kind

	mu    sync.Mutex // guards the following: records are applied in the order of the log
	log   *MemLog
	state *State
}

// NewPurger returns the purger of a log and its state; neither may have another.
// The state takes the epoch of the log. Where onApply is not nil it is called
// after each record was applied, to free what the record ended, and returns how
// much that was; calls of it may overlap, and come in any order.
func NewPurger(log *MemLog, s *State, onApply func(Record) (freed int)) *Purger {
	s.begin(log.Head().Epoch)
	return &Purger{onApply: onApply, log: log, state: s}
}

// Receipt says what has become of a purge.
type Receipt struct {
	Position                                   // of the record
	Instances, Acknowledged, ExpiredLeases int // how many there are, have applied it, have lost the right to answer
	Pending                                bool
	Complete                               bool // every instance has acknowledged it or lost its lease
	Freed                                  int  // what was dropped from this instance's memory
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
// returns without error, no Check that begins later calls such a thing Valid.
// The error matches [ErrEmpty] or [ErrSelector], or both, and then nothing was
// done.
//
// The context bounds how long others are waited for, never the purge itself: a
// write that the origin has accepted must end what is stored even where the
// client who sent it has gone. On an instance alone nothing is waited for.
func (p *Purger) Purge(_ context.Context, selectors []Selector) (Receipt, error) {
	begin := time.Now()
	if err := validate(selectors); err != nil {
		return Receipt{}, err
	}
	r := p.append(slices.Clone(selectors))
	for _, sel := range r.Selectors {
		p.counts[sel.Kind].Add(1)
	}
	freed := 0
	if p.onApply != nil {
		freed = p.onApply(r)
	}
	return Receipt{
		Position:  r.Position,
		Instances: 1, Acknowledged: 1, Complete: true,
		Freed:   freed,
		Elapsed: time.Since(begin),
	}, nil
}

// append logs a record and applies it.
func (p *Purger) append(selectors []Selector) Record {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.log.Append(Record{Selectors: selectors, Strategy: Immediate})
	p.state.Apply(r)
	return r
}

// Count is how many selectors of a kind were logged with a strategy.
type Count struct {
	Kind     Kind
	Strategy Strategy
	Total    uint64
}

// Stats returns the counts since the start, one for each kind and strategy.
func (p *Purger) Stats() []Count {
	counts := make([]Count, 0, kinds)
	for k := range p.counts {
		counts = append(counts, Count{Kind(k), Immediate, p.counts[k].Load()})
	}
	return counts
}
