package upstream

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// unacknowledged reports whether the peer's system has not acknowledged all that
// was sent on a TCP connection which it has closed, so that nobody can have read
// it there.
//
// This tells apart the two ways in which a connection ends without an answer.
// An origin that read the request and then closed has acknowledged the request
// with its FIN at the latest. One that had closed before, so that FIN and
// request crossed on the way, never does: its system answers with a reset.
func unacknowledged(c net.Conn) bool {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	unread := false
	err = raw.Control(func(fd uintptr) {
		queued, err := unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) // a reset does not set it to 0
		unread = err == nil && queued > 0
	})
	return err == nil && unread
}

// directly says that whether a kept connection is still as it was can be asked.
const directly = true

// silent reports whether a connection is open and nothing has come on it. It does
// not wait.
func silent(c net.Conn) bool {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	quiet := false
	err = raw.Control(func(fd uintptr) {
		var one [1]byte
		_, _, err := unix.Recvfrom(int(fd), one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		quiet = err == unix.EAGAIN
	})
	return err == nil && quiet
}
