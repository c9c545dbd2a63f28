package fastlane

// serveStream reads and answers on a connection that is no socket.
func (c *Conn) serveStream() error {
	for {
		if done, err := c.advance(); done || err != nil {
			return err
		}
		if c.work == nil {
			c.work = works.Get().(*work)
		}
		n, err := c.Conn.Read(c.work.in[c.work.end:])
		if n == 0 && err != nil {
			return err
		}
		c.work.end += n
	}
}

// joined is how large an answer is put together, so that it leaves in one piece where the connection takes only one.
const joined = 16 << 10

// writeStream writes head and body.
func (c *Conn) writeStream(head, body []byte) (int, error) {
	a := &c.work.answer
	first := body[:min(len(body), max(joined-len(head), 0))]
	whole := append(head, first...)
	if len(head) > 0 {
		a.head = whole[:len(head)] // it may have grown
	}
	n, err := c.Conn.Write(whole)
	if err != nil || len(first) == len(body) {
		return n, err
	}
	more, err := c.Conn.Write(body[len(first):])
	return n + more, err
}
