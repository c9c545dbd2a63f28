package badorigin

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A Conn is the connection that a request came on, seen by its handler. It
// belongs to the handler's goroutine and ends with the handler.
type Conn struct {
	origin *Origin
	conn   net.Conn
	gone   chan struct{}
	closed bool
	err    error
}

// Err returns the first error of a write, for example because the client has
// gone. Everything sent after it is dropped.
func (c *Conn) Err() error { return c.err }

// Gone is closed when the client closes or breaks the connection.
func (c *Conn) Gone() <-chan struct{} { return c.gone }

// Send writes s as it is.
func (c *Conn) Send(s string) {
	if c.err != nil {
		return
	}
	n, err := io.WriteString(c.conn, s)
	c.origin.sent.Add(int64(n))
	c.err = err
}

// Head writes a status line, the field lines, each as "Name: value", and the
// empty line. Nothing is added: without a Content-Length or a chunked
// Transfer-Encoding the body ends with the connection.
func (c *Conn) Head(status int, lines ...string) {
	c.Send(head(status, lines))
}

func head(status int, lines []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", status, http.StatusText(status))
	for _, line := range lines {
		b.WriteString(line)
		b.WriteString("\r\n")
	}
	b.WriteString("\r\n")
	return b.String()
}

// Chunk writes data as one chunk of a chunked body.
func (c *Conn) Chunk(data string) {
	c.Send(strconv.FormatInt(int64(len(data)), 16) + "\r\n" + data + "\r\n")
}

// LastChunk ends a chunked body.
func (c *Conn) LastChunk() { c.Send("0\r\n\r\n") }

// Respond writes a whole and correct response: the head with the lines, a
// Content-Length and the current Date where the lines have none, and the body.
func (c *Conn) Respond(status int, body string, lines ...string) {
	lines = append([]string(nil), lines...)
	if !named(lines, "Date") {
		lines = append(lines, "Date: "+time.Now().UTC().Format(http.TimeFormat))
	}
	if !named(lines, "Content-Length") && !named(lines, "Transfer-Encoding") {
		lines = append(lines, "Content-Length: "+strconv.Itoa(len(body)))
	}
	c.Send(head(status, lines) + body)
}

func named(lines []string, name string) bool {
	for _, line := range lines {
		if n, _, _ := strings.Cut(line, ":"); strings.EqualFold(n, name) {
			return true
		}
	}
	return false
}

// Wait blocks until gate is closed or gives a value, and returns true then. It
// returns false where the client goes or the origin ends before that.
func (c *Conn) Wait(gate <-chan struct{}) (opened bool) {
	select {
	case <-gate:
		return true
	case <-c.gone:
		return false
	case <-c.origin.done:
		return false
	}
}

// Close ends the connection in the orderly way (FIN), after what was sent.
func (c *Conn) Close() {
	c.closed = true
	c.conn.Close() // the peer may have been quicker
	c.fail()
}

// Reset breaks the connection (RST); the client may lose bytes that were sent.
func (c *Conn) Reset() {
	if tcp, ok := c.conn.(*net.TCPConn); ok {
		tcp.SetLinger(0) // it fails only on a connection that is broken already
	}
	c.Close()
}

var errClosed = errors.New("closed by the handler")

func (c *Conn) fail() {
	if c.err == nil {
		c.err = errClosed
	}
}
