package cache

// Under returns the responses that are stored under key, useful or not, without their encoded forms. It does not count as a use.
func (c *Cache) Under(key [16]byte) (entries []*Entry) {
	v, ok := c.memory.Peek(key)
	if !ok {
		return nil
	}
	for _, e := range v.entries() {
		if !e.encoded() {
			entries = append(entries, e)
		}
	}
	return entries
}
