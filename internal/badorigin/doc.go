// Package badorigin is an origin server for tests that does on the wire exactly
// what it is told, right or wrong.
//
// It speaks through a raw TCP socket and not through net/http, because net/http
// refuses to send most of what a proxy has to survive: bodies that end early,
// heads that never end, a reset in the middle, chunks without a last chunk,
// text that is not HTTP at all.
//
//	gate := make(chan struct{})
//	o := badorigin.New(t, func(c *badorigin.Conn, r *badorigin.Request) {
//		c.Head(200, "Content-Length: 10", "Cache-Control: max-age=60")
//		c.Send("01234")
//		if c.Wait(gate) {
//			c.Send("56789")
//		}
//	})
//	// ask o.URL through the proxy, see the first half arrive, then:
//	close(gate)
//
// Nothing is added to what a handler sends, except by [Conn.Respond]. The ready
// made handlers ([Short], [Reset], [EndlessHead] and so on) are the faults that
// every test of a proxy needs. Each origin keeps what it received, bytes and
// all, for [Origin.Requests] and [Origin.Count].
//
// An origin ends with its test: the connections are closed and every goroutine
// has returned before the test's cleanup is over. Only tests may import this
// package.
package badorigin
