package tiers

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cacheproxy/cacheproxy/invalidation"
)

// ErrClosed is returned by a [Cache] that has been closed.
var ErrClosed = errors.New("the cache is closed")

// CacheOptions say what a Cache is made of. TTL must be set; the rest has
// defaults, which the comments name.
type CacheOptions[V any] struct {
	// TTL is how long a value lives, where its own options do not say
	// otherwise.
	TTL time.Duration
	// RefreshAt is the share of a value's lifetime, between 0 and 1, after which
	// a GetOrLoad that finds it loads it anew in the background. 0: never.
	RefreshAt float64
	// Tags returns tags of a value, which are kept with it; see the function
	// Tags. It may be nil.
	Tags func(key string, v V) []string

	// State is what has been purged, as far as this instance has applied it: each
	// value that is read, from memory or from Redis, is compared with it. Whoever
	// applies purges to it, a Purger or a Follower, is the caller's, and so are
	// other caches that share it. Nil: nothing is purged but by Delete.
	State *invalidation.State

	// MaxBytes bounds the memory tier, bookkeeping included. Default: 64 MiB.
	MaxBytes int64
	// Cost returns the bytes that a value takes in memory. Nil: as many as its
	// serialized form, and what cannot be serialized is not stored.
	Cost func(key string, v V) int64

	// Redis is the tier behind memory; nil: there is none. The client stays
	// the caller's, who closes it after the Cache. It must have
	// ContextTimeoutEnabled: without that a slow Redis would be in the way.
	Redis redis.UniversalClient
	// Backend is another remote store in the place of Redis.
	Backend Backend
	// Prefix begins every key in Redis. Caches of different types of value
	// must not have the same, and neither should programs whose values have
	// different meanings. Default: cacheproxy.
	Prefix string
	// Serializer is the form of values in Redis. Default: Msgpack.
	Serializer Serializer
	// Compression is how they are compressed there from MinBytes on. Default:
	// Uncompressed, 1 KiB.
	Compression Compression
	MinBytes    int
	// MaxValueBytes bounds the serialized values in Redis; what is larger
	// stays in memory. Default: 4 MiB.
	MaxValueBytes int
	// Timeout bounds each operation of Redis. Default: 100 ms. After Failures
	// (5) in a row nothing is asked any more, and every OpenFor (2 s) a ping
	// tries whether it is back.
	Timeout  time.Duration
	Failures int
	OpenFor  time.Duration
	// Lag is for how long nothing is read from Redis of a key that was set or
	// deleted here, because reads go to replicas. Default: 0.
	Lag time.Duration

	// LoadTimeout bounds a load, which goes on when those who asked for it are
	// gone. Default: 30 s.
	LoadTimeout time.Duration
	// Refreshes is how many loads may run in the background at once; where it
	// is reached, a value is refreshed at a later hit. Default: 16.
	Refreshes int

	// RefreshFailed is told why a load in the background failed: nobody else
	// is. It may be nil.
	RefreshFailed func(key string, err error)
	// Observe is told of each operation of Redis, Changed of the breaker. Either
	// may be nil, and must be quick.
	Observe func(op Operation, result RemoteResult, took time.Duration)
	Changed func(open bool)
}

// Cache is a cache of values of one type under keys of text: in memory, and
// where it is so set up in Redis behind it. What is found is shared by all who
// ask: values must not be changed once they have been given to a Cache or
// taken out of it.
//
// Redis is never in the way: where it fails, or takes longer than its deadline,
// a Cache works like one that has memory alone. All methods are safe for
// concurrent use. Make one with NewCache.
type Cache[V any] struct {
	o      CacheOptions[V]
	memory *Memory[string, *item[V]]
	remote *Remote[reading[V]] // nil: memory alone
	codec  Codec

	// epoch and clock order what is stored, by when it was begun; see state. With
	// a State the log orders what is in Redis, and the clock what is in memory.
	epoch invalidation.Epoch
	clock atomic.Uint64
	slots chan struct{} // one for each load in the background
	count counters

	mu     sync.Mutex // guards the following
	keys   map[string]*state[V]
	closed bool

	loads   sync.WaitGroup  // loads under way; none is begun once closed is set
	upkeep  sync.WaitGroup  // what NewCache has started
	closing context.Context // ends loads, and then the upkeep
	cancel  context.CancelFunc
	stop    context.CancelFunc
}

