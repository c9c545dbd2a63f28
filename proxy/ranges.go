package proxy

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"strconv"

	"github.com/cacheproxy/cacheproxy/cache"
	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// serveRanges answers a Range request from a stored response and reports whether it did. It does not where the field is to be
// ignored (RFC 9110, 14.2): another unit, a failed If-Range, too many or overlapping ranges, a response other than 200.
func (x *exchange) serveRanges(e *cache.Entry) bool {
	m := e.Facts()
	if e.Status() != http.StatusOK && !e.IsPartial() || !rfc9111.RangeApplies(&x.view, &m) {
		return false
	}
	first, size := int64(0), e.Size()
	if e.IsPartial() {
		first, size = e.Part.First, e.Part.Complete
	}
	ranges, err := rfc9111.ParseRange(x.query.Range, size)
	h := x.w.Header()
	switch {
	case errors.Is(err, rfc9111.ErrUnsatisfiable):
		h["Content-Range"] = x.one("bytes */" + strconv.FormatInt(size, 10))
		h["Content-Length"] = x.one("0")
		delete(h, "Content-Type")
		x.writeHeader(http.StatusRequestedRangeNotSatisfiable)
		clear(h)
		return true
	case err != nil || len(ranges) == 0:
		return false
	case len(ranges) == 1:
		r := ranges[0]
		h["Content-Range"] = x.one(contentRange(r, size))
		h["Content-Length"] = x.one(lengthString(int(r.Length)))
		x.writeHeader(http.StatusPartialContent)
		clear(h)
		x.writeBody(e.Body()[r.Start-first:][:r.Length])
		return true
	case e.IsPartial():
		return false
	default:
		x.serveMultipart(e, ranges)
		return true
	}
}

func contentRange(r rfc9111.Range, size int64) string {
	return fmt.Sprintf("bytes %d-%d/%d", r.Start, r.Start+r.Length-1, size)
}

// serveMultipart sends several ranges as multipart/byteranges (RFC 9110, 14.6). ParseRange bounds their number and forbids
// overlaps, so the answer is never much larger than the representation.
func (x *exchange) serveMultipart(e *cache.Entry, ranges []rfc9111.Range) {
	h := x.w.Header()
	boundary := rand.Text()
	kind := h.Get("Content-Type")
	heads := make([]string, len(ranges))
	length := len("--" + boundary + "--\r\n")
	for i, r := range ranges {
		heads[i] = partHead(boundary, kind, contentRange(r, e.Size()))
		length += len(heads[i]) + int(r.Length) + len("\r\n")
	}
	h["Content-Type"] = x.one("multipart/byteranges; boundary=" + boundary)
	h["Content-Length"] = x.one(strconv.Itoa(length))
	x.writeHeader(http.StatusPartialContent)
	clear(h)
	for i, r := range ranges {
		x.writeBody([]byte(heads[i]))
		x.writeBody(e.Body()[r.Start:][:r.Length])
		x.writeBody([]byte("\r\n"))
	}
	x.writeBody([]byte("--" + boundary + "--\r\n"))
}

func partHead(boundary, kind, contentRange string) string {
	head := "--" + boundary + "\r\n"
	if kind != "" {
		head += "Content-Type: " + textproto.TrimString(kind) + "\r\n"
	}
	return head + "Content-Range: " + contentRange + "\r\n\r\n"
}
