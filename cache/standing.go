package cache

import (
	"time"

	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// hotFrom is how often a key must have been asked for lately for a smart purge to keep what it holds: once when it was stored, once
// that may have been chance, and twice more.
const hotFrom = 4

// standing returns what the log says of e. Where it leaves that to how often e is asked for, that has been judged.
func (c *Cache) standing(e *Entry) invalidation.Standing {
	standing := c.state.Check(&e.Stamp, e)
	if standing == invalidation.Judge {
		if standing = invalidation.Invalid; c.hot(e.hash) {
			standing = invalidation.Stale
		}
	}
	return standing
}

// hot reports whether the key is asked for often.
func (c *Cache) hot(key [16]byte) bool { return c.memory.memory.Frequency(key) >= hotFrom }

// constraint returns what a standing says against the use of e.
func (c *Cache) constraint(e *Entry, standing invalidation.Standing) (con rfc9111.Constraint) {
	switch standing {
	case invalidation.Cut:
		con.Until = c.state.Until(&e.Stamp, e)
		con.Stale = con.Until.IsZero() // it has become worse since
	case invalidation.Stale:
		con.Stale = true
	case invalidation.Unsure:
		// Where availability comes first, a log that begins anew must not send everybody to the origin at once.
		con.Refresh = c.state.OnPartition() == invalidation.Serve
		con.Validate = !con.Refresh
	}
	return con
}

// Constrain returns what the log says against the use of e, and false where it must not be used at all.
func (c *Cache) Constrain(e *Entry) (rfc9111.Constraint, bool) {
	standing := c.standing(e)
	return c.constraint(e, standing), standing != invalidation.Invalid
}

// TTL returns what is left of the lifetime of e, of which a purge may have taken a part.
func (c *Cache) TTL(e *Entry, now time.Time) time.Duration {
	m := e.Facts()
	con, ok := c.Constrain(e)
	if !ok {
		return 0
	}
	return con.Bound(m.TTL(now), now)
}
