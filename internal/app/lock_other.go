//go:build !unix

package app

import "os"

// lock does nothing: locks are advisory here only on Unix.
func lock(*os.File) error { return nil }
