package cache

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/cacheproxy/cacheproxy/rfc9111"
	"github.com/cacheproxy/cacheproxy/tiers"
)

// Claimed is the answer to [Cache.Claim].
type Claimed struct {
	// Won: this instance is the one that fetches. Else another is, for at most Left.
	Won  bool
	Left time.Duration
	// Outcome is what is in the remote tier now, where Won: another may have come to its end meanwhile.
	Outcome Outcome
}

// Claim asks to be the instance that fetches what q asks for, for at most ttl. Where it is, s has the token and the mark with which
// the fetch begins; it must be given to Release in the end. The error says that the remote tier could not be asked: nobody is kept
// from fetching then.
func (c *Cache) Claim(ctx context.Context, q *Query, near *Outcome, s *Share, ttl time.Duration) (Claimed, error) {
	fields := fieldsOf(q, c.guesses.of(q, near))
	name := claimName(q, s.Notes)
	claim, err := c.remote.Claim(ctx, keyName(q.Key.Hash), name, ttl, fields, func(f *tiers.Found) reading { return c.promote(f, q, len(fields)) })
	if err != nil || claim.Token == "" {
		return Claimed{Left: claim.Left}, err
	}
	s.Claim, s.Token, s.Mark = name, claim.Token, claim.Value.mark
	return Claimed{Won: true, Outcome: c.further(q, near, &claim.Value)}, nil
}

// claimName is the name of the claim: that of the variant, where the remote tier says by what the variants differ, else that of the key.
// It does not follow from the guesses, which each instance makes for itself: all must claim the same.
func claimName(q *Query, notes []string) string {
	names := unique(strings.Split(strings.Join(without(notes, []string{""}), ","), ","))
	if names[0] == "" {
		return fieldOf(q.Rule, nil)
	}
	slices.Sort(names)
	return fieldOf(q.Rule, rfc9111.VaryFields(q.Fields, names))
}

// Release gives back the claim that s has not given to a stored response. It does not block.
func (c *Cache) Release(key [16]byte, s *Share) {
	if s != nil && s.Token != "" {
		c.remote.Release(keyName(key), s.Claim, s.Token)
		s.Token = ""
	}
}

// Watch returns a channel that is closed when another instance's claim of key ends. That may be missed; stop must be called.
func (c *Cache) Watch(key [16]byte) (ended <-chan struct{}, stop func()) {
	return c.remote.Watch(keyName(key))
}
