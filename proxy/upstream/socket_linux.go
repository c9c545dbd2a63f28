package upstream

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// unacknowledged reports whether the peer's system cannot have handed on all
// that was sent on a TCP connection which it has closed: there are bytes that
// it has not acknowledged, or it has answered them with a reset.
//
// This tells apart the two ways in which a connection ends without an answer.
// An origin that read the request and then closed has acknowledged the request
// with its FIN at the latest. One that had closed before, so that FIN and
// request crossed on the way, has not, and resets the connection when the
// request arrives.
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
		// The queue first: a reset that arrives in between empties it, and sets
		// the error.
		queued, err := unix.IoctlGetInt(int(fd), unix.SIOCOUTQ)
		if err == nil && queued > 0 {
			unread = true
			return
		}
		pending, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		unread = err == nil && pending != 0
	})
	return err == nil && unread
}
