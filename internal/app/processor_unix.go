//go:build unix

package app

import "golang.org/x/sys/unix"

// processorSeconds is how much processor time the process has used.
func processorSeconds() float64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0 // cannot be: it is asked for itself
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}
