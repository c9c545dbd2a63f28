package tiers

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/cacheproxy/cacheproxy/invalidation"
)

const (
	// writers is how many writes are under way at once.
	writers = 4
	// queueWrites and queueBytes bound what waits to be written. What comes
	// when it is full is dropped: another request will bring it again.
	queueWrites = 4096
	queueBytes  = 64 << 20
	// jitter is by which share lifetimes in the store are shortened at most, so
	// that what was stored at once does not expire at once.
	jitter = 0.1
)

// Store is a value on its way to the remote store.
type Store struct {
	Key, Field string
	Note, Mark string
	Born       invalidation.Position
	Time       time.Time     // when it was fetched; see Write
	TTL        time.Duration // at most so long it stays
	Size       int64         // of the body
	Claim      string        // which it ends; see Remote.Claim
	Token      string        // of the claim

	// Seal returns what is to be encoded. It is called once, by another
	// goroutine, or not at all.
	Seal func() (meta any, body []byte, encoded bool)
}

// queue holds what is to be written.
type queue struct {
	jobs chan job

	mu    sync.Mutex // guards the following
	bytes int64
	idle  chan struct{} // closed when nothing is queued or being written; nil where nobody waits for that
	busy  int           // jobs queued or being written
}

// job is something to do off the request's path: store, or release.
type job struct {
	store             *Store
	key, claim, token string // to be released
}

func (j *job) size() int64 {
	if j.store == nil {
		return 0
	}
	return j.store.Size
}

func (q *queue) init() { q.jobs = make(chan job, queueWrites) }

// push adds a job, or returns false where there is no room.
func (q *queue) push(j job) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if size := j.size(); size > 0 && q.bytes > 0 && q.bytes+size > queueBytes {
		return false
	}
	select {
	case q.jobs <- j:
		q.busy++
		q.bytes += j.size()
		return true
	default:
		return false
	}
}

// done takes note that a job has ended.
func (q *queue) done(j job) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.busy--
	q.bytes -= j.size()
	if q.busy == 0 && q.idle != nil {
		close(q.idle)
		q.idle = nil
	}
}

func (q *queue) size() (jobs int, bytes int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.busy, q.bytes
}

// wait returns a channel that is closed when nothing is left; nil where nothing
// is.
func (q *queue) wait() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.busy > 0 && q.idle == nil {
		q.idle = make(chan struct{})
	}
	return q.idle
}

// Set stores a value some time soon, or drops it where the queue is full, the
// store is away, it is too large, or it was fetched so long ago that a Delete
// meanwhile may have been forgotten. It does not block.
func (r *Remote[V]) Set(s *Store) {
	switch {
	case s.Size > int64(r.o.Codec.MaxBytes):
		r.observe(OpSet, RemoteTooBig, 0)
	case !r.Up():
		r.observe(OpSet, RemoteOpen, 0)
	case s.TTL < time.Millisecond || time.Since(s.Time) > markTTL/2:
		r.observe(OpSet, RemoteDropped, 0)
	case !r.queue.push(job{store: s}):
		r.observe(OpSet, RemoteDropped, 0)
	default:
		return
	}
	r.Release(s.Key, s.Claim, s.Token)
}

// Flush waits until all that was queued has been written or given up. The error
// is that of ctx.
func (r *Remote[V]) Flush(ctx context.Context) error {
	idle := r.queue.wait()
	if idle == nil {
		return nil
	}
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// write does the queue's jobs until ctx ends.
func (r *Remote[V]) write(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case j := <-r.queue.jobs:
			if j.store != nil {
				r.store(ctx, j.store)
			} else {
				r.release(ctx, j.key, j.claim, j.token)
			}
			r.queue.done(j)
		}
	}
}

func (r *Remote[V]) store(ctx context.Context, s *Store) {
	meta, body, encoded := s.Seal()
	frame, err := r.o.Codec.Encode(meta, body, encoded, s.Born)
	if err != nil {
		r.observe(OpSet, RemoteTooBig, 0)
		r.release(ctx, s.Key, s.Claim, s.Token)
		return
	}
	err = r.do(ctx, OpSet, func(ctx context.Context) (RemoteResult, error) {
		stored, err := r.o.Backend.Set(ctx, s.Key, Write{
			Field: s.Field, Frame: frame, Note: s.Note, Mark: s.Mark, Born: s.Born, Time: s.Time,
			Claim: s.Claim, Token: s.Token,
			TTL: s.TTL - time.Duration(rand.Float64()*jitter*float64(s.TTL)),
		})
		if !stored {
			return RemoteLost, err
		}
		return RemoteOK, err
	})
	if errors.Is(err, ErrRefused) { // a full store still takes claims back
		r.release(ctx, s.Key, s.Claim, s.Token)
	}
}
