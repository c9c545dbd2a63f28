package cache

import "context"

// PeekRemote returns what FindRemote would, and leaves memory as it is.
func (c *Cache) PeekRemote(ctx context.Context, q *Query, near *Outcome) Outcome {
	look := *q
	look.peek = true
	o, done := c.FindRemote(ctx, &look, near)
	done()
	return o
}
