package proxy

import (
	"bufio"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// served is a handler of the program's own as an origin: it sees each request as a server would give it.
type served struct{ next http.Handler }

// ServeHTTP implements http.Handler. r was made by outgoing, and nobody else has it.
func (s served) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.URL = serverURL(r.URL)
	r.RequestURI = r.URL.RequestURI()
	if moved, ok := r.Context().Value(movedKey{}).(*url.URL); ok {
		u := *moved
		u.RawQuery = r.URL.RawQuery // without what is not in the key
		r.URL = &u
	}
	if !isUpgrade(r) {
		dropHopByHop(r.Header)
	}
	sw := &serverWriter{ResponseWriter: w}
	s.next.ServeHTTP(sw, r)
	sw.end()
}

// serverURL is the URL of a request as net/http makes it: without scheme and authority, and with RawPath only where the path is not
// spelled as it would be by default.
func serverURL(u *url.URL) *url.URL {
	plain := &url.URL{Path: u.Path, RawQuery: u.RawQuery}
	if plain.EscapedPath() != u.RawPath {
		plain.RawPath = u.RawPath
	}
	return plain
}

// dropHopByHop removes the fields of the client's connection and those that Connection names (RFC 9110, 7.6.1), as a proxy does:
// neither the key nor Vary sees them, so what answers must not either.
func dropHopByHop(h http.Header) {
	for _, line := range h["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			delete(h, http.CanonicalHeaderKey(strings.TrimSpace(name)))
		}
	}
	for _, name := range []string{"Connection", "Keep-Alive", "Proxy-Connection", "Te", "Transfer-Encoding", "Upgrade"} {
		delete(h, name)
	}
}

// movedKey is the context key of the URL of a request that has been moved.
type movedKey struct{}

// movedURL returns the URL of a request that something before the cache has moved, as http.StripPrefix does; nil: nothing has. The
// key is of what the client has sent, which the handler would not see then but for this URL. ok is false where the client's spelling
// of it is not the normal one, so that two that are moved to different places may have one key: such requests are not for a cache.
func movedURL(r *http.Request) (moved *url.URL, ok bool) {
	if r.RequestURI == "" || r.RequestURI == "*" || r.Method == http.MethodConnect {
		return nil, true // not read from a socket, or without a path
	}
	u, err := url.ParseRequestURI(r.RequestURI)
	if err != nil {
		return nil, false
	}
	if u.EscapedPath() == r.URL.EscapedPath() || r.URL.Path == "/" && u.Path == "" {
		return nil, true
	}
	return r.URL, isNormal(u)
}

// isNormal reports whether a path is spelled as it would be by default, and has no segments that a normal form takes out.
func isNormal(u *url.URL) bool {
	if (&url.URL{Path: u.Path}).EscapedPath() != u.EscapedPath() {
		return false
	}
	for segment := range strings.SplitSeq(u.Path, "/") {
		if segment == "." || segment == ".." {
			return false
		}
	}
	return true
}

// serverWriter does for the handler what net/http's own writer does, and ours do not, because an origin has a server of its own: it
// names a content type where the handler does not, and it can be asked directly whether it flushes or may be taken over.
type serverWriter struct {
	http.ResponseWriter
	status int  // of WriteHeader, as long as it may still need a content type
	begun  bool // the final header has been passed on
	taken  bool // the handler has taken the connection over
}

// Unwrap serves http.ResponseController.
func (w *serverWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader implements http.ResponseWriter. A final header without Content-Type waits for the first bytes of the body.
func (w *serverWriter) WriteHeader(status int) {
	switch {
	case w.begun || w.status != 0:
	case status >= 100 && status < 200 && status != http.StatusSwitchingProtocols:
		w.ResponseWriter.WriteHeader(status)
	case w.typed() || bodiless(status):
		w.begun, w.status = true, status
		w.ResponseWriter.WriteHeader(status)
	default:
		w.status = status
	}
}

// typed reports whether no content type is to be found out; nil in the map asks for none.
func (w *serverWriter) typed() bool {
	h := w.Header()
	_, named := h["Content-Type"]
	return named || h.Get("Content-Encoding") != ""
}

// begin passes a header on that has waited.
func (w *serverWriter) begin() {
	if !w.begun && w.status != 0 {
		w.begun = true
		w.ResponseWriter.WriteHeader(w.status)
	}
}

// end passes on what a handler leaves to net/http when it returns.
func (w *serverWriter) end() {
	if w.status == 0 && !w.taken {
		w.WriteHeader(http.StatusOK)
	}
	w.begin()
}

// Write implements http.ResponseWriter.
func (w *serverWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if bodiless(w.status) {
		return 0, http.ErrBodyNotAllowed
	}
	if !w.begun && len(b) > 0 && !w.typed() {
		w.Header()["Content-Type"] = []string{http.DetectContentType(b)}
	}
	if len(b) > 0 {
		w.begin()
	}
	return w.ResponseWriter.Write(b)
}

// Flush implements http.Flusher.
func (w *serverWriter) Flush() { _ = w.FlushError() }

// FlushError serves http.ResponseController.
func (w *serverWriter) FlushError() error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	w.begin()
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Hijack implements http.Hijacker.
func (w *serverWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	w.taken = w.taken || err == nil
	return c, rw, err
}
