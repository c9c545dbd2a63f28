package cache

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/rfc9111"
	"github.com/cacheproxy/cacheproxy/tiers"
)

// hotList is the name under which the remote tier keeps which keys are hot. Instances write it in turn: they serve the same site, and
// what is hot for one is so for the next.
const hotList = "hot"

// hotListTTL is for how long the list is of use.
const hotListTTL = 7 * 24 * time.Hour

// NoteHot writes down in the remote tier which responses are asked for most often: those of at most n keys. An instance that has none
// leaves the list as it is.
func (c *Cache) NoteHot(ctx context.Context, n int) error {
	var list strings.Builder
	for _, key := range c.memory.memory.Hottest(n) {
		v, ok := c.memory.Peek(key)
		if !ok {
			continue
		}
		var fields []string
		for _, e := range v.entries() {
			if !e.IsPartial() && !e.encoded() {
				fields = append(fields, fieldOf(e.Rule, e.Meta().Vary))
			}
		}
		if len(fields) > 0 {
			list.WriteString(keyName(key) + " " + strings.Join(fields, " ") + "\n")
		}
	}
	if list.Len() == 0 {
		return nil
	}
	return c.remote.Keep(ctx, hotList, []byte(list.String()), hotListTTL)
}

// Warm reads the hot responses that were noted from the remote tier into memory, at most n keys and rate of them a second, and
// returns how many responses that were. It ends when ctx does, or the remote tier is away.
func (c *Cache) Warm(ctx context.Context, n, rate int) (warmed int, err error) {
	list, err := c.remote.Kept(ctx, hotList)
	if err != nil {
		return 0, err
	}
	tick := time.NewTicker(time.Second / time.Duration(max(rate, 1)))
	defer tick.Stop()
	for line := range strings.Lines(string(list)) {
		words := strings.Fields(line)
		key, ok := hotKey(words)
		if !ok {
			continue
		}
		if n--; n < 0 {
			break
		}
		select {
		case <-ctx.Done():
			return warmed, ctx.Err()
		case <-tick.C:
		}
		read, err := c.warm(ctx, key, words[1:])
		if warmed += read; err != nil && !c.remote.Up() { // else it was this one key, once
			return warmed, err
		}
	}
	return warmed, nil
}

// hotKey reads the key of a line; false where it is none of ours.
func hotKey(words []string) (key [16]byte, ok bool) {
	if len(words) < 2 || len(words) > 64 {
		return key, false
	}
	return keyHash(words[0])
}

// warm reads the variants of one key into memory.
func (c *Cache) warm(ctx context.Context, key [16]byte, fields []string) (read int, err error) {
	_, err = c.remote.Get(ctx, keyName(key), fields, func(f *tiers.Found) reading {
		now := time.Now()
		for i := range fields {
			if e := c.revive(f, i, now, func(w *wire) (rfc9111.Key, uint64) { return rfc9111.NewKey(slices.Clone(w.Key)), w.Rule }); e != nil &&
				e.hash == key && c.keep(e, nil, nil, now) {
				read++
			}
		}
		return reading{mark: f.Mark, notes: f.Notes}
	})
	return read, err
}

// revive makes an entry of the frame at place i, where it is of the key and the rule that want names; else nil. It is born where the
// instance that stored it was when it asked the origin: the log is the same for all.
func (c *Cache) revive(f *tiers.Found, i int, now time.Time, want func(*wire) (rfc9111.Key, uint64)) *Entry {
	var w wire
	body, then, ok := f.Decode(i, &w)
	if !ok {
		return nil
	}
	key, rule := want(&w)
	p, ok := w.parts(key, rule, body, now)
	if !ok {
		return nil
	}
	p.Born = invalidation.Birth{Position: then}
	return newEntry(c.state, p)
}
