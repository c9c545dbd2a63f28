package tiers

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/cacheproxy/cacheproxy/invalidation"
)

// ValueKey selects the value of a key in the caches with a prefix, in whatever
// instance.
func ValueKey(prefix, key string) invalidation.Selector {
	hash := keyHash(prefix, key)
	return invalidation.Selector{Kind: invalidation.KindKey, Value: hex.EncodeToString(hash[:])}
}

// Key selects the value of key, for a purge that reaches all instances, or for
// DependsOn. Several at once are selected by a pattern over prefix and key:
// "users:7*". A star stops at a slash, two stars do not.
func (c *Cache[V]) Key(key string) invalidation.Selector { return ValueKey(c.o.Prefix, key) }

// keyHash is the hash of a key in the log. No response has the same: the text of
// its key does not begin like this one.
func keyHash(prefix, key string) (hash [16]byte) {
	sum := sha256.Sum256([]byte("value\x00" + prefix + "\x00" + key))
	return [16]byte(sum[:])
}

// label is that of an item by which purges find it. It is a Subject.
type label struct {
	stamp       invalidation.Stamp
	prefix, key string
	tags        []string
	hashes      []uint64 // of the tags, and of what it depends on
}

// URI implements invalidation.Subject: prefix and key, which is no URL. With two
// slashes behind its first colon it would be one.
func (l *label) URI() []byte { return valueURI(l.prefix, l.key) }

func valueURI(prefix, key string) []byte {
	if strings.HasPrefix(key, "//") {
		key = "%2F" + key[1:]
	}
	return []byte(prefix + ":" + key)
}

// Tags implements invalidation.Subject.
func (l *label) Tags() []uint64 { return l.hashes }

// TagNames implements invalidation.Subject.
func (l *label) TagNames() []byte {
	var b []byte
	for _, tag := range l.tags {
		b = append(append(b, tag...), '\n')
	}
	return b
}

// label returns the label of what was born at born; nil without a State.
func (c *Cache[V]) label(key string, born invalidation.Birth, tags []string, on []invalidation.Selector) *label {
	s := c.o.State
	if s == nil {
		return nil
	}
	l := &label{
		stamp:  s.Stamp(born, keyHash(c.o.Prefix, key), valueURI(c.o.Prefix, key)),
		prefix: c.o.Prefix, key: key, tags: tags, hashes: make([]uint64, 0, len(tags)+len(on)),
	}
	for _, tag := range tags {
		l.hashes = append(l.hashes, s.Hash(invalidation.Selector{Kind: invalidation.KindTag, Value: tag}))
	}
	for _, dependency := range on {
		for _, sel := range spellings(dependency) {
			l.hashes = append(l.hashes, s.Hash(sel))
		}
	}
	return l
}

// labelOf returns what of the label of a load's value is known when it begins.
func (c *Cache[V]) labelOf(l *load[V]) *label {
	if c.o.State == nil {
		return nil
	}
	o := c.optionsOf(l.options)
	return c.label(l.key, l.born, o.tags, o.on)
}

// spellings returns the selectors whose purge ends what depends on s: a URL may be
// purged under its scheme, or under each.
func spellings(s invalidation.Selector) []invalidation.Selector {
	if s.Kind != invalidation.KindURL {
		return []invalidation.Selector{s}
	}
	_, bare, _ := strings.Cut(s.Value, "//")
	all := []invalidation.Selector{{Kind: invalidation.KindURL, Value: "//" + bare}}
	for _, scheme := range []string{"http:", "https:"} {
		if uri := scheme + "//" + bare; strings.HasSuffix(uri, s.Value) {
			all = append(all, invalidation.Selector{Kind: invalidation.KindURL, Value: uri})
		}
	}
	return all
}

// dependencyKinds are the kinds of what a value can depend on.
var dependencyKinds = []invalidation.Kind{invalidation.KindURL, invalidation.KindKey, invalidation.KindTag, invalidation.KindGroup}

// writeDependency is the form of a dependency in a frame: its kind, a colon, and
// its value.
func writeDependency(s invalidation.Selector) string { return s.Kind.String() + ":" + s.Value }

