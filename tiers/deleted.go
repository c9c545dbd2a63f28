package tiers

import (
	"context"
	"crypto/rand"
	"sync"
	"time"
)

// maxDeleted bounds how many deletes are remembered that the store does not know
// of. Beyond, nothing is read of the store until it knows of all.
const maxDeleted = 100_000

// deleted remembers the keys of which the store may hold what was deleted: those
// of deletes that it has not confirmed, and for a while those that a replica may
// not know of.
type deleted struct {
	lag time.Duration

	mu    sync.Mutex // guards the following
	keys  map[string]*deletion
	count int // of keys that the store does not know of
}

// deletion is the last Delete of a key. known is when the store had confirmed
// it; zero: it has not.
type deletion struct {
	mark  string
	known time.Time
}

func (d *deleted) init(lag time.Duration) {
	d.lag = lag
	d.keys = map[string]*deletion{}
}

// add remembers that key is being deleted.
func (d *deleted) add(key string) *deletion {
	d.mu.Lock()
	defer d.mu.Unlock()
	if old := d.keys[key]; old == nil || !old.known.IsZero() {
		d.count++
	}
	it := &deletion{mark: rand.Text()}
	d.keys[key] = it
	return it
}

// confirm takes note that the store knows of it, if it is still the last one.
func (d *deleted) confirm(key string, it *deletion, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.keys[key] != it {
		return
	}
	d.count--
	it.known = now
	if d.lag == 0 {
		delete(d.keys, key)
	}
}

// shuns reports whether nothing may be read of key.
func (d *deleted) shuns(key string, now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	it := d.keys[key]
	return d.count > maxDeleted || it != nil && (it.known.IsZero() || now.Sub(it.known) < d.lag)
}

func (d *deleted) pending() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.count
}

// unknown returns the deletes that the store does not know of, and forgets those
// that every replica knows of.
func (d *deleted) unknown(now time.Time) map[string]*deletion {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.keys) == 0 {
		return nil
	}
	left := map[string]*deletion{}
	for key, it := range d.keys {
		switch {
		case it.known.IsZero():
			left[key] = it
		case now.Sub(it.known) >= d.lag:
			delete(d.keys, key)
		}
	}
	return left
}

// Delete removes what the store holds under key, and sees to it that nothing
// that was fetched before is stored after it. It takes no longer than Timeout.
// Where the store is away, the error says so; it is told when it is back, and
// nothing is read of the key here until then.
func (r *Remote[V]) Delete(ctx context.Context, key string) error {
	_, err := r.Replace(ctx, key)
	return err
}

// Replace is Delete for a caller that will store something newer at once, with a
// Set that bears the mark it returns.
func (r *Remote[V]) Replace(ctx context.Context, key string) (mark string, err error) {
	it := r.deleted.add(key) // from now on nothing is read of the key, and so no read begins
	r.ground(key)
	return it.mark, r.delete(ctx, key, it)
}

func (r *Remote[V]) delete(ctx context.Context, key string, it *deletion) error {
	err := r.do(ctx, OpDelete, func(ctx context.Context) (RemoteResult, error) {
		return RemoteOK, r.o.Backend.Delete(ctx, key, it.mark)
	})
	if err == nil {
		r.deleted.confirm(key, it, time.Now())
	}
	return err
}

// deleteAgain tells the store of the deletes that it has missed.
func (r *Remote[V]) deleteAgain(ctx context.Context) {
	for key, it := range r.deleted.unknown(time.Now()) {
		if ctx.Err() != nil || !r.Up() {
			return
		}
		_ = r.delete(ctx, key, it) // the next turn tries again
	}
}
