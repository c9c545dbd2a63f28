package fastlane

import (
	"fmt"
	"io"
	"runtime/debug"
	"strings"
	"time"

	"github.com/cacheproxy/cacheproxy/proxy/framing"
)

// serve answers hits until there is a request for the server: then it is the server's turn. With an error the connection has to be
// closed: the client has gone, has let a time limit pass, or the listener is closed.
func (c *Conn) serve() error {
	err := c.answerHits()
	c.ours.Store(false)
	if err == nil && c.retired.Load() { // the server, too, takes no request now
		err = errRetired
	}
	if err != nil && c.work != nil {
		c.release()
	}
	return err
}

func (c *Conn) answerHits() (err error) {
	defer c.survive(&err)
	if c.socket.usable() {
		return c.serveSocket()
	}
	return c.serveStream()
}

// advance does what can be done with the input that is there. It answers the hits in it, and reports whether it has come to a request
// for the server. Where it has not, the deadline for what has to be read next is set.
func (c *Conn) advance() (done bool, err error) {
	for {
		n, kind := c.nextHead()
		if n == 0 && kind != foreign {
			return false, c.limitRead()
		}
		if kind == plain {
			c.now = time.Now()
			kind = c.work.answer.find(c.listener.lane, &c.from, c.work.input()[:n], c.now)
		}
		switch kind {
		case plain:
			c.fresh = false
			if err := c.send(); err != nil {
				return false, err
			}
			c.work.skip(n)
		case framed:
			c.turn, c.hand = handing, n
			return true, nil
		default:
			c.turn = forGood
			return true, nil
		}
	}
}

// nextHead returns the length of the head that the input begins with, and what its request is as far as its length goes. The length is
// 0 where the head is not whole, and where the server does not wait for the rest.
func (c *Conn) nextHead() (n int, k kind) {
	w := c.work
	if w == nil || w.start == w.end {
		return 0, plain
	}
	n, done, fault := c.head.Next(w.input()[c.lines:])
	c.lines += n
	if fault != nil || !done && (!w.hasRoom() || c.lines > 0 && !begins(w.input())) {
		return 0, foreign
	}
	if !done {
		return 0, plain
	}
	n, k = c.lines, kindOf(&c.head)
	c.head, c.lines, c.first, c.late = framing.Head{}, 0, false, false
	if n > c.listener.lane.o.HeaderBytes {
		k = max(k, framed)
	}
	return n, k
}

// begins reports whether net/http would wait for the rest of a head whose first line is there: it answers some before that. An empty
// line, which may stand before a request (RFC 9112, 2.2), is among them.
func begins(input []byte) bool {
	line, _ := cutLine(input)
	_, raw, kind := parseLine(line)
	return kind == plain && strings.IndexByte(raw, '%') < 0
}

// kindOf says what the end of the request makes of it.
func kindOf(h *framing.Head) kind {
	if h.Length > 0 || h.Chunked {
		return foreign
	}
	return plain
}

// hasRoom makes room for more input, and reports whether there is any.
func (w *work) hasRoom() bool {
	if w.end == len(w.in) && w.start > 0 {
		w.end = copy(w.in[:], w.input())
		w.start = 0
	}
	return w.end < len(w.in)
}

// skip drops the first bytes of the input.
func (w *work) skip(n int) {
	if w.start += n; w.start == w.end {
		w.start, w.end = 0, 0
	}
}

// limitRead sets the deadline for the next read: until a request begins, or until its head has to be there.
func (c *Conn) limitRead() error {
	lane := c.listener.lane
	begun := c.work != nil && c.work.end > c.work.start
	switch {
	case c.first, c.late:
	case begun && lane.o.HeaderTimeout > 0:
		c.late, c.reading = true, time.Time{}
		_ = c.Conn.SetReadDeadline(time.Now().Add(lane.o.HeaderTimeout)) // a connection without deadlines has none
	case !begun:
		if c.reading.IsZero() {
			c.now = time.Now() // it was the server's turn meanwhile
		}
		if deadline, due := lane.idle.due(&c.reading, c.now); due {
			_ = c.Conn.SetReadDeadline(deadline) // as above
		}
	}
	if c.retired.Load() { // asked after the deadline was set, which may have undone what retire did
		return errRetired
	}
	return nil
}

// offerSize is how much of a large body is offered to the connection at once: a fraction of a millisecond's work, so that others come to
// theirs.
const offerSize = 1 << 20

// pieceSize is how much of a large body is sent within one limit.
const pieceSize = 64 << 10

// send sends the answer.
func (c *Conn) send() error {
	a, lane := &c.work.answer, c.listener.lane
	head, body, sent, now := a.head, a.body, 0, c.now
	limit, large := &lane.write, len(body) > pieceSize
	if large { // the limits share a deadline: the one may not take the other's for its own
		limit, c.writing = &lane.piece, time.Time{}
	}
	for {
		if large { // no limit is needed for what goes at once
			n := c.offer(head, body[:min(len(body), offerSize)])
			sent += n
			taken := min(n, len(head))
			head, body = head[taken:], body[n-taken:]
		}
		piece := body[:min(len(body), pieceSize)]
		body = body[len(piece):]
		if deadline, due := limit.due(&c.writing, now); due {
			_ = c.Conn.SetWriteDeadline(deadline) // a connection without deadlines has none
		}
		n, err := c.write(head, piece)
		if sent += n; err != nil || len(body) == 0 {
			a.finish(lane, sent, err)
			a.body = nil
			if large {
				c.writing = time.Time{}
			}
			return err
		}
		head, now = nil, time.Now()
	}
}

// survive turns a panic into the end of the connection: it must not be that of the process.
func (c *Conn) survive(err *error) {
	fault := recover()
	if fault == nil {
		return
	}
	lane := c.listener.lane
	lane.panics.Add(1)
	lane.o.Log.Error("fast lane panicked", "panic", fmt.Sprint(fault), "stack", string(debug.Stack()))
	*err = io.ErrUnexpectedEOF
}
