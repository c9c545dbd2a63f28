package proxy

import (
	"net/http"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// announce returns the map of the trailers that go to the origin, with those that the client has announced as keys, and nil where
// there will be none. httputil.ReverseProxy copies a request before its body has been read, and so would lose them.
//
// Trailers need a body in chunks, so the announced length of one that has some is not sent on. Those that were not announced can be
// sent on where the body comes in chunks; the map is empty then, but not nil.
func (x *exchange) announce(out *http.Request) http.Header {
	announced := make(http.Header)
	for name := range x.r.Trailer {
		if forwardable(name) {
			announced[name] = nil
		}
	}
	if len(announced) > 0 {
		out.ContentLength = -1
	}
	if out.ContentLength >= 0 {
		return nil
	}
	return announced
}

// takeTrailers puts the trailers that have come with the end of a request's body where they are sent from.
func takeTrailers(out, in http.Header) {
	for name, values := range in {
		if forwardable(name) {
			out[name] = values
		}
	}
}

// forwardable reports whether a trailer may reach an origin: some frame, route, authenticate or control (RFC 9110, 6.5.1), and an
// origin that merges trailers into its header must not be deceived by them.
func forwardable(name string) bool {
	return httpguts.ValidTrailerHeader(name) && !spoofable(name)
}

// trailers returns the trailers of a fill that has ended, and nothing before.
func (f *fill) trailers() http.Header {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.trailer
}

// trailersOf returns the trailers that a handler has left in its header map after the body: those that final, the header as it was
// sent, announced, and those with http.TrailerPrefix. Their names are as the next response writer wants them.
func trailersOf(after, final http.Header) http.Header {
	var trailers http.Header
	add := func(name string, values []string) {
		if bare := strings.TrimPrefix(name, http.TrailerPrefix); bare == dependsOn || bare == invalidateTags {
			return
		}
		if trailers == nil {
			trailers = make(http.Header)
		}
		trailers[name] = values
	}
	for _, line := range final["Trailer"] {
		for name := range strings.SplitSeq(line, ",") {
			name = http.CanonicalHeaderKey(strings.TrimSpace(name))
			if values := after[name]; len(values) > len(final[name]) { // a field of the same name was sent before
				add(name, values[len(final[name]):])
			}
		}
	}
	for name, values := range after {
		if strings.HasPrefix(name, http.TrailerPrefix) {
			add(name, values)
		}
	}
	return trailers
}
