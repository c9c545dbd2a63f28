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

// constraint returns what a standing says against the use of e for a request that was read at now or before.
//
// While the instance is cut off from the log nobody knows what was purged, and what was born in another life of the log is in doubt
// too. Under the policy serve both are served: of the latter all records that were ever applied here are known, and it is renewed
// behind the requests. What has been forgotten is another matter: the purge may have been one that this instance has acknowledged.
func (c *Cache) constraint(e *Entry, standing invalidation.Standing, now time.Time) (con rfc9111.Constraint) {
	switch standing {
	case invalidation.Cut:
		con.Until = c.state.Until(&e.Stamp, e)
		con.Stale = con.Until.IsZero() // it has become worse since
	case invalidation.Stale:
		con.Stale = true
	case invalidation.Unsure:
		con.Refresh = c.state.OnPartition() == invalidation.Serve && !c.state.Forgotten(&e.Stamp)
		con.Validate = !con.Refresh
	case invalidation.Invalid:
		con.Validate = true // for who has chosen it before it was purged
	}
	if c.state.CutOff(now) != invalidation.Serve {
		con.Validate = true
	}
	return con
}

// usable returns the standing of e, which is Invalid where nothing may be used at all because the instance is cut off.
func (c *Cache) usable(e *Entry, now time.Time) invalidation.Standing {
	if c.state.CutOff(now) == invalidation.Bypass {
		return invalidation.Invalid
	}
	return c.standing(e)
}

// Constrain returns what the log says against the use of e for a request that was read at now or before, and false where it must not
// be used at all.
func (c *Cache) Constrain(e *Entry, now time.Time) (rfc9111.Constraint, bool) {
	standing := c.usable(e, now)
	return c.constraint(e, standing, now), standing != invalidation.Invalid
}

// TTL returns what is left of the lifetime of e, of which a purge may have taken a part.
func (c *Cache) TTL(e *Entry, now time.Time) time.Duration {
	m := e.Facts()
	con := c.constraint(e, c.standing(e), now)
	return con.Bound(m.TTL(now), now)
}