// readDependencies reads what writeDependency has written. What is not understood
// could not be purged, so all is an error then.
func readDependencies(list []string) (on []invalidation.Selector, err error) {
next:
	for _, text := range list {
		name, value, _ := strings.Cut(text, ":")
		for _, kind := range dependencyKinds {
			if kind.String() == name {
				on = append(on, invalidation.Selector{Kind: kind, Value: value})
				continue next
			}
		}
		return nil, fmt.Errorf("%q is nothing that a value can depend on", text)
	}
	return on, nil
}

func checkDependencies(on []invalidation.Selector) error {
	for _, s := range on {
		if _, err := readDependencies([]string{writeDependency(s)}); err != nil {
			return err
		}
	}
	return nil
}

// verdict is what may be done with an item. The higher, the more.
type verdict uint8

const (
	dead verdict = iota // nothing, ever: it was purged
	gone                // nothing, now: its lifetime is over, or nobody knows whether it was purged
	soft                // it may be used while it is loaded anew
	good
)

// hotFrom is how often a key must have been asked for lately for a smart purge to
// leave its value in use while it is loaded anew: as with responses.
const hotFrom = 4

// verdict says what may be done with an item for a call that was made at now or
// before. A value cannot be validated: where a response would be, it is not used.
func (c *Cache[V]) verdict(key string, it *item[V], now time.Time) verdict {
	s := c.o.State
	switch {
	case !it.isFresh(now):
		return gone
	case s == nil:
		return good
	case s.CutOff(now) != invalidation.Serve:
		return gone
	}
	stamp := &it.label.stamp
	switch s.Check(stamp, it.label) {
	case invalidation.Valid:
		return good
	case invalidation.Cut:
		if now.Before(s.Until(stamp, it.label)) {
			return good
		}
		return gone
	case invalidation.Stale:
		return soft
	case invalidation.Judge:
		if c.memory.Frequency(key) >= hotFrom {
			return soft
		}
	case invalidation.Unsure:
		if s.OnPartition() == invalidation.Serve && !s.Forgotten(stamp) {
			return soft
		}
		return gone
	}
	return dead
}

// purged reports whether a purge has ended the item for good.
func (c *Cache[V]) purged(it *item[V]) bool {
	return it.label != nil && c.o.State.Check(&it.label.stamp, it.label) == invalidation.Invalid
}

// birth is that of a value whose loader is called from now on.
func (c *Cache[V]) birth() (b invalidation.Birth) {
	if c.o.State != nil {
		b = c.o.State.Birth()
	}
	return b
}

// joinable reports whether a call that is made now may join the load: no purge
// since it began may select what it brings, and while nobody knows whether there
// was one, nothing is joined that began before the call.
func (c *Cache[V]) joinable(l *load[V]) bool {
	s := c.o.State
	if s == nil {
		return true
	}
	// Joinable knows neither tags nor dependencies, and Check those only that the
	// call has named. Check gets a copy: what it finds valid counts for itself.
	known := l.label.stamp.Copy()
	return s.CutOff(time.Now()) == invalidation.Serve && s.Joinable(&l.label.stamp) && s.Check(&known, l.label) == invalidation.Valid
}

// free takes an item out of memory, unless another has taken its place.
func (c *Cache[V]) free(key string, it *item[V]) {
	c.memory.Update(key, func(old *item[V], ok bool) (*item[V], bool) {
		return old, ok && old != it
	})
}

// A purge holds whether its memory is freed or not. What is asked for is freed
// then; the rest by a walk through memory, a second after a purge at the soonest,
// which takes a twentieth of the time at most.
const (
	sweepEvery = time.Second
	sweepShare = 20
)

// sweep frees what purges have ended since swept, until ctx ends.
func (c *Cache[V]) sweep(ctx context.Context, swept invalidation.Birth) {
	pause := sweepEvery
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		at := c.birth()
		if at == swept {
			continue
		}
		begin := time.Now()
		c.memory.Range(func(key string, it *item[V]) bool {
			if c.purged(it) {
				c.free(key, it)
			}
			return ctx.Err() == nil
		})
		swept = at
		pause = max(sweepEvery, (sweepShare-1)*time.Since(begin))
	}
}
