package tiers

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/cacheproxy/cacheproxy/invalidation"
)

// RemoteOptions say what a Remote is made of. Backend, Codec.MaxBytes, Timeout,
// Failures and OpenFor must be set.
type RemoteOptions struct {
	Backend Backend
	Codec   Codec

	// Timeout bounds each operation.
	Timeout time.Duration
	// Failures in a row open the breaker: nothing is asked any more. Every
	// OpenFor a ping tries whether the store is back.
	Failures int
	OpenFor  time.Duration
	// Lag is for how long after a Delete a Get may still see what was there
	// before, because it reads from a replica. For so long nothing is read of
	// that key.
	Lag time.Duration

	// Observe is told of each operation; Changed of the breaker. Either may be
	// nil, and must be quick.
	Observe func(op Operation, result RemoteResult, took time.Duration)
	Changed func(open bool)
}

// Operation names what was asked of a remote store. The list is closed: it is
// the label op of metrics.
type Operation string

// The operations.
const (
	OpGet     Operation = "get"
	OpSet     Operation = "set"
	OpDelete  Operation = "delete"
	OpClaim   Operation = "claim"
	OpRelease Operation = "release"
	OpKeep    Operation = "keep"
	OpKept    Operation = "kept"
	OpSweep   Operation = "sweep"
)

// Operations returns all operations.
func Operations() []Operation {
	return []Operation{OpGet, OpSet, OpDelete, OpClaim, OpRelease, OpKeep, OpKept, OpSweep}
}

// RemoteResult is what has come of an operation. The list is closed: it is the
// label result of metrics.
type RemoteResult string

// The results.
const (
	RemoteOK      RemoteResult = "ok"      // done; of a get: something was there
	RemoteMiss    RemoteResult = "miss"    // nothing was there
	RemoteLost    RemoteResult = "lost"    // somebody else holds the claim, or has stored something newer
	RemoteCorrupt RemoteResult = "corrupt" // what was there is not a frame of ours
	RemoteTooBig  RemoteResult = "too-big" // it is over the limit
	RemoteRefused RemoteResult = "refused" // the store is full, or may only be read
	RemoteTimeout RemoteResult = "timeout"
	RemoteError   RemoteResult = "error"
	RemoteOpen    RemoteResult = "open"    // the breaker is open: nothing was asked
	RemoteDropped RemoteResult = "dropped" // the queue was full
)

// RemoteResults returns all results.
func RemoteResults() []RemoteResult {
	return []RemoteResult{
		RemoteOK, RemoteMiss, RemoteLost, RemoteCorrupt, RemoteTooBig, RemoteRefused, RemoteTimeout, RemoteError, RemoteOpen, RemoteDropped,
	}
}

// ErrAway says that the remote store is not asked, because it has failed, or
// because what it holds of the key has been deleted and it may not know yet.
var ErrAway = errors.New("the remote store is not asked")

// Remote is a remote tier that is never in the way: each operation has a
// deadline, a breaker keeps from asking a store that fails, concurrent reads of
// one thing are one, and writes go through a bounded queue. V is what a read is
// made into. A Remote is safe for concurrent use.
type Remote[V any] struct {
	o       RemoteOptions
	breaker *gobreaker.CircuitBreaker[RemoteResult]
	queue   queue
	deleted deleted
	waiting waiting

	mu      sync.Mutex                       // guards flights
	flights map[string]map[string]*flight[V] // by key and fields

	corrupt atomic.Uint64
	swept   swept
}

// flight is a read under way. value and err may be read once done is closed.
type flight[V any] struct {
	done  chan struct{}
	value V
	err   error
}

// NewRemote returns a Remote over a backend. Run must be running for anything
// to be written, and for the breaker to close again.
func NewRemote[V any](o RemoteOptions) *Remote[V] {
	r := &Remote[V]{o: o, flights: map[string]map[string]*flight[V]{}}
	r.queue.init()
	r.deleted.init(o.Lag)
	r.waiting.init()
	r.breaker = gobreaker.NewCircuitBreaker[RemoteResult](gobreaker.Settings{
		Name:         "redis",
		Timeout:      o.OpenFor,
		MaxRequests:  1,
		ReadyToTrip:  func(c gobreaker.Counts) bool { return int(c.ConsecutiveFailures) >= o.Failures },
		IsSuccessful: func(err error) bool { return err == nil || errors.Is(err, ErrRefused) || errors.Is(err, ErrFrame) },
		IsExcluded: func(err error) bool {
			var left *leftError
			return errors.As(err, &left)
		},
		OnStateChange: func(_ string, from, to gobreaker.State) {
			if o.Changed != nil && (from == gobreaker.StateClosed || to == gobreaker.StateClosed) {
				o.Changed(to == gobreaker.StateOpen)
			}
		},
	})
	return r
}

