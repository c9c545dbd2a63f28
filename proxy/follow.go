package proxy

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"runtime"

	"github.com/cacheproxy/cacheproxy/cache"
	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// serveStream sends a response while it arrives. The client's own conditions and ranges, which the fetch left out, are answered
// here. A body that does not end well ends the connection, so that nobody takes it for complete.
func (x *exchange) serveStream(f *fill, r *reader, h *head, lead bool) {
	out, header := x.w.Header(), h.header
	if !lead {
		header = h.shared // private and no-cache may name fields that are for the leader alone
	}
	for name, values := range header {
		out[name] = values[:len(values):len(values)]
	}
	if !lead && len(h.concealed) > 0 {
		maps.Copy(out, h.concealed)
	}
	x.conceal(out)
	if h.meta.Flags&rfc9111.Encodes != 0 {
		addVary(out, "Accept-Encoding") // as the stored response says
	}
	x.applyResponseRules(out)
	status, skip, length := h.status, int64(0), int64(-1)
	switch {
	case status == http.StatusOK && rfc9111.Preconditions(&x.view, &h.meta) == http.StatusNotModified:
		status = http.StatusNotModified
		if named := rfc9111.NamedForms(&x.view, &h.meta); !named.Has(rfc9111.Identity) {
			out["Etag"] = []string{rfc9111.EncodedTag(h.meta.Validators.ETag, named.First())}
		}
		for name := range out {
			if cache.DescribesContent(name) {
				delete(out, name)
			}
		}
	case status == http.StatusOK && h.length >= 0 && x.query.Range != "" && rfc9111.RangeApplies(&x.view, &h.meta):
		status, skip, length = x.streamRange(h)
	}
	x.allowStall(0)
	x.writeHeader(status)
	if x.method == http.MethodHead || bodiless(status) || length == 0 {
		return
	}
	x.copyStream(f, r, skip, length)
	if !lead && h.length >= 0 && x.r.ProtoMajor == 1 {
		x.letOthersAnswer()
	}
	if trailer := f.trailers(); len(trailer) > 0 && status == h.status && length < 0 {
		_ = x.flush() // or net/http would find the length of a short body and not send it in chunks, which trailers need
		for name, values := range trailer {
			out[name] = values
		}
	}
}

// letOthersAnswer sends what has been written, and lets those who have waited with us for the same fetch do so too, before we clear
// away and read the next request: the last of many clients need not wait for that. `make coldkey` measures it.
func (x *exchange) letOthersAnswer() {
	_ = x.flush() // a client that is gone is noticed by the server
	runtime.Gosched()
}

// streamRange resolves a single range against the announced length. Several ranges need the whole first: the field is ignored.
func (x *exchange) streamRange(h *head) (status int, skip, length int64) {
	out := x.w.Header()
	ranges, err := rfc9111.ParseRange(x.query.Range, h.length)
	switch {
	case errors.Is(err, rfc9111.ErrUnsatisfiable):
		out["Content-Range"] = []string{"bytes */" + lengthString(int(h.length))}
		out["Content-Length"] = []string{"0"}
		return http.StatusRequestedRangeNotSatisfiable, 0, 0
	case err != nil || len(ranges) != 1:
		return http.StatusOK, 0, -1
	}
	out["Content-Range"] = []string{contentRange(ranges[0], h.length)}
	out["Content-Length"] = []string{lengthString(int(ranges[0].Length))}
	return http.StatusPartialContent, ranges[0].Start, ranges[0].Length
}

// copyStream writes the body as it comes: from offset skip, and length bytes of it, or all where length is below 0. What has been
// written is flushed whenever the origin lets us wait.
func (x *exchange) copyStream(f *fill, r *reader, skip, length int64) {
	flush := func() { _ = x.flush() } // a client that is gone is noticed at the next piece
	for length != 0 {
		piece, err := f.next(x.r.Context(), r, flush)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			x.abort(x.broken(err))
		}
		if skipped := min(skip, int64(len(piece))); skipped > 0 {
			piece, skip = piece[skipped:], skip-skipped
		}
		if length >= 0 && int64(len(piece)) > length {
			piece = piece[:length]
		}
		if length > 0 {
			length -= int64(len(piece))
		}
		if _, err := x.send(piece); err != nil {
			x.abort(rfc9111.ReasonClientGone)
		}
	}
}

// broken says whose fault it is that a body ends early.
func (x *exchange) broken(err error) rfc9111.Reason {
	if x.r.Context().Err() != nil || errors.Is(err, errStalled) {
		return rfc9111.ReasonClientGone
	}
	return rfc9111.ReasonIncomplete
}
