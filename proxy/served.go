package proxy

import (
	"bufio"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// served is the middleware's handler as an origin: it sees each request as a server would give it.
type served struct{ m *Middleware }

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
	sw := &serverWriter{ResponseWriter: w, head: r.Method == http.MethodHead}
	if next := s.m.next.Load(); next != nil {
		(*next).ServeHTTP(sw, r)
	} else {
		http.NotFound(sw, r)
	}
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

// gathered is up to which size a body waits for its end, so that its length can be said: as much as net/http gathers.
const gathered = 2048

// serverWriter does for the handler what net/http's own writer does, and ours do not, because an origin has a server of its own: it
// names the content type and the length of a small body where the handler does not, and it can be asked directly whether it flushes
// or may be taken over.
type serverWriter struct {
	http.ResponseWriter
	head   bool   // the request is HEAD
	status int    // of the final header; 0: there is none yet
	begun  bool   // it has been passed on
	taken  bool   // the handler has taken the connection over
	waits  []byte // the body as far as it waits with the header
}

// Unwrap serves http.ResponseController.
func (w *serverWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader implements http.ResponseWriter. A final header waits for the beginning of the body.
func (w *serverWriter) WriteHeader(status int) {
	switch {
	case w.status != 0:
	case status >= 100 && status < 200 && status != http.StatusSwitchingProtocols:
		w.ResponseWriter.WriteHeader(status)
	default:
		w.status = status
		if bodiless(status) {
			_ = w.begin() // nothing is written
		}
	}
}

// Write implements http.ResponseWriter.
func (w *serverWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	switch {
	case bodiless(w.status):
		return 0, http.ErrBodyNotAllowed
	case w.begun:
		return w.ResponseWriter.Write(b)
	case len(w.waits)+len(b) <= gathered:
		w.waits = append(w.waits, b...)
		return len(b), nil
	}
	if len(w.waits) == 0 { // not worth a copy
		w.nameType(b)
	}
	if err := w.begin(); err != nil {
		return 0, err
	}
	return w.ResponseWriter.Write(b)
}

// begin passes on what has waited.
func (w *serverWriter) begin() error {
	if w.begun || w.status == 0 {
		return nil
	}
	w.begun = true
	w.nameType(w.waits)
	w.ResponseWriter.WriteHeader(w.status)
	if len(w.waits) == 0 {
		return nil
	}
	_, err := w.ResponseWriter.Write(w.waits)
	w.waits = nil
	return err
}

// nameType names the content type of a body that begins so, where the handler does not. A nil in the map asks for none.
func (w *serverWriter) nameType(body []byte) {
	h := w.Header()
	if _, named := h["Content-Type"]; !named && len(body) > 0 && h.Get("Content-Encoding") == "" {
		h["Content-Type"] = []string{http.DetectContentType(body)}
	}
}

// end passes on what a handler leaves to net/http when it returns.
func (w *serverWriter) end() {
	if w.taken {
		return
	}
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if !w.begun && (!w.head || len(w.waits) > 0) && !w.ends() {
		w.Header()["Content-Length"] = []string{strconv.Itoa(len(w.waits))}
	}
	_ = w.begin() // who is gone needs nothing
}

// ends reports whether the header says by itself where the body ends, or that something follows it.
func (w *serverWriter) ends() bool {
	h := w.Header()
	for name := range h {
		if strings.HasPrefix(name, http.TrailerPrefix) {
			return true
		}
	}
	return len(h["Content-Length"]) > 0 || len(h["Transfer-Encoding"]) > 0 || len(h["Trailer"]) > 0
}

// Flush implements http.Flusher.
func (w *serverWriter) Flush() { _ = w.FlushError() }

// FlushError serves http.ResponseController.
func (w *serverWriter) FlushError() error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if err := w.begin(); err != nil {
		return err
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Hijack implements http.Hijacker.
func (w *serverWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	w.taken = w.taken || err == nil
	return c, rw, err
}
