//go:build !linux || !(amd64 || arm64)

package fastlane

// socket is of use on Linux only.
type socket struct{}

func (s *socket) init(*Conn) {}

func (s *socket) usable() bool { return false }

func (c *Conn) serveSocket() error { return c.serveStream() }

func (c *Conn) write(head, body []byte) (int, error) { return c.writeStream(head, body) }

func (c *Conn) offer(_, _ []byte) int { return 0 }
