package tiers

import (
	"context"
	"crypto/rand"
	"sync"
	"time"
)

// Claim is the answer to [Remote.Claim].
type Claim[V any] struct {
	// Token is that of the claim; "" where somebody else has it. Who has
	// it must end it, by a Set with it or by Release.
	Token string
	// Value is what is there now, made by open; only with a token.
	Value V
	// Left is for how long the other may hold the key at most.
	Left time.Duration
}

// Claim takes the claim of key that is called name for the caller, for at most
// ttl, where nobody else has it. The error says that the store could not be asked: nobody is kept from fetching.
func (r *Remote[V]) Claim(ctx context.Context, key, name string, ttl time.Duration, fields []string, open func(*Found) V) (c Claim[V], err error) {
	token := rand.Text()
	err = r.do(ctx, OpClaim, func(ctx context.Context) (RemoteResult, error) {
		got, err := r.o.Backend.Claim(ctx, key, name, token, ttl, fields...)
		if err != nil {
			return RemoteError, err
		}
		if !got.Won {
			c.Left = got.Left
			return RemoteLost, nil
		}
		c.Token = token
		c.Value, _ = r.opened(got.Index, got.Frames, open)
		return RemoteOK, nil
	})
	return c, err
}

// Release gives a claim back some time soon. It does not block; a claim that
// cannot be given back ends by itself. An empty token is none.
func (r *Remote[V]) Release(key, name, token string) {
	if token == "" {
		return
	}
	if !r.Up() || !r.queue.push(job{key: key, claim: name, token: token}) {
		r.observe(OpRelease, RemoteDropped, 0)
	}
}

func (r *Remote[V]) release(ctx context.Context, key, name, token string) {
	if token == "" {
		return
	}
	_ = r.do(ctx, OpRelease, func(ctx context.Context) (RemoteResult, error) { // it ends by itself
		return RemoteOK, r.o.Backend.Release(ctx, key, name, token)
	})
}

// waiting are those who wait for the end of a claim, by its key.
type waiting struct {
	mu   sync.Mutex // guards keys
	keys map[string]*watch
}

type watch struct {
	ended chan struct{}
	count int // who waits
}

func (w *waiting) init() { w.keys = map[string]*watch{} }

// Watch returns a channel that is closed when the claim of key ends, or
// something has been stored by its holder. That may be missed, so whoever waits
// must not wait for ever; stop must be called.
func (r *Remote[V]) Watch(key string) (ended <-chan struct{}, stop func()) {
	w := &r.waiting
	w.mu.Lock()
	defer w.mu.Unlock()
	it := w.keys[key]
	if it == nil {
		it = &watch{ended: make(chan struct{})}
		w.keys[key] = it
	}
	it.count++
	return it.ended, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if it.count--; it.count == 0 && w.keys[key] == it {
			delete(w.keys, key)
		}
	}
}

func (w *waiting) wake(key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if it := w.keys[key]; it != nil {
		delete(w.keys, key)
		close(it.ended)
	}
}

// listen wakes those who wait, until ctx ends.
func (r *Remote[V]) listen(ctx context.Context) {
	for ctx.Err() == nil {
		_ = r.o.Backend.Listen(ctx, r.waiting.wake) // a hint: who waits looks again by itself
		select {
		case <-ctx.Done():
		case <-time.After(r.o.OpenFor):
		}
	}
}