// NewCache returns an empty Cache and starts its upkeep, which writes to Redis
// and frees what has expired: Close must be called in the end. The error names
// all that is wrong with the options.
func NewCache[V any](o CacheOptions[V]) (*Cache[V], error) {
	o.setDefaults()
	if err := o.check(); err != nil {
		return nil, err
	}
	c := &Cache[V]{o: o, epoch: newEpoch(), keys: map[string]*state[V]{}, slots: make(chan struct{}, o.Refreshes)}
	c.codec = Codec{Serializer: o.Serializer, Compression: o.Compression, MinBytes: o.MinBytes, MaxBytes: o.MaxValueBytes}
	c.memory = New(Options[string, *item[V]]{
		MaxBytes: o.MaxBytes,
		Cost:     func(key string, it *item[V]) int64 { return int64(len(key)) + it.cost },
		Expires:  func(it *item[V]) time.Time { return it.expires },
	})
	if o.Backend != nil {
		c.remote = NewRemote[reading[V]](RemoteOptions{
			Backend: o.Backend, Codec: c.codec, Timeout: o.Timeout, Failures: o.Failures, OpenFor: o.OpenFor, Lag: o.Lag,
			Observe: o.Observe, Changed: o.Changed,
		})
	}
	c.closing, c.cancel = context.WithCancel(context.Background())
	running, stop := context.WithCancel(context.Background())
	c.stop = stop
	c.upkeep.Go(func() { _ = c.memory.Run(running) }) // it ends without error
	if o.State != nil {
		empty := c.birth()
		c.upkeep.Go(func() { c.sweep(running, empty) })
	}
	if c.remote != nil {
		c.upkeep.Go(func() { _ = c.remote.Run(running) }) // likewise
	}
	return c, nil
}

func (o *CacheOptions[V]) setDefaults() {
	setDefault(&o.MaxBytes, 64<<20)
	setDefault(&o.Prefix, "cacheproxy")
	setDefault(&o.MinBytes, 1<<10)
	setDefault(&o.MaxValueBytes, 4<<20)
	setDefault(&o.Timeout, 100*time.Millisecond)
	setDefault(&o.Failures, 5)
	setDefault(&o.OpenFor, 2*time.Second)
	setDefault(&o.LoadTimeout, 30*time.Second)
	setDefault(&o.Refreshes, 16)
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (o *CacheOptions[V]) check() error {
	var wrong []error
	refuse := func(bad bool, format string, args ...any) {
		if bad {
			wrong = append(wrong, fmt.Errorf(format, args...))
		}
	}
	refuse(o.TTL <= 0, "TTL is %v; it must be positive", o.TTL)
	refuse(!(o.RefreshAt >= 0 && o.RefreshAt < 1), "RefreshAt is %v; it is a share of the lifetime, from 0 to less than 1", o.RefreshAt)
	refuse(o.MaxBytes < 0 || o.MinBytes < 0 || o.MaxValueBytes < 0, "MaxBytes, MinBytes or MaxValueBytes is negative")
	refuse(o.Timeout < 0 || o.OpenFor < 0 || o.Lag < 0 || o.Failures < 0, "Timeout, OpenFor, Lag or Failures is negative")
	refuse(o.LoadTimeout < 0 || o.LoadTimeout > markTTL/2, "LoadTimeout is %v; it must be positive, and at most %v", o.LoadTimeout, markTTL/2)
	refuse(o.Refreshes < 0, "Refreshes is %d; it must be positive", o.Refreshes)
	refuse(!o.Serializer.known(), "Serializer is %v", o.Serializer)
	refuse(!o.Compression.known(), "Compression is %v", o.Compression)
	refuse(!isPrefix(o.Prefix), "Prefix is %q; it is a word without braces", o.Prefix)
	refuse(o.State != nil && strings.ContainsAny(o.Prefix, "/*"), "Prefix is %q; with a State it has no slash and no star, so that patterns can name it", o.Prefix)
	refuse(o.Redis != nil && o.Backend != nil, "Redis and Backend are both set; leave one out")
	if o.Redis != nil {
		refuse(!heedsContext(o.Redis), "%w", errDeaf)
		// Not the proxy's names, whatever the prefix: its frames hold responses.
		o.Backend = NewRedis(o.Redis, o.Prefix+":value", 1)
	}
	return errors.Join(wrong...)
}

// newEpoch draws the epoch of one Cache: what two of them have stored is told
// apart by it, and by the time.
func newEpoch() invalidation.Epoch {
	var b [8]byte
	_, _ = rand.Read(b[:]) // it does not fail
	return invalidation.Epoch(binary.BigEndian.Uint64(b[:]))
}

// Close waits until the loads under way have ended and what is queued for
// Redis is written. When ctx ends before, it ends the contexts of the loads and
// does not wait for them any more; the error is that of ctx. Every other method
// of a closed Cache finds and stores nothing.
func (c *Cache[V]) Close(ctx context.Context) error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		c.loads.Wait()
		close(ended)
	}()
	var err error
	select {
	case <-ended:
		if c.remote != nil {
			err = c.remote.Flush(ctx)
		}
	case <-ctx.Done():
		err = ctx.Err()
	}
	c.cancel()
	c.stop()
	c.upkeep.Wait()
	return err
}

