//go:build linux

package load

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// ServeOrigin answers what [Targets] ask for, on the listener, in this goroutine, until something fails. GET /count is answered with the
// number of other requests so far. It understands HTTP/1.1 without bodies, as the servers under test send it, and closes on all else.
func ServeOrigin(listener *net.TCPListener) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	file, err := listener.File()
	if err != nil {
		return err
	}
	defer file.Close()
	o := &origin{accept: int(file.Fd()), buf: make([]byte, 64<<10), body: bytes.Repeat([]byte("0123456789abcdef"), 64<<10)}
	if err := unix.SetNonblock(o.accept, true); err != nil {
		return err
	}
	if o.poll, err = newPoll(); err != nil {
		return err
	}
	defer o.poll.close()
	if err := o.poll.watch(unix.EPOLL_CTL_ADD, o.accept, o.accept, unix.EPOLLIN); err != nil {
		return err
	}
	for {
		events, err := o.poll.wait(o.pause())
		if err != nil {
			return err
		}
		for i := range events {
			o.handle(int(events[i].Fd), events[i].Events)
		}
		o.wake()
	}
}

// An origin has one thread. Its connections are found by their descriptors.
type origin struct {
	poll   *poll
	accept int
	conns  []*served
	late   []*served // whose answer is due later
	buf    []byte
	body   []byte // what bodies are made of
	asked  int

	second int64 // of date
	date   []byte
}

// A served is a connection of a client.
type served struct {
	fd     int
	events uint32    // that are asked for
	in     []byte    // what has come of a request that is not whole
	out    []byte    // the head that is being sent, and a short body
	sent   int       // bytes of out
	left   int       // bytes of a long body that are to be sent after it
	due    time.Time // when the answer may be sent
	ready  object    // which it is
}

// short is up to which size a body is copied behind its head, to go out with it.
const short = 16 << 10

func (o *origin) handle(fd int, events uint32) {
	if fd == o.accept {
		o.acceptAll()
		return
	}
	c := o.conns[fd]
	if c == nil {
		return // closed by an event before this one
	}
	if events&unix.EPOLLOUT != 0 {
		o.flush(c)
		return
	}
	n, err := receive(fd, o.buf)
	if err != nil && again(err) {
		return
	}
	if err != nil || n == 0 {
		o.close(c)
		return
	}
	got := o.buf[:n]
	if len(c.in) > 0 {
		c.in = append(c.in, got...)
		got = c.in
	}
	end := bytes.Index(got, endOfHead)
	switch {
	case end < 0 && len(c.in) == 0:
		c.in = append(c.in, got...)
	case end < 0:
	case end+4 < len(got):
		o.close(c) // pipelined: none of the servers does that
	default:
		o.answer(c, got)
		c.in = c.in[:0]
	}
}

func (o *origin) acceptAll() {
	for {
		fd, _, err := unix.Accept4(o.accept, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if err != nil {
			return // none is left, or this one is gone again
		}
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1) // without it the origin is slow, not wrong
		if fd >= len(o.conns) {
			o.conns = append(o.conns, make([]*served, fd+1-len(o.conns))...)
		}
		o.conns[fd] = &served{fd: fd, events: unix.EPOLLIN}
		if o.poll.watch(unix.EPOLL_CTL_ADD, fd, fd, unix.EPOLLIN) != nil {
			o.close(o.conns[fd])
		}
	}
}

func (o *origin) close(c *served) {
	o.conns[c.fd] = nil
	o.late = slices.DeleteFunc(o.late, func(l *served) bool { return l == c })
	_ = unix.Close(c.fd)
}

// answer understands the request line, and answers now or later.
func (o *origin) answer(c *served, request []byte) {
	line, _, _ := bytes.Cut(request, endOfHead[:2])
	path, ok := bytes.CutPrefix(line, []byte("GET /"))
	path, proto, _ := bytes.Cut(path, []byte(" "))
	if !ok || string(proto) != "HTTP/1.1" {
		o.close(c)
		return
	}
	if string(path) == "count" {
		text := strconv.Itoa(o.asked)
		c.out = fmt.Appendf(c.out[:0], "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: %d\r\n\r\n%s", len(text), text)
		o.flush(c)
		return
	}
	target, ok := parsePath(string(path))
	if !ok || target.size > len(o.body) {
		o.close(c)
		return
	}
	o.asked++
	c.ready = target
	if target.delay == 0 {
		o.begin(c)
		return
	}
	c.due = time.Now().Add(time.Duration(target.delay) * time.Millisecond)
	o.late = append(o.late, c)
}

// begin makes the head and starts to send. The head has the fields of an ordinary page, with some 300 bytes.
func (o *origin) begin(c *served) {
	if now := time.Now(); now.Unix() != o.second {
		o.second, o.date = now.Unix(), now.UTC().AppendFormat(o.date[:0], http.TimeFormat)
	}
	b := append(c.out[:0], "HTTP/1.1 200 OK\r\nServer: origin\r\nDate: "...)
	b = append(b, o.date...)
	b = append(b, "\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(c.ready.size), 10)
	if c.ready.keep {
		b = append(b, "\r\nCache-Control: public, max-age=3600\r\nETag: \"5d8c72a5edda8d6a\""...)
	} else {
		b = append(b, "\r\nCache-Control: private, no-store"...)
	}
	b = append(b, "\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\nX-Content-Type-Options: nosniff\r\n\r\n"...)
	c.left = c.ready.size
	if c.left <= short {
		b = append(b, o.body[:c.left]...)
		c.left = 0
	}
	c.out = b
	o.flush(c)
}

// flush sends what the socket takes, and asks to be told when it takes more.
func (o *origin) flush(c *served) {
	for c.sent < len(c.out) || c.left > 0 {
		var n int
		var err error
		if c.sent < len(c.out) {
			flags := 0
			if c.left > 0 {
				flags = unix.MSG_MORE
			}
			if n, err = send(c.fd, c.out[c.sent:], flags); err == nil {
				c.sent += n
			}
		} else if n, err = send(c.fd, o.body[:c.left], 0); err == nil {
			c.left -= n
		}
		if err != nil {
			if !again(err) || !o.want(c, unix.EPOLLOUT) {
				o.close(c)
			}
			return
		}
	}
	c.sent, c.out = 0, c.out[:0]
	if !o.want(c, unix.EPOLLIN) {
		o.close(c)
	}
}

// want asks for other events of a connection, where they are others.
func (o *origin) want(c *served, events uint32) bool {
	if c.events == events {
		return true
	}
	c.events = events
	return o.poll.watch(unix.EPOLL_CTL_MOD, c.fd, c.fd, events) == nil
}

// pause returns how many milliseconds may pass until the next answer is due; -1: as many as like.
func (o *origin) pause() int {
	if len(o.late) == 0 {
		return -1
	}
	first := slices.MinFunc(o.late, func(a, b *served) int { return a.due.Compare(b.due) }).due
	return int(max(0, (time.Until(first)+time.Millisecond-1)/time.Millisecond))
}

// wake sends the answers that are due.
func (o *origin) wake() {
	if len(o.late) == 0 {
		return
	}
	now := time.Now()
	late := o.late
	o.late = nil
	for _, c := range late {
		switch {
		case c.due.After(now):
			o.late = append(o.late, c)
		default:
			o.begin(c)
		}
	}
}
