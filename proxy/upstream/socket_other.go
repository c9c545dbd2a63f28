//go:build !linux

package upstream

import "net"

// unacknowledged is not known on this system; see socket_linux.go. The answer
// that is always safe is that the peer may have read what was sent.
func unacknowledged(net.Conn) bool { return false }

// directly says that kept connections are left to http.Transport, which reads from
// them all the time: silent is not known here.
const directly = false

func silent(net.Conn) bool { return false }
