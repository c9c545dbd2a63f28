//go:build !unix

package app

import "math"

// fileLimit returns how many files the process may have open: this system names no limit.
func fileLimit() int64 { return math.MaxInt64 }