// Up reports whether the store is asked: the breaker is closed.
func (r *Remote[V]) Up() bool { return r.breaker.State() == gobreaker.StateClosed }

// RemoteStats are the figures of a Remote.
type RemoteStats struct {
	Breaker int    // 0 closed, 1 half-open, 2 open
	Queued  int    // writes that wait
	Bytes   int64  // of their bodies
	Deletes int    // that the store does not know of yet
	Corrupt uint64 // frames that were none
	Swept   uint64 // keys that Sweep has looked at
	Removed uint64 // frames that it has removed
}

// Stats returns the figures as they are now.
func (r *Remote[V]) Stats() RemoteStats {
	s := RemoteStats{Breaker: int(r.breaker.State()), Deletes: r.deleted.pending(), Corrupt: r.corrupt.Load()}
	s.Swept, s.Removed = r.swept.keys.Load(), r.swept.removed.Load()
	s.Queued, s.Bytes = r.queue.size()
	return s
}

// Found is what a read has found. It is for the function that is given it alone.
type Found struct {
	Index
	codec   *Codec
	frames  [][]byte
	corrupt int
}

// Decode reads the frame of the field at place i of those that were asked for:
// the metadata into meta. ok is false where there is none, or none that can be
// read. The body must not be changed.
func (f *Found) Decode(i int, meta any) (body []byte, born invalidation.Position, ok bool) {
	if f.frames[i] == nil {
		return nil, born, false
	}
	body, born, err := f.codec.Decode(f.frames[i], meta)
	if err != nil {
		f.corrupt++
		return nil, born, false
	}
	return body, born, true
}

func (f *Found) empty() bool {
	for _, b := range f.frames {
		if b != nil {
			return false
		}
	}
	return true
}

// Get reads fields of a key and returns what open makes of them. Calls for the
// same fields of the same key at the same time are one read, and all get what
// the open of the first has made. The error says that nothing is known of the
// key; an absent key is none. It comes after Timeout at most, whoever waits.
func (r *Remote[V]) Get(ctx context.Context, key string, fields []string, open func(*Found) V) (V, error) {
	v, done, err := r.Hold(ctx, key, fields, open)
	done()
	return v, err
}

// Hold is Get for who will do something that makes further reads needless, such
// as to begin a fetch that others can join: until done is called, whoever asks
// gets what this read has found. It must be called, and soon.
func (r *Remote[V]) Hold(ctx context.Context, key string, fields []string, open func(*Found) V) (v V, done func(), err error) {
	if r.deleted.shuns(key, time.Now()) {
		return v, nothing, ErrAway
	}
	f, under, land := r.board(key, strings.Join(fields, "\x00"))
	if under {
		select {
		case <-f.done:
			return f.value, nothing, f.err
		case <-ctx.Done():
			return v, nothing, ctx.Err()
		}
	}
	defer close(f.done)
	defer func() {
		if f.err != nil { // also where open panics
			land()
		}
	}()
	// Others wait for this read: it does not end with the one who began it.
	f.value, f.err = r.read(context.WithoutCancel(ctx), key, fields, open)
	return f.value, land, f.err
}

func nothing() {}

// board returns the read of these fields that is under way, or a new one, which the caller must do; land makes that end being found.
func (r *Remote[V]) board(key, fields string) (f *flight[V], under bool, land func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f, under = r.flights[key][fields]; under {
		return f, true, nothing
	}
	f = &flight[V]{done: make(chan struct{}), err: ErrAway}
	if r.flights[key] == nil {
		r.flights[key] = map[string]*flight[V]{}
	}
	r.flights[key][fields] = f
	return f, false, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.flights[key][fields] != f {
			return
		}
		if delete(r.flights[key], fields); len(r.flights[key]) == 0 {
			delete(r.flights, key)
		}
	}
}

// ground lets nobody join the reads of key that are under way: they may have seen what is being deleted.
func (r *Remote[V]) ground(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.flights, key)
}

