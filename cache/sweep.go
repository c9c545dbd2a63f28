package cache

import (
	"context"

	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/tiers"
)

// Sweep takes what was purged out of the remote tier until ctx ends, as long as no other instance does. Rate is how many keys a second
// are looked at; it must be positive, and there must be a remote tier. Like Drop it only frees room.
func (c *Cache) Sweep(ctx context.Context, rate int) error {
	return c.remote.Sweep(ctx, tiers.Sweep{Rate: rate, Suspect: c.state.MayBeInvalid, Dead: c.dead})
}

// dead reports whether the response of this head has been purged for good. What a purge has softened, cut or put in doubt stays, and
// so does what each instance judges by how often it is asked for. After an epoch has ended, another instance may know that a response
// is younger than the purge which makes it invalid here; it is taken out all the same, and fetched once more.
func (c *Cache) dead(name string, h tiers.Head) bool {
	var w wire
	born, err := h.Decode(&w)
	key, ok := keyHash(name)
	if err != nil || !ok {
		return false
	}
	s := sweepable{w.URI, c.Names(w.labels())}
	st := c.state.Stamp(invalidation.Birth{Position: born}, key, w.URI)
	return c.state.Check(&st, &s) == invalidation.Invalid
}

// sweepable is a response in the remote tier as a purge sees it.
type sweepable struct {
	uri []byte
	Names
}

// URI implements [invalidation.Subject].
func (s *sweepable) URI() []byte { return s.uri }
