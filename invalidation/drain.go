package invalidation

import (
	"cmp"
	"context"
	"time"
)

// keepFor keeps a record until the log can be reached, and applies it here now.
func (p *Purger) keepFor(r Record) (Record, Receipt, *waiting, error) {
	if err := p.pending.reserve(); err != nil {
		return r, Receipt{}, nil, err
	}
	r.At, r.Waits = time.Now(), false // who waits is not told of a record that is appended later
	// Before it can be appended: State.Logged is told of what was applied.
	applied := p.state.ApplyHere(r)
	if err := p.pending.push(r); err != nil {
		p.state.ApplyAlone(r)
		p.logged()
		return r, Receipt{}, nil, err
	}
	select {
	case p.kept <- struct{}{}:
	default:
	}
	return r, Receipt{Applied: applied, Instances: 1, Acknowledged: 1, Pending: true}, nil, nil
}

// restore applies what waited for the log when the process ended.
func (p *Purger) restore() {
	if p.pending.Len() == 0 {
		return
	}
	list, err := p.pending.oldest(p.pending.Len())
	if err != nil {
		// What cannot be read may select anything.
		list = []kept{{Record: decode(nil)}}
	}
	for _, w := range list {
		p.state.ApplyHere(w.Record)
	}
	p.kept <- struct{}{}
}

// Waiting returns how many purges wait for the log.
func (p *Purger) Waiting() int {
	if p.pending == nil {
		return 0
	}
	return p.pending.Len()
}

const (
	// drainEvery is how often it is tried to append what waits.
	drainEvery = 100 * time.Millisecond
	// drainAtOnce is how many are read, and removed, in one transaction.
	drainAtOnce = 256
)

// Drain appends what waits for the log as soon as that can be reached, until ctx
// ends.
func (p *Purger) Drain(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.kept:
		}
		for p.Waiting() > 0 {
			// Not while there is much to be read first: a record that is not applied
			// here in time would be appended once more.
			if p.Reached() == nil && p.Lag() == 0 && p.drain(ctx) == nil {
				continue
			}
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(drainEvery):
			}
		}
	}
}

// logged tells the state where nothing that was applied here waits for the log.
func (p *Purger) logged() {
	at := p.state.Birth() // before it is looked whether something waits
	if p.pending.Len() == 0 {
		p.state.Logged(at)
	}
}

// drain appends the oldest of what waits. What was appended and not removed before
// the process ended is appended once more: it may end too much, never too little.
// A disk that does not let it be removed keeps the rest waiting, or the same would
// be appended again and again.
func (p *Purger) drain(ctx context.Context) error {
	if err := p.remove(nil); err != nil {
		return err
	}
	list, err := p.pending.oldest(drainAtOnce)
	if err != nil {
		return err
	}
	for i, w := range list {
		if err = p.drainOne(ctx, w.Record); err != nil {
			list = list[:i]
			break
		}
	}
	removed := p.remove(list)
	p.logged()
	return cmp.Or(err, removed)
}

// remove takes away what has been appended: list, and what could not be removed
// before.
func (p *Purger) remove(list []kept) error {
	p.removable = append(p.removable, list...)
	if len(p.removable) == 0 {
		return nil
	}
	if err := p.pending.remove(p.removable); err != nil {
		return err
	}
	p.removable = nil
	return nil
}

func (p *Purger) drainOne(ctx context.Context, r Record) error {
	if r.Strategy == TTL { // the log gives it a later time
		r.TTL = max(r.TTL-time.Since(r.At), 0)
	}
	a, err := p.log.Append(ctx, r, false)
	if err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, local)
	defer cancel()
	if _, ok := p.appended(bounded, a.Record); !ok {
		return bounded.Err()
	}
	return nil
}
