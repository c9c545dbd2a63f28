package fastlane

import (
	"io"
	"os"
	"syscall"
	"unsafe"
)

// socket reads from and writes to a TCP socket by itself. Beside the system calls that costs less than net.Conn, which tells the
// scheduler of each, though none of them blocks; a buffer is only needed when there is something to read; and head and body leave in one
// call.
type socket struct {
	raw                syscall.RawConn // nil: the connection is no socket
	readable, writable func(fd uintptr) bool

	n     int // bytes that were read or written
	errno syscall.Errno
	iov   [2]syscall.Iovec // what is still to be written
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
		s.raw, s.readable, s.writable = raw, c.tryRead, c.tryWrite
	}
}

// read reads more input. At the end of the input it returns 0 and io.EOF.
func (c *Conn) read() (int, error) {
	s := &c.socket
	if s.raw == nil {
		return c.readStream()
	}
	switch err := s.raw.Read(s.readable); {
	case err != nil:
		return 0, err
	case s.errno != 0:
		return 0, os.NewSyscallError("read", s.errno)
	case s.n == 0:
		return 0, io.EOF
	}
	c.work.end += s.n
	return s.n, nil
}

// tryRead reads what there is. It returns false where there is nothing yet; then a buffer without anything in it goes back.
func (c *Conn) tryRead(fd uintptr) bool {
	if c.work == nil {
		c.work = works.Get().(*work)
	}
	s, w := &c.socket, c.work
	for {
		n, _, errno := syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(&w.in[w.end])), uintptr(len(w.in)-w.end))
		switch errno {
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			if w.start == w.end {
				c.release()
			}
			return false
		}
		if s.errno = errno; errno == 0 {
			s.n = int(n)
		}
		return true
	}
}

// write writes head and body.
func (c *Conn) write(head, body []byte) (int, error) {
	s := &c.socket
	if s.raw == nil {
		return c.writeStream(head, body)
	}
	s.n = 0
	s.iov[0], s.iov[1] = vector(head), vector(body)
	err := s.raw.Write(s.writable)
	s.iov = [2]syscall.Iovec{}
	if err == nil && s.errno != 0 {
		err = os.NewSyscallError("writev", s.errno)
	}
	return s.n, err
}

func vector(b []byte) (v syscall.Iovec) {
	if len(b) > 0 {
		v.Base = unsafe.SliceData(b)
		v.SetLen(len(b))
	}
	return v
}

// tryWrite writes what the socket takes. It returns false where something is left.
func (c *Conn) tryWrite(fd uintptr) bool {
	s := &c.socket
	for s.iov[0].Len+s.iov[1].Len > 0 {
		n, _, errno := syscall.RawSyscall(syscall.SYS_WRITEV, fd, uintptr(unsafe.Pointer(&s.iov)), uintptr(len(s.iov)))
		switch errno {
		case 0:
			s.wrote(int(n))
		case syscall.EINTR:
		case syscall.EAGAIN:
			return false
		default:
			s.errno = errno
			return true
		}
	}
	s.errno = 0
	return true
}

// wrote notes that n bytes have been taken.
func (s *socket) wrote(n int) {
	s.n += n
	for i := range s.iov {
		v := &s.iov[i]
		took := min(uint64(n), uint64(v.Len))
		n -= int(took)
		if v.Len -= took; v.Len == 0 {
			v.Base = nil
		} else {
			v.Base = (*byte)(unsafe.Add(unsafe.Pointer(v.Base), took))
		}
	}
}
