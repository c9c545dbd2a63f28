//go:build !unix

package app

// inherit returns no sockets: this system has no service manager that passes them.
func inherit() (*inherited, error) { return &inherited{}, nil }
