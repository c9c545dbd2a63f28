package tiers

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/cacheproxy/cacheproxy/invalidation"
)

// Sweepable is a remote store whose keys can be gone through, as far as
// [Remote.Sweep] needs it. What holds for a [Backend] holds for it too.
type Sweepable interface {
	// Walk returns what some keys hold, about as many as count, and where to go
	// on; from is where the last Walk said so, and "" at the beginning. A key
	// that is there all the while is seen at least once.
	Walk(ctx context.Context, from string, count int) (p Page, err error)

	// Heads returns the frames of the fields of key without their bodies; nil
	// where there is none. It may return fewer than it was asked for, those of
	// the first fields, but never none.
	Heads(ctx context.Context, key string, fields []string) ([]Head, error)

	// Remove removes the frame of a row, where it is still the one that the row
	// stands for, and reports whether it did.
	Remove(ctx context.Context, key string, r Row) (removed bool, err error)

	// Extend lets the claim of key that is called name last for ttl from now, if
	// token has it, and reports whether it has.
	Extend(ctx context.Context, key, name, token string, ttl time.Duration) (held bool, err error)
}

// Page is a part of what a store holds.
type Page struct {
	Keys []Held
	Next string // ""; it is the last
}

// Held is what a key holds.
type Held struct {
	Key  string
	Rows []Row
}

// Row stands for one frame.
type Row struct {
	Field string
	Born  invalidation.Position
	Time  int64 // of the Write, in milliseconds since 1970
}

// Head is the beginning of a frame, up to its body.
type Head []byte

// Decode reads the metadata into meta. The error matches ErrFrame or ErrVersion.
//
// The checksum of a frame is behind its body, so what was changed on the way is
// not noticed here. Nothing may be made of the metadata but the decision to do
// without the frame.
func (h Head) Decode(meta any) (born invalidation.Position, err error) {
	f, size, err := parseHead(h)
	if err != nil {
		return born, err
	}
	if size > len(h)-frameHeader {
		return born, fmt.Errorf("%w: metadata of %d bytes in a head of %d", ErrFrame, size, len(h))
	}
	if err := f.serializer.unmarshal(h[frameHeader:frameHeader+size], meta); err != nil {
		return born, fmt.Errorf("%w: metadata in %v: %w", ErrFrame, f.serializer, err)
	}
	return f.born, nil
}

const (
	// sweepClaim is the key of the claim that the sweeping instance has, and
	// sweepLease for how long. It is extended when a third of that has passed.
	sweepClaim = "sweep"
	sweepName  = "lease"
	sweepLease = 10 * time.Second
	// sweepRest is the least time from the beginning of one round to that of the
	// next: a store with few keys is not walked all the time.
	sweepRest = 10 * time.Second
	// sweepPage is how many keys are looked at in one go, at most.
	sweepPage = 100
)

// Sweep says how the remote store is gone through.
type Sweep struct {
	// Rate is how many keys a second the store looks at, those of others in the
	// same database included. It must be positive.
	Rate int
	// Suspect reports whether what was born there may be dead. Only then is it
	// read.
	Suspect func(invalidation.Position) bool
	// Dead reports whether the frame is to be removed.
	Dead func(key string, h Head) bool
}

// swept are the figures of Sweep.
type swept struct{ keys, removed atomic.Uint64 }

// Sweep goes through the remote store, round after round, and removes what is
// dead, until ctx ends. Of all instances one does it, which has a claim; the
// others wait for that to end. It stops, and gives the claim back, where the
// store fails or is not asked, and tries again later. The Backend must be
// [Sweepable].
func (r *Remote[V]) Sweep(ctx context.Context, s Sweep) error {
	store, ok := r.o.Backend.(Sweepable)
	if !ok {
		return errors.New("the remote store cannot be gone through")
	}
	for ctx.Err() == nil {
		if b := r.broom(ctx, store, s); b != nil {
			b.rounds(ctx)
			b.release()
		}
		sleep(ctx, sweepLease/3)
	}
	return nil
}

// broom is what the instance has that sweeps.
type broom struct {
	Sweep
	store   Sweepable
	do      func(context.Context, func(context.Context) (RemoteResult, error)) error
	release func()
	swept   *swept
	token   string
	until   time.Time // then the claim may be another's
}

