// Package forwarded reads what proxies say of the requests that they pass on, in
// X-Forwarded-For, X-Forwarded-Proto and X-Forwarded-Host. Each adds a member at
// the end of a list, so what stands there is the word of the nearest one, and all
// before it may have come from the client. Which proxies are believed is for the
// caller to say.
//
// Both front doors read these fields here, so that they cannot take one request
// for another. Nothing here allocates for what a proxy writes.
package forwarded

import (
	"net/netip"
	"strings"
)

// Trusts reports whether an address is in one of the networks.
func Trusts(networks []netip.Prefix, a netip.Addr) bool {
	for _, n := range networks {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

// Client returns the address that counts as the client's, of a request that peer, a trusted proxy, has passed on with this list in
// X-Forwarded-For: the nearest that is not a trusted proxy's. What stands left of a member that is no address cannot be believed.
func Client(peer netip.Addr, list string, trusted []netip.Prefix) netip.Addr {
	client := peer
	for more := true; more; {
		comma := strings.LastIndexByte(list, ',')
		hop, ok := Hop(list[comma+1:])
		if !ok {
			break
		}
		client = hop
		more = comma >= 0 && Trusts(trusted, hop)
		list = list[:max(comma, 0)]
	}
	return client
}

// Hop reads an address as X-Forwarded-For and Forwarded write it: bare, in brackets, with or without a port.
func Hop(s string) (netip.Addr, bool) {
	s = strings.TrimSpace(s)
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return a.Unmap(), true
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap(), true
	}
	return netip.Addr{}, false
}

// Nearest returns the last member of a list.
func Nearest(list string) string {
	return strings.TrimSpace(list[strings.LastIndexByte(list, ',')+1:])
}

// Scheme returns the scheme that proto names, or else the connection's own.
func Scheme(proto, own string) string {
	for _, scheme := range [...]string{"http", "https"} {
		if len(proto) == len(scheme) && strings.EqualFold(proto, scheme) { // of one length, so it is ASCII
			return scheme
		}
	}
	return own
}
