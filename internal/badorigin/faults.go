package badorigin

import (
	"fmt"
	"strconv"
	"strings"
)

// OK answers every request with a correct 200 response.
func OK(body string, lines ...string) Handler {
	return func(c *Conn, _ *Request) { c.Respond(200, body, lines...) }
}

// Routes chooses the handler by the request's path, and answers 404 where there
// is none.
func Routes(handlers map[string]Handler) Handler {
	return func(c *Conn, r *Request) {
		if h := handlers[r.Path]; h != nil {
			h(c, r)
			return
		}
		c.Respond(404, "no handler for "+r.Path+"\n")
	}
}

// SlowHead sends nothing until gate opens, then lets then answer.
func SlowHead(gate <-chan struct{}, then Handler) Handler {
	return func(c *Conn, r *Request) {
		if c.Wait(gate) {
			then(c, r)
		}
	}
}

// SlowBody sends a 200 head with the right Content-Length at once and each part
// when gate gives a value for it (a closed gate lets all through).
func SlowBody(gate <-chan struct{}, parts []string, lines ...string) Handler {
	return func(c *Conn, _ *Request) {
		lines := append(lines[:len(lines):len(lines)], "Content-Length: "+strconv.Itoa(len(strings.Join(parts, ""))))
		c.Head(200, lines...)
		for _, part := range parts {
			if !c.Wait(gate) {
				c.Close()
				return
			}
			c.Send(part)
		}
	}
}

// Short declares more than the body has and closes after it.
func Short(declared int, body string, lines ...string) Handler {
	return func(c *Conn, _ *Request) {
		c.Head(200, withLength(lines, declared)...)
		c.Send(body)
		c.Close()
	}
}

// Long declares less than the body has: the rest stands where the next response
// should begin.
func Long(declared int, body string, lines ...string) Handler {
	return func(c *Conn, _ *Request) {
		c.Head(200, withLength(lines, declared)...)
		c.Send(body)
	}
}

// BadLength sends a Content-Length that is no number.
func BadLength(value, body string, lines ...string) Handler {
	return func(c *Conn, _ *Request) {
		c.Head(200, append(lines[:len(lines):len(lines)], "Content-Length: "+value)...)
		c.Send(body)
		c.Close()
	}
}

// Reset declares more than the body has and resets the connection once gate
// opens, so that a test can see the body arrive first; a nil gate does not wait.
func Reset(gate <-chan struct{}, declared int, body string, lines ...string) Handler {
	return func(c *Conn, _ *Request) {
		c.Head(200, withLength(lines, declared)...)
		c.Send(body)
		if gate != nil {
			c.Wait(gate)
		}
		c.Reset()
	}
}

// NoLastChunk sends the parts as chunks and closes without the last chunk.
func NoLastChunk(parts []string, lines ...string) Handler {
	return func(c *Conn, _ *Request) {
		c.Head(200, append(lines[:len(lines):len(lines)], "Transfer-Encoding: chunked")...)
		for _, part := range parts {
			c.Chunk(part)
		}
		c.Close()
	}
}

// EndlessHead sends field lines until the client goes.
func EndlessHead() Handler {
	return func(c *Conn, _ *Request) {
		c.Send("HTTP/1.1 200 OK\r\n")
		value := strings.Repeat("x", 1000)
		for i := 0; c.Err() == nil; i++ {
			c.Send(fmt.Sprintf("X-Endless-%d: %s\r\n", i, value))
		}
		c.Close()
	}
}

// EndlessLine sends one field line until the client goes.
func EndlessLine() Handler {
	return func(c *Conn, _ *Request) {
		c.Send("HTTP/1.1 200 OK\r\nX-Endless: ")
		value := strings.Repeat("x", 4096)
		for c.Err() == nil {
			c.Send(value)
		}
		c.Close()
	}
}

// EndlessBody sends a 200 head without a length and a body until the client
// goes.
func EndlessBody(lines ...string) Handler {
	return func(c *Conn, _ *Request) {
		c.Head(200, lines...)
		part := strings.Repeat("x", 4096)
		for c.Err() == nil {
			c.Send(part)
		}
		c.Close()
	}
}

// Interim sends n interim responses of the status (102, 103) with the lines and
// then lets then answer; with n below zero it sends them until the client goes.
func Interim(status, n int, then Handler, lines ...string) Handler {
	return func(c *Conn, r *Request) {
		for i := 0; i != n && c.Err() == nil; i++ {
			c.Head(status, lines...)
		}
		if c.Err() != nil {
			c.Close()
			return
		}
		then(c, r)
	}
}

// Garbage sends text that is not HTTP and closes.
func Garbage(text string) Handler {
	return func(c *Conn, _ *Request) {
		c.Send(text)
		c.Close()
	}
}

// Hangup closes without an answer.
func Hangup() Handler {
	return func(c *Conn, _ *Request) { c.Close() }
}

func withLength(lines []string, n int) []string {
	return append(lines[:len(lines):len(lines)], "Content-Length: "+strconv.Itoa(n))
}
