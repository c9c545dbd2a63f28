package fastlane

import (
	"io"
	"os"
	"syscall"
	"unsafe"
)

// socket reads from and writes to a TCP socket by itself. Beside the system calls that costs less than net.Conn, which tells the
// scheduler of each, though none of them blocks. A buffer is only needed when there is something to read, and head and body leave in
// one call.
type socket struct {
	raw            syscall.RawConn // nil: the connection is no socket
	step, writable func(fd uintptr) bool

	fd  uintptr // while step runs
	err error   // that ended it

	sent  int // bytes
	errno syscall.Errno
	iov   [2]syscall.Iovec // what is still to be sent
	msg   syscall.Msghdr   // of iov
}

// init notes the socket of c, if it is one.
func (s *socket) init(c *Conn) {
	inner, ok := c.Conn.(interface {
		SyscallConn() (syscall.RawConn, error)
	})
	if !ok {
		return
	}
	if raw, err := inner.SyscallConn(); err == nil {
		s.raw, s.step, s.writable = raw, c.step, c.trySend
		s.msg.Iov, s.msg.Iovlen = &s.iov[0], uint64(len(s.iov))
	}
}

func (s *socket) usable() bool { return s.raw != nil }

// serveSocket reads and answers on a socket.
func (c *Conn) serveSocket() error {
	if err := c.socket.raw.Read(c.socket.step); err != nil {
		return err
	}
	return c.socket.err
}

// step answers what has come, and reads more, until there is nothing. It returns false to be called again when there is.
func (c *Conn) step(fd uintptr) bool {
	s := &c.socket
	for s.fd = fd; ; {
		var done bool
		if done, s.err = c.advance(); done || s.err != nil {
			return true
		}
		n, errno := c.receive(fd)
		switch {
		case errno == syscall.EAGAIN:
			return false
		case errno != 0:
			s.err = os.NewSyscallError("recvfrom", errno)
			return true
		case n == 0:
			s.err = io.EOF
			return true
		}
		c.work.end += n
	}
}

// receive reads into what room there is behind the input. Where nothing has come, a buffer without anything in it goes back.
func (c *Conn) receive(fd uintptr) (n int, errno syscall.Errno) {
	if c.work == nil {
		c.work = works.Get().(*work)
	}
	w := c.work
	free := w.in[w.end:]
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(unsafe.SliceData(free))), uintptr(len(free)), 0, 0, 0)
		switch errno {
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			if w.start == w.end {
				c.release()
			}
		}
		return int(n), errno
	}
}

// write writes head and body.
func (c *Conn) write(head, body []byte) (int, error) {
	s := &c.socket
	if s.raw == nil {
		return c.writeStream(head, body)
	}
	s.sent, s.errno = 0, 0
	s.iov[0], s.iov[1] = vector(head), vector(body)
	var err error
	if !c.trySend(s.fd) { // step has the descriptor: it stays open
		err = s.raw.Write(s.writable)
	}
	s.iov = [2]syscall.Iovec{}
	if err == nil && s.errno != 0 {
		err = os.NewSyscallError("sendmsg", s.errno)
	}
	return s.sent, err
}

func vector(b []byte) (v syscall.Iovec) {
	if len(b) > 0 {
		v.Base = unsafe.SliceData(b)
		v.SetLen(len(b))
	}
	return v
}

// trySend sends what the socket takes. It returns false where something is left.
func (c *Conn) trySend(fd uintptr) bool {
	s := &c.socket
	for s.iov[0].Len+s.iov[1].Len > 0 {
		n, _, errno := syscall.RawSyscall(syscall.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&s.msg)), syscall.MSG_NOSIGNAL)
		switch errno {
		case 0:
			s.took(int(n))
		case syscall.EINTR:
		case syscall.EAGAIN:
			return false
		default:
			s.errno = errno
			return true
		}
	}
	return true
}

// took notes that n bytes have been sent.
func (s *socket) took(n int) {
	s.sent += n
	for i := range s.iov {
		v := &s.iov[i]
		part := min(uint64(n), v.Len)
		n -= int(part)
		if v.Len -= part; v.Len == 0 {
			v.Base = nil
		} else {
			v.Base = (*byte)(unsafe.Add(unsafe.Pointer(v.Base), part))
		}
	}
}
