package tiers

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/cacheproxy/cacheproxy/invalidation"
)

// PanicError is what the callers of a load get whose loader panicked. The load
// runs in a goroutine of its own, where nobody could recover the panic.
type PanicError struct {
	Value any    // of the panic
	Stack []byte // of the loader
}

// Error implements error.
func (e *PanicError) Error() string { return fmt.Sprintf("the loader panicked: %v", e.Value) }

// Unwrap returns the value of the panic where that was an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

var errGoexit = errors.New("the loader ended its goroutine")

// load is one load for all who ask for the key while it runs. value and err may
// be read once done is closed.
type load[V any] struct {
	key     string
	state   *state[V]
	seq     uint64
	born    invalidation.Birth // of what it will bring
	label   *label             // as far as it is known before the loader has returned; nil without a State
	loader  func(context.Context) (V, error)
	options []ValueOption
	enough  func(*item[V]) bool // whether what Redis has makes the loader needless
	behind  bool                // in the background: nobody waits for it

	done  chan struct{}
	value V
	err   error
}

// GetOrLoad returns the value of key from memory, or else from Redis, or else
// from loader, and stores what that returns. Calls for one key at the same time
// are one load, and all get what it brings. Where the value is ripe by
// CacheOptions.RefreshAt it is returned, and loaded anew in the background.
//
// The loader runs in a goroutine of its own, under a context that has the
// values of the first caller's, but ends after LoadTimeout and no earlier:
// a caller that leaves does not cancel the others, and what is loaded is
// stored although nobody waits for it any more. A caller leaves when its own
// context ends, and gets that context's error.
//
// An error of the loader goes to all who wait, and is not stored. So does a
// panic, as a *PanicError. The options are those of the value that is loaded.
//
// A purge that comes while the loader runs ends what it will return, as far as
// it selects that, for all who ask later: they do not join this load. What was
// purged softly is returned, and loaded anew in the background.
func (c *Cache[V]) GetOrLoad(ctx context.Context, key string, loader func(context.Context) (V, error), options ...ValueOption) (V, error) {
	now := time.Now()
	if it, verdict := c.inMemory(key, now); it != nil {
		c.count.memoryHits.Add(1)
		if verdict == soft || c.o.RefreshAt > 0 && it.isRipe(c.o.RefreshAt, now) {
			c.refreshBehind(ctx, key, it, verdict, loader, options, now)
		}
		return it.value, nil
	}
	return c.join(ctx, &load[V]{key: key, loader: loader, options: options, enough: func(*item[V]) bool { return true }})
}

// Refresh calls loader whatever is stored, stores what it returns, and returns
// it. It does not join a load that began before: that may have seen what the
// caller knows to be old. Who comes later joins this one.
func (c *Cache[V]) Refresh(ctx context.Context, key string, loader func(context.Context) (V, error), options ...ValueOption) (V, error) {
	return c.join(ctx, &load[V]{key: key, loader: loader, options: options})
}

// join begins l, or joins the load of its key that is under way, and waits.
func (c *Cache[V]) join(ctx context.Context, l *load[V]) (v V, err error) {
	if err := ctx.Err(); err != nil {
		return v, err
	}
	under, it, err := c.begin(ctx, l)
	switch {
	case err != nil:
		return v, err
	case it != nil:
		c.count.memoryHits.Add(1)
		return it.value, nil
	case under != l:
		c.count.collapsed.Add(1)
	}
	select {
	case <-under.done:
		return under.value, under.err
	case <-ctx.Done():
		return v, ctx.Err()
	}
}

// begin starts l and returns it, or returns the load that is to be joined in its
// place, or the value that another load has just stored.
func (c *Cache[V]) begin(ctx context.Context, l *load[V]) (*load[V], *item[V], error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	forced := l.enough == nil
	if s := c.keys[l.key]; s != nil && s.load != nil && !forced && c.joinable(s.load) {
		return s.load, nil, nil
	}
	// The second look: a load that ended between our look and this one has
	// stored what we want.
	if it, ok := c.memory.Peek(l.key); ok && !forced && !l.behind && c.verdict(l.key, it, time.Now()) == good {
		return nil, it, nil
	}
	s, err := c.use(l.key)
	if err != nil {
		return nil, nil, err
	}
	l.state, l.seq, l.done, l.err = s, c.clock.Add(1), make(chan struct{}), errGoexit
	l.born = c.birth()
	l.label = c.labelOf(l)
	s.load = l
	c.loads.Go(func() { c.run(context.WithoutCancel(ctx), l) })
	return l, nil, nil
}