// broom returns the broom where nobody else has it, and else nil.
func (r *Remote[V]) broom(ctx context.Context, store Sweepable, s Sweep) *broom {
	begin := time.Now()
	c, err := r.Claim(ctx, sweepClaim, sweepName, sweepLease, nil, func(*Found) (v V) { return v })
	if err != nil || c.Token == "" {
		return nil
	}
	return &broom{
		Sweep: s, store: store, swept: &r.swept, token: c.Token, until: begin.Add(sweepLease),
		do: func(ctx context.Context, f func(context.Context) (RemoteResult, error)) error {
			return r.do(ctx, OpSweep, f)
		},
		release: func() { r.release(context.WithoutCancel(ctx), sweepClaim, sweepName, c.Token) },
	}
}

// rounds sweeps for as long as the broom is held and the store is well.
func (b *broom) rounds(ctx context.Context) {
	for {
		begin := time.Now()
		if b.round(ctx) != nil || b.wait(ctx, begin.Add(sweepRest)) != nil {
			return // what has failed is counted as an operation
		}
	}
}

// round goes through all keys once. The error says that the broom is not held, that the store does not do what it is asked for, or
// that ctx has ended.
func (b *broom) round(ctx context.Context) error {
	count := min(max(b.Rate/10, 1), sweepPage)
	for from := ""; ; {
		begin := time.Now()
		var p Page
		err := b.ask(ctx, func(ctx context.Context) (err error) {
			p, err = b.store.Walk(ctx, from, count)
			return err
		})
		if err != nil {
			return err
		}
		for _, held := range p.Keys {
			if err := b.sweep(ctx, held); err != nil {
				return err
			}
			b.swept.keys.Add(1)
		}
		// A page may be larger than it was asked to be.
		spent := time.Duration(max(len(p.Keys), count)) * time.Second / time.Duration(b.Rate)
		if err := b.wait(ctx, begin.Add(spent)); err != nil || p.Next == "" {
			return err
		}
		from = p.Next
	}
}

// sweep removes what is dead of one key.
func (b *broom) sweep(ctx context.Context, held Held) error {
	var rows []Row
	var fields []string
	for _, row := range held.Rows {
		if b.Suspect(row.Born) {
			rows, fields = append(rows, row), append(fields, row.Field)
		}
	}
	for len(rows) > 0 {
		var heads []Head
		err := b.ask(ctx, func(ctx context.Context) (err error) {
			heads, err = b.store.Heads(ctx, held.Key, fields)
			return err
		})
		if err != nil {
			return err
		}
		for i, head := range heads {
			if head == nil || !b.Dead(held.Key, head) {
				continue
			}
			if err := b.remove(ctx, held.Key, rows[i]); err != nil {
				return err
			}
		}
		rows, fields = rows[len(heads):], fields[len(heads):]
	}
	return nil
}

func (b *broom) remove(ctx context.Context, key string, row Row) error {
	return b.ask(ctx, func(ctx context.Context) error {
		removed, err := b.store.Remove(ctx, key, row)
		if removed {
			b.swept.removed.Add(1)
		}
		return err
	})
}

// ask does one thing with the store, where the broom is held.
func (b *broom) ask(ctx context.Context, f func(context.Context) error) error {
	if err := b.hold(ctx); err != nil {
		return err
	}
	return b.do(ctx, func(ctx context.Context) (RemoteResult, error) { return RemoteOK, f(ctx) })
}

// errTaken says that another instance may have the broom.
var errTaken = errors.New("another instance may be sweeping")

// hold sees to it that the broom is held. Its time counts from before the store was asked, by the clock here.
func (b *broom) hold(ctx context.Context) error {
	now := time.Now()
	if err := ctx.Err(); err != nil {
		return err
	}
	if now.Before(b.until.Add(-sweepLease * 2 / 3)) {
		return nil
	}
	err := b.do(ctx, func(ctx context.Context) (RemoteResult, error) {
		held, err := b.store.Extend(ctx, sweepClaim, sweepName, b.token, sweepLease)
		if !held {
			b.until = now
			return RemoteLost, err
		}
		b.until = now.Add(sweepLease)
		return RemoteOK, err
	})
	if err == nil && !time.Now().Before(b.until) {
		return errTaken
	}
	return err
}

// wait waits until then, and holds the broom.
func (b *broom) wait(ctx context.Context, then time.Time) error {
	for {
		left := time.Until(then)
		if left <= 0 {
			return ctx.Err()
		}
		sleep(ctx, min(left, sweepLease/3))
		if err := b.hold(ctx); err != nil {
			return err
		}
	}
}

// sleep returns after d, or when ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
