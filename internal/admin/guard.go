package admin

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// admit judges whether the request may make a call of the given scope, and names the token that it came with.
//
// A token that is presented is judged. Without one a call is let in only on a loopback listener, by the place it comes from. That
// is a right that a browser on the same machine has too, on behalf of any page it shows, so such a request must also not come from
// a foreign page.
func (h *Handler) admit(r *http.Request, s Scope) (token string, p *Problem) {
	access := h.access.Load()
	switch credentials := r.Header.Values("Authorization"); {
	case len(credentials) > 0:
		secret, ok := bearer(credentials)
		g := access.find(secret)
		if !ok || g == nil {
			return "", problem(http.StatusUnauthorized, "unknown token", "the field Authorization must be: Bearer TOKEN, with a token of admin.tokens")
		}
		if !slices.Contains(g.scopes, s) {
			return g.name, problem(http.StatusForbidden, "not allowed", "the token "+g.name+" does not have the scope "+string(s))
		}
		return g.name, nil
	case !h.o.Loopback || access.required:
		return "", problem(http.StatusUnauthorized, "a token is needed", "send one with the scope "+string(s)+" as Authorization: Bearer TOKEN")
	default:
		return "", h.foreign(r)
	}
}

func bearer(credentials []string) (secret string, ok bool) {
	if len(credentials) != 1 {
		return "", false
	}
	scheme, secret, ok := strings.Cut(credentials[0], " ")
	return strings.TrimSpace(secret), ok && strings.EqualFold(scheme, "Bearer")
}

// foreign refuses what a page of another site makes a browser send. Host names other than those of this machine are refused too:
// a page may have made its own name resolve to a loopback address.
func (h *Handler) foreign(r *http.Request) *Problem {
	if !h.isOwnHost(r.Host) {
		return problem(http.StatusForbidden, "foreign host", "the host "+r.Host+" is not an address, localhost, or the one in admin.address; a request with a token may use any")
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		if u, err := url.Parse(origin); err != nil || u.Host != r.Host {
			return problem(http.StatusForbidden, "foreign page", "the request comes from a page of "+origin)
		}
	}
	if site := r.Header.Get("Sec-Fetch-Site"); changes(r.Method) && site != "" && site != "same-origin" && site != "none" {
		return problem(http.StatusForbidden, "foreign page", "the request comes from a page of another site")
	}
	return nil
}

func (h *Handler) isOwnHost(host string) bool {
	name := host
	if n, _, err := net.SplitHostPort(host); err == nil {
		name = n
	}
	_, err := netip.ParseAddr(strings.Trim(name, "[]"))
	return err == nil || strings.EqualFold(name, "localhost") || strings.EqualFold(name, h.o.Host)
}

func changes(method string) bool { return method != http.MethodGet && method != http.MethodHead }