func (r *Remote[V]) read(ctx context.Context, key string, fields []string, open func(*Found) V) (v V, err error) {
	err = r.do(ctx, OpGet, func(ctx context.Context) (RemoteResult, error) {
		index, frames, err := r.o.Backend.Get(ctx, key, fields...)
		if err != nil {
			return RemoteError, err
		}
		var result RemoteResult
		v, result = r.opened(index, frames, open)
		return result, nil
	})
	return v, err
}

// opened lets open look at what was read.
func (r *Remote[V]) opened(index Index, frames [][]byte, open func(*Found) V) (V, RemoteResult) {
	f := &Found{Index: index, codec: &r.o.Codec, frames: frames}
	v := open(f)
	switch {
	case f.corrupt > 0:
		r.corrupt.Add(uint64(f.corrupt))
		return v, RemoteCorrupt
	case f.empty():
		return v, RemoteMiss
	}
	return v, RemoteOK
}

// do runs one operation under the deadline and the breaker.
func (r *Remote[V]) do(ctx context.Context, op Operation, f func(context.Context) (RemoteResult, error)) error {
	// Not left to the breaker, which would let one of the requests try whether
	// the store is back, and wait for it in vain. That is what probe is for.
	if !r.Up() {
		r.observe(op, RemoteOpen, 0)
		return ErrAway
	}
	return r.try(ctx, op, f)
}

func (r *Remote[V]) try(ctx context.Context, op Operation, f func(context.Context) (RemoteResult, error)) error {
	bounded, cancel := context.WithTimeout(ctx, r.o.Timeout)
	defer cancel()
	begin := time.Now()
	result, err := r.breaker.Execute(func() (RemoteResult, error) {
		result, err := f(bounded)
		if err != nil && ctx.Err() != nil {
			err = &leftError{err}
		}
		return result, err
	})
	r.observe(op, resultOf(result, err), time.Since(begin))
	return err
}

// leftError is the error of an operation whose caller left before its deadline. It says nothing of the store, and a few callers without
// time must not make everybody do without it.
type leftError struct{ error }

func (e *leftError) Unwrap() error { return e.error }

func (r *Remote[V]) observe(op Operation, result RemoteResult, took time.Duration) {
	if r.o.Observe != nil {
		r.o.Observe(op, result, took)
	}
}

func resultOf(result RemoteResult, err error) RemoteResult {
	var timeout interface{ Timeout() bool }
	switch {
	case err == nil:
		return result
	case errors.Is(err, gobreaker.ErrOpenState), errors.Is(err, gobreaker.ErrTooManyRequests):
		return RemoteOpen
	case errors.Is(err, ErrFrame):
		return RemoteCorrupt
	case errors.Is(err, ErrRefused):
		return RemoteRefused
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return RemoteTimeout
	}
	return RemoteError
}

// Keep stores a small value that is no frame under a name of its own.
func (r *Remote[V]) Keep(ctx context.Context, name string, value []byte, ttl time.Duration) error {
	return r.do(ctx, OpKeep, func(ctx context.Context) (RemoteResult, error) {
		return RemoteOK, r.o.Backend.Keep(ctx, name, value, ttl)
	})
}

// Kept returns what Keep has stored; nil where there is nothing.
func (r *Remote[V]) Kept(ctx context.Context, name string) (value []byte, err error) {
	err = r.do(ctx, OpKept, func(ctx context.Context) (_ RemoteResult, err error) {
		if value, err = r.o.Backend.Kept(ctx, name); value == nil {
			return RemoteMiss, err
		}
		return RemoteOK, err
	})
	return value, err
}

// Run writes what is queued, tries whether a store that failed is back, and
// listens for claims that end, until ctx does. What is still queued then is
// dropped: see Flush.
func (r *Remote[V]) Run(ctx context.Context) error {
	var work sync.WaitGroup
	for range writers {
		work.Go(func() { r.write(ctx) })
	}
	work.Go(func() { r.probe(ctx) })
	work.Go(func() { r.listen(ctx) })
	work.Wait()
	return nil
}

// probe pings a store that has failed, and brings it the deletes that it has
// missed.
func (r *Remote[V]) probe(ctx context.Context) {
	tick := time.NewTicker(max(r.o.OpenFor/4, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if r.breaker.State() == gobreaker.StateHalfOpen {
			bounded, cancel := context.WithTimeout(ctx, r.o.Timeout)
			_, _ = r.breaker.Execute(func() (RemoteResult, error) { return RemoteOK, r.o.Backend.Ping(bounded) }) // the breaker takes note
			cancel()
		}
		if r.Up() {
			r.deleteAgain(ctx)
		}
	}
}
