package upstream

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// resolveEvery is how often the names of targets are looked up beside dialing, so
// that connections which are kept busy do not hide that a target has moved.
const resolveEvery = 30 * time.Second

// lookup finds the addresses of a host name.
type lookup func(ctx context.Context, host string) ([]netip.Addr, error)

func systemLookup(ctx context.Context, host string) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}

// name follows the addresses of a target's host name.
type name struct {
	host   string
	lookup lookup
	moved  func() // called when an address is no longer the name's, with no lock held

	mu    sync.Mutex // guards known
	known []netip.Addr
}

// resolve looks the name up. Where that fails the addresses of the last time are
// returned: a name server that is away takes no origin away.
func (n *name) resolve(ctx context.Context) ([]netip.Addr, error) {
	found, err := n.lookup(ctx, n.host)
	n.mu.Lock()
	if err != nil || len(found) == 0 {
		defer n.mu.Unlock()
		if len(n.known) > 0 {
			return n.known, nil
		}
		if err == nil {
			err = &net.DNSError{Err: "no addresses", Name: n.host, IsNotFound: true}
		}
		return nil, err
	}
	for i, a := range found {
		found[i] = a.Unmap()
	}
	left := slices.ContainsFunc(n.known, func(a netip.Addr) bool { return !slices.Contains(found, a) })
	n.known = found
	n.mu.Unlock()
	if left {
		n.moved()
	}
	return found, nil
}

// follow looks the name up again and again until ctx ends.
func (n *name) follow(ctx context.Context, every, timeout time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		bounded, cancel := context.WithTimeout(ctx, timeout)
		_, _ = n.resolve(bounded) // who dials next is told
		cancel()
	}
}