// refreshBehind loads a ripe or soft value anew, beside the hits that it is still
// served to. A refresh that fails, or finds no place, is tried again after a quarter of
// the time that is left.
func (c *Cache[V]) refreshBehind(ctx context.Context, key string, it *item[V], verdict verdict, loader func(context.Context) (V, error), options []ValueOption, now time.Time) {
	retry := it.retry.Load()
	if now.UnixNano() < retry || !it.retry.CompareAndSwap(retry, now.Add(it.expires.Sub(now)/4).UnixNano()) {
		return
	}
	select {
	case c.slots <- struct{}{}:
	default:
		return
	}
	l := &load[V]{key: key, loader: loader, options: options, behind: true}
	// Another instance may have refreshed it already.
	l.enough = func(other *item[V]) bool { return verdict == soft || !other.isRipe(c.o.RefreshAt, now) }
	if under, _, _ := c.begin(ctx, l); under != l { // somebody loads it, or the Cache is closed
		<-c.slots
	}
}

// run does a load, and ends it however the loader ends.
func (c *Cache[V]) run(ctx context.Context, l *load[V]) {
	ctx, cancel := context.WithTimeout(ctx, c.o.LoadTimeout)
	defer cancel()
	defer context.AfterFunc(c.closing, cancel)()
	var made loaded[V]
	defer func() { c.end(l, &made) }()

	near := c.read(ctx, l.key)
	if it := near.item; it != nil && l.enough != nil && c.verdict(l.key, it, time.Now()) == good && l.enough(it) {
		if !l.behind {
			c.count.remoteHits.Add(1)
		}
		made.item, l.value, l.err = it, it.value, nil
		return
	}
	c.countLoad(l)
	began := time.Now() // its life begins before its loader has seen anything
	l.value, l.err = c.call(ctx, l)
	c.count.loadTime.Add(int64(time.Since(began)))
	if l.err == nil {
		made = c.made(l, &near, began)
	}
}

func (c *Cache[V]) countLoad(l *load[V]) {
	c.count.loads.Add(1)
	switch {
	case l.behind:
		c.count.refreshes.Add(1)
	case l.enough != nil:
		c.count.misses.Add(1)
	}
}

// call calls the loader and makes an error of its panic.
func (c *Cache[V]) call(ctx context.Context, l *load[V]) (v V, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			c.count.panics.Add(1)
			err = &PanicError{Value: fault, Stack: debug.Stack()}
		}
	}()
	return l.loader(ctx)
}

// loaded is what a load has made for memory, and for Redis where send is true.
type loaded[V any] struct {
	item *item[V] // nil: nothing
	send bool
	body []byte // the value, serialized
	mark string
}

// made makes an item of what was loaded. Where Redis did not answer before the
// load, nothing is known of its mark, and nothing is sent.
func (c *Cache[V]) made(l *load[V], near *reading[V], began time.Time) loaded[V] {
	it, body, err := c.newItem(l.key, l.value, l.born, began, l.options)
	if err != nil {
		c.count.unserializable.Add(1)
		return loaded[V]{}
	}
	if !it.isFresh(time.Now()) || c.purged(it) { // the load took longer than it may live, or a purge has overtaken it
		return loaded[V]{}
	}
	it.seq = l.seq
	return loaded[V]{item: it, send: near.known, body: body, mark: near.mark}
}

// end stores the value and then tells all who wait: nobody falls between.
func (c *Cache[V]) end(l *load[V], made *loaded[V]) {
	c.mu.Lock()
	if l.state.load == l {
		l.state.load = nil
	}
	kept := made.item != nil && l.seq >= l.state.floor && c.keep(l.key, made.item)
	c.drop(l.key, l.state)
	c.mu.Unlock()
	if kept && made.send {
		c.send(l.key, made.item, made.body, made.mark)
	}
	if l.err != nil {
		c.count.loadErrors.Add(1)
	}
	if l.behind {
		<-c.slots
		if l.err != nil && c.o.RefreshFailed != nil {
			c.o.RefreshFailed(l.key, l.err)
		}
	}
	close(l.done)
}
