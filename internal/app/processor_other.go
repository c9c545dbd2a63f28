//go:build !unix

package app

import "time"

var began = time.Now()

// processorSeconds takes the process for one that keeps one processor busy.
func processorSeconds() float64 { return time.Since(began).Seconds() }
