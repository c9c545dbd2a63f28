package proxy

import (
	"sync/atomic"
	"time"

	"github.com/cacheproxy/cacheproxy/cache"
	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// The strings that a hit needs are few and come again and again: an age in seconds, a Cache-Status with a remaining lifetime, a
// length. They are made once and kept, so that a hit allocates none; a table's size bounds what is kept.

// interned keeps rendered strings in a direct-mapped table. The zero value is ready; it is safe for concurrent use: a slot is
// read and replaced whole, and who comes too late renders once more.
type interned struct {
	slots [1 << 14]atomic.Pointer[rendered]
}

type rendered struct {
	n    int
	text string
}

// get returns render(n), from the table where n was the last one asked for in its slot.
func (t *interned) get(n int, render func(int) string) string {
	slot := &t.slots[uint(n)%uint(len(t.slots))]
	if r := slot.Load(); r != nil && r.n == n {
		return r.text
	}
	r := &rendered{n: n, text: render(n)}
	slot.Store(r)
	return r.text
}

var seconds, lengths interned // ages, and content lengths

// cacheStatus renders the Cache-Status member of this cache (RFC 9211). That of a plain hit from memory comes from a table.
func (p *Plan) cacheStatus(s *rfc9111.Status) string {
	if plain := cache.PlainHit(s.TTL); *s == plain {
		return p.hits.get(int(s.TTL/time.Second), p.renderHit)
	}
	return string(rfc9111.AppendStatus(nil, p.CacheName, s))
}

func (p *Plan) renderHit(ttl int) string {
	s := cache.PlainHit(time.Duration(ttl) * time.Second)
	return string(rfc9111.AppendStatus(nil, p.CacheName, &s))
}
