//go:build !linux

package fastlane

// socket is of use on Linux only.
type socket struct{}

func (s *socket) init(*Conn) {}

func (c *Conn) read() (int, error) { return c.readStream() }

func (c *Conn) write(head, body []byte) (int, error) { return c.writeStream(head, body) }
