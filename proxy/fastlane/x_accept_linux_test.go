package fastlane_test

import (
	"context"
	"io"
	"net"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cacheproxy/cacheproxy/proxy/fastlane"
)

// Do several acceptors with SO_REUSEPORT pay? One connection for each hit, which is the worst case for accepting; CPU time is that of
// clients and server together.
func BenchmarkAccept(b *testing.B) {
	for _, acceptors := range []int{1, 2, 4} {
		b.Run(strconv.Itoa(acceptors), func(b *testing.B) {
			first := listenShared(b, "127.0.0.1:0")
			h := open(b, first, routes, origin, true)
			h.quiet = true
			for range acceptors - 1 {
				front := h.lane.Listen(listenShared(b, first.Addr().String()), fastlane.ListenerOptions{})
				go func() { _ = h.server.Serve(front) }() // it ends with the house
			}
			askOnce(b, first.Addr())
			before := processorTime(b)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					askOnce(b, first.Addr())
				}
			})
			b.ReportMetric(float64(processorTime(b)-before)/1e3/float64(b.N), "cpu-µs/op")
		})
	}
}

// listenShared listens where others may listen too.
func listenShared(b *testing.B, addr string) net.Listener {
	share := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var refused error
		if err := c.Control(func(fd uintptr) { refused = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) }); err != nil {
			return err
		}
		return refused
	}}
	l, err := share.Listen(context.Background(), "tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	return l
}

// askOnce asks for a hit on a connection of its own.
func askOnce(b *testing.B, addr net.Addr) {
	c, err := net.Dial(addr.Network(), addr.String())
	if err != nil {
		b.Error(err)
		return
	}
	defer c.Close()
	_ = c.(*net.TCPConn).SetLinger(0) // or the ports run out
	_, err = io.WriteString(c, get("/fresh"))
	if err != nil {
		b.Error(err)
		return
	}
	if n, err := c.Read(make([]byte, 4<<10)); n == 0 {
		b.Error("no answer:", err)
	}
}

// processorTime returns what this process has used, in nanoseconds.
func processorTime(b *testing.B) int64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
