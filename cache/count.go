package cache

import "github.com/cacheproxy/cacheproxy/rfc9111"

// Count returns how many responses are stored under key, useful or not. It does not count as a use of them.
func (c *Cache) Count(key rfc9111.Key) int {
	v, ok := c.memory.Peek(key.Hash)
	if !ok || !v.of(key) {
		return 0
	}
	return v.responses()
}
