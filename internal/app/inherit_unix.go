//go:build unix

package app

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"
)

// firstPassed is the first file descriptor that a service manager passes (sd_listen_fds(3)).
const firstPassed = 3

// inherit takes the sockets that a service manager has opened for this process, once: a second call finds none.
func inherit() (*inherited, error) {
	pid, count := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS")
	if pid != strconv.Itoa(os.Getpid()) {
		return &inherited{}, nil
	}
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		if err := os.Unsetenv(name); err != nil {
			return nil, fmt.Errorf("socket activation: %w", err)
		}
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 {
		return nil, fmt.Errorf("socket activation: LISTEN_FDS is %q, not a number", count)
	}
	s := &inherited{}
	for fd := firstPassed; fd < firstPassed+n; fd++ {
		if err := s.take(fd); err != nil {
			s.close()
			return nil, fmt.Errorf("socket activation: file descriptor %d: %w", fd, err)
		}
	}
	return s, nil
}

// take adds the socket of a file descriptor.
func (s *inherited) take(fd int) error {
	syscall.CloseOnExec(fd)
	f := os.NewFile(uintptr(fd), "LISTEN_FD_"+strconv.Itoa(fd))
	defer f.Close() // what is made of it is a copy
	kind, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_TYPE)
	if err != nil {
		return err
	}
	if kind == syscall.SOCK_DGRAM {
		c, err := net.FilePacketConn(f)
		if err == nil {
			s.udp = append(s.udp, c)
		}
		return err
	}
	l, err := net.FileListener(f)
	if err == nil {
		s.tcp = append(s.tcp, l)
	}
	return err
}
