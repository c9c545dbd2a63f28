package proxy

import (
	"net/http"
	"net/netip"
	"strings"
)

// identify notes the socket's peer and the address that counts as the client's: the peer, or, where trusted proxies stand in
// between, the nearest address that is not one of theirs.
func (x *exchange) identify() {
	if ap, err := netip.ParseAddrPort(x.r.RemoteAddr); err == nil {
		x.peer = ap.Addr().Unmap()
	}
	x.client = x.peer
	if !x.fromTrusted() {
		return
	}
	hops := forwardedFor(x.r.Header)
	for i := len(hops) - 1; i >= 0; i-- {
		x.client = hops[i]
		if !contains(x.plan.TrustedProxies, hops[i]) {
			return
		}
	}
}

// fromTrusted reports whether the peer's word about the client is believed.
func (x *exchange) fromTrusted() bool { return contains(x.plan.TrustedProxies, x.peer) }

func contains(networks []netip.Prefix, a netip.Addr) bool {
	for _, n := range networks {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

// origin returns scheme and authority of the request: those of the connection, or what a trusted proxy says of the connection
// that it received.
func (x *exchange) origin() (scheme, authority string) {
	scheme, authority = "http", x.r.Host
	if x.r.TLS != nil {
		scheme = "https"
	}
	if !x.fromTrusted() {
		return scheme, authority
	}
	h := x.r.Header
	if proto := strings.ToLower(nearest(h, "X-Forwarded-Proto", "proto")); proto == "http" || proto == "https" {
		scheme = proto
	}
	if host := nearest(h, "X-Forwarded-Host", "host"); host != "" {
		authority = host
	}
	return scheme, authority
}

// nearest returns the last member of an X-Forwarded-* field, which the nearest proxy added, or else the parameter of the last
// element of Forwarded (RFC 7239).
func nearest(h http.Header, field, parameter string) string {
	if lines := h[field]; len(lines) > 0 {
		members := strings.Split(lines[len(lines)-1], ",")
		return strings.TrimSpace(members[len(members)-1])
	}
	if lines := h["Forwarded"]; len(lines) > 0 {
		elements := splitQuoted(lines[len(lines)-1], ',')
		return forwardedParameter(elements[len(elements)-1], parameter)
	}
	return ""
}

// forwardedFor returns the addresses of X-Forwarded-For, or else of Forwarded, the nearest last. It stops, from the right, at the
// first that is no address: what stands left of it cannot be believed.
func forwardedFor(h http.Header) []netip.Addr {
	var members []string
	if lines := h["X-Forwarded-For"]; len(lines) > 0 {
		members = strings.Split(strings.Join(lines, ","), ",")
	} else if lines := h["Forwarded"]; len(lines) > 0 {
		for _, element := range splitQuoted(strings.Join(lines, ","), ',') {
			members = append(members, forwardedParameter(element, "for"))
		}
	}
	hops := make([]netip.Addr, 0, len(members))
	for _, m := range members {
		a, ok := parseHop(strings.TrimSpace(m))
		if !ok {
			hops = hops[:0]
			continue
		}
		hops = append(hops, a)
	}
	return hops
}

// parseHop reads an address as X-Forwarded-For and Forwarded write it: bare, in brackets, with or without a port.
func parseHop(s string) (netip.Addr, bool) {
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return a.Unmap(), true
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap(), true
	}
	return netip.Addr{}, false
}

func forwardedParameter(element, name string) string {
	for _, pair := range splitQuoted(element, ';') {
		k, v, _ := strings.Cut(pair, "=")
		if strings.EqualFold(strings.TrimSpace(k), name) {
			return strings.Trim(strings.TrimSpace(v), `"`)
		}
	}
	return ""
}

// splitQuoted splits at sep, but not inside quoted strings.
func splitQuoted(s string, sep byte) []string {
	var parts []string
	quoted, start := false, 0
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && quoted:
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == sep && !quoted:
			parts = append(parts, s[start:i])
			start = i + 1
		}
	}
	return append(parts, s[start:])
}