// valueOptions are what is said of one value.
type valueOptions struct {
	ttl  time.Duration
	tags []string
	on   []invalidation.Selector
}

// ValueOption says something of one value. It comes from TTL, Tags or DependsOn.
type ValueOption func(*valueOptions)

// TTL is how long a value lives, in the place of CacheOptions.TTL. A value with
// a ttl of zero or less is not stored.
func TTL(ttl time.Duration) ValueOption { return func(o *valueOptions) { o.ttl = ttl } }

// Tags are kept with a value, in both tiers, beside those of CacheOptions.Tags.
// With a State a purge of one of them ends the value.
func Tags(tags ...string) ValueOption {
	return func(o *valueOptions) { o.tags = append(o.tags, tags...) }
}

// DependsOn says what a value is made of: a purge of any of it ends the value as
// well, where there is a State. The kinds are those of URLs, keys, tags and
// groups; a value that depends on another kind is not stored. What depends on the
// value in turn must say so itself.
func DependsOn(on ...invalidation.Selector) ValueOption {
	return func(o *valueOptions) { o.on = append(o.on, on...) }
}

// Get returns the value of key from memory, or else from Redis. ok is false
// where neither has it, or Redis could not be asked within its deadline. What
// was purged softly is found until it is loaded or set anew.
func (c *Cache[V]) Get(ctx context.Context, key string) (v V, ok bool) {
	now := time.Now()
	if it, _ := c.inMemory(key, now); it != nil {
		c.count.memoryHits.Add(1)
		return it.value, true
	}
	if c.remote != nil && ctx.Err() == nil {
		s, seq, err := c.enter(key)
		if err != nil {
			return v, false
		}
		found := c.read(ctx, key)
		it := found.item
		if it != nil && c.verdict(key, it, time.Now()) < soft {
			it = nil
		}
		c.leave(key, s, seq, it)
		if it != nil {
			c.count.remoteHits.Add(1)
			return it.value, true
		}
	}
	c.count.misses.Add(1)
	return v, false
}

// Set stores a value in memory, and some time soon in Redis. What Redis held of
// the key is taken out before Set returns, so that nobody finds it there any
// more; where Redis is away it is told later, as Delete says. A load of the
// key that began before is not stored, and nobody joins it.
//
// The error says that the value cannot be serialized, or cannot depend on what
// it should, or that the Cache is closed: nothing has been changed then. A purge
// that comes after Set was called ends the value.
func (c *Cache[V]) Set(ctx context.Context, key string, v V, options ...ValueOption) error {
	it, body, err := c.newItem(key, v, c.birth(), time.Now(), options)
	if err != nil {
		return err
	}
	w, err := c.beginWrite(key)
	if err != nil {
		return err
	}
	c.count.sets.Add(1)
	var mark string
	away := c.remote == nil
	if !away {
		var failed error
		mark, failed = c.remote.Replace(ctx, remoteName(key))
		away = failed != nil // it is told later that what it holds is old
	}
	alone := c.endWrite(key, w, it)
	if alone && !away {
		c.send(key, it, body, mark)
	}
	return nil
}

// Delete removes the value of key from memory and from Redis. A load that began
// before is not stored, by whatever instance, and nobody here joins it. The
// memory of other instances is not reached: what they hold lives until its
// lifetime ends, or until the key is purged; see Key.
//
// The error says that Redis does not know of it yet, or that the Cache is
// closed. Redis is told when it is back, and nothing is read of the key here
// until then; other instances may find the value there meanwhile.
func (c *Cache[V]) Delete(ctx context.Context, key string) error {
	w, err := c.beginWrite(key)
	if err != nil {
		return err
	}
	c.count.deletes.Add(1)
	if c.remote != nil {
		err = c.remote.Delete(ctx, remoteName(key))
	}
	c.endWrite(key, w, nil)
	return err
}
