//go:build unix

package app

import (
	"math"
	"syscall"
)

// fileLimit returns how many files the process may have open. The runtime has raised the soft limit to the hard one at the start.
func fileLimit() int64 {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil || uint64(l.Cur) > math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(l.Cur)
}
