package cache

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/rfc9111"
	"github.com/cacheproxy/cacheproxy/tiers"
)

// Options configure a Cache. All sizes are bytes.
type Options struct {
	MaxBytes    int64 // budget of the memory tier, bookkeeping included; must be positive
	Policy      tiers.Policy
	MaxVariants int // per key; must be positive
	// Remote is the tier behind memory; nil where there is none.
	Remote *tiers.RemoteOptions
}

// Cache holds stored responses in memory, and behind it in a remote tier.
type Cache struct {
	memory      shelf
	state       *invalidation.State
	maxVariants int
	capped      atomic.Uint64
	remote      *tiers.Remote[reading] // nil: memory only
	guesses     guesses
	drops       chan invalidation.Record // what Drop has left over
}

// New returns a cache over state, which says what was purged. Run must be running for expired entries to be freed.
func New(o Options, state *invalidation.State) *Cache {
	c := &Cache{state: state, maxVariants: o.MaxVariants, drops: make(chan invalidation.Record, maxDrops)}
	c.memory.init(o)
	if o.Remote != nil {
		c.remote = tiers.NewRemote[reading](*o.Remote)
	}
	return c
}

// Run frees expired entries and those that were purged, and writes to the remote tier, until ctx ends.
func (c *Cache) Run(ctx context.Context) error {
	var remote error
	var running sync.WaitGroup
	running.Go(func() { c.dropLater(ctx) })
	if c.remote != nil {
		running.Go(func() { remote = c.remote.Run(ctx) })
	}
	memory := c.memory.Run(ctx)
	running.Wait()
	return errors.Join(memory, remote)
}

// State returns the applied log against which entries are checked.
func (c *Cache) State() *invalidation.State { return c.state }

// Stats are the figures of the cache.
type Stats struct {
	Memory          tiers.Stats
	VariantsDropped uint64 // variants that went because their key had too many
	Remote          tiers.RemoteStats
}

// Stats returns the figures as they are now.
func (c *Cache) Stats() Stats {
	s := Stats{Memory: c.memory.Stats(), VariantsDropped: c.capped.Load()}
	if c.remote != nil {
		s.Remote = c.remote.Stats()
	}
	return s
}

// MarkUncacheable remembers until when the response of key could not be stored, and why. What is stored stays: another variant, or
// an older response, may still be good.
func (c *Cache) MarkUncacheable(key rfc9111.Key, until time.Time, why rfc9111.Reason) {
	var others []*Entry
	c.memory.Update(key.Hash, func(old Variants, ok bool) (Variants, bool) {
		m := mark{until: until, because: why}
		if ok && old.of(key) {
			return variantsOf(old.key(), slices.Clone(old.entries()), m), true
		}
		others = old.entries()
		return variantsOf(rfc9111.Key{Hash: key.Hash, Text: bytes.Clone(key.Text)}, nil, m), true
	})
	c.memory.discard(others)
}
