package proxy

import (
	"net/http"
	"strconv"
	"time"

	"github.com/cacheproxy/cacheproxy/cache"
	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// PieceTimeout is how long a client may take over a piece of a large body, of 64 KiB.
const PieceTimeout = 30 * time.Second

// A client that reads nothing must not hold a connection for ever: what is written goes with a deadline. Setting one costs more than
// writing a small answer, so the first bytes of a quick response have only the server's.
const (
	pieceSize     = 64 << 10         // how much of a large body is written with one deadline
	stallLimit    = 10 * time.Second // how long it may do nothing at all while others wait for it, or we for its body
	smallWrite    = 64 << 10         // how many bytes go without a deadline of their own
	quickResponse = 5 * time.Second  // and until when
)

// hit answers from a stored response: 304, the whole, or the ranges that were asked for. The budget of a plain hit is no allocation
// of ours (see TestHitAllocates); what net/http allocates for header map and snapshot is its own.
func (x *exchange) hit(e *cache.Entry) {
	x.endLook()
	d := &x.outcome.Decision
	x.report.Tier, x.report.Stored = x.outcome.Tier.String(), true
	x.report.Age, x.report.TTL = d.Age, d.TTL
	x.report.Result = cache.ResultHit
	x.status = x.outcome.HitStatus()
	if d.Action == rfc9111.ServeStale {
		x.report.Result = cache.ResultStale
	}
	x.serveEntry(e, &x.outcome.Forms, d.Age)
}

// serveEntry sends the entry, or one of its encoded forms, as the request's preconditions, ranges and accepted codings ask for.
func (x *exchange) serveEntry(e *cache.Entry, forms *cache.Forms, age time.Duration) {
	reply := e.Reply(forms, &x.view, &x.route.Policy)
	if reply.Content == nil {
		x.serveNotModified(&reply, e, age)
		return
	}
	send, h := reply.Content, x.w.Header()
	if x.query.Range != "" {
		x.storedHeader(e, e, age)
		if x.serveRanges(e) { // of the response as it is: the client puts parts of nothing else together
			return
		}
		clear(h)
	}
	x.storedHeader(send, e, age)
	if send.Status() != http.StatusNoContent {
		h["Content-Length"] = x.one(lengthString(int(send.Size())))
	}
	x.writeHeader(send.Status())
	// net/http has taken its own copy of the header; what is in the map points into memory that the next request will use.
	clear(h)
	if x.method == http.MethodHead {
		return
	}
	if reply.Missing != rfc9111.Identity {
		x.p.encoder.ask(e.Form(reply.Missing))
	}
	x.writeBody(send.Body())
}

// serveNotModified sends a 304 instead of e, or of the form of it that would have been sent.
func (x *exchange) serveNotModified(reply *cache.Reply, e *cache.Entry, age time.Duration) {
	h := x.w.Header()
	x.fields(reply.Head, true)
	if reply.ETag != "" {
		h["Etag"] = x.one(reply.ETag)
	}
	h["Age"] = x.one(ageString(age))
	x.reveal(e)
	x.applyResponseRules(h)
	x.writeHeader(http.StatusNotModified)
	clear(h)
}

// storedHeader fills the response's header map for an answer with content: e, or the form of it that is sent.
func (x *exchange) storedHeader(send, e *cache.Entry, age time.Duration) {
	h := x.w.Header()
	x.fields(send, false)
	x.reveal(e)
	h["Age"] = x.one(ageString(age))
	x.applyResponseRules(h)
}

// fields puts the stored field lines into the response's header map. For a 304 the fields that describe the content stay out
// (RFC 9110, 15.4.5).
func (x *exchange) fields(e *cache.Entry, notModified bool) {
	h := x.w.Header()
	var last string
	start := len(x.values)
	for name, value := range e.Fields() {
		if notModified && cache.DescribesContent(name) {
			continue
		}
		if name != last {
			start = len(x.values)
			last = name
		}
		x.values = append(x.values, value)
		h[name] = x.values[start:len(x.values):len(x.values)]
	}
}

// one returns a slice of one value in the exchange's own backing.
func (x *exchange) one(value string) []string {
	x.values = append(x.values, value)
	n := len(x.values)
	return x.values[n-1 : n : n]
}

// writeBody sends a body that lies in memory. A large one goes in pieces, each with a deadline of its own.
func (x *exchange) writeBody(body []byte) {
	for len(body) > pieceSize {
		x.allowStall(pieceSize)
		n, err := x.w.Write(body[:pieceSize])
		x.report.Bytes += int64(n)
		if err != nil {
			x.abort(rfc9111.ReasonClientGone)
		}
		body = body[pieceSize:]
	}
	if len(body) == 0 {
		return // a status without content does not let itself be written to at all
	}
	x.allowStall(len(body))
	n, err := x.w.Write(body)
	x.report.Bytes += int64(n)
	if err != nil {
		x.abort(rfc9111.ReasonClientGone)
	}
}

// send writes a piece of a body that comes from the origin, and gives the client PieceTimeout to take it.
func (x *exchange) send(p []byte) (int, error) {
	x.allowStall(len(p))
	n, err := x.w.Write(p)
	x.report.Bytes += int64(n)
	x.pauseStall()
	return n, err
}

// flush sends what has been written. A writer that cannot flush sends at the end.
func (x *exchange) flush() error {
	x.allowStall(0)
	err := http.NewResponseController(x.w).Flush()
	x.pauseStall()
	return err
}

// allowStall is called before n bytes are written, and gives the client PieceTimeout for them. The first bytes of a quick response go
// without: they fit into the kernel's buffers, and the server's own write time-out bounds them; that of HTTP/3 has none. Where the
// connection has no deadlines, nothing is lost. An answer that comes late is given a deadline even where n is 0: the server's has
// begun with the request.
func (x *exchange) allowStall(n int) {
	x.unbounded += n
	if x.unbounded < smallWrite && time.Since(x.report.Start) < quickResponse && !x.paused && x.r.ProtoMajor < 3 {
		return
	}
	x.unbounded, x.stall, x.paused = 0, true, false
	_ = http.NewResponseController(x.w).SetWriteDeadline(time.Now().Add(PieceTimeout))
}

// pauseStall takes the deadline off while we wait for the origin, where it would do harm: that of net/http's HTTP/2 resets the
// stream when it passes, whether somebody writes or not.
func (x *exchange) pauseStall() {
	if x.r.ProtoMajor == 2 && !x.paused {
		x.paused, x.stall = true, true
		_ = http.NewResponseController(x.w).SetWriteDeadline(time.Time{})
	}
}

// forgetStall ends the response. The deadline of a connection must not meet what the server still writes, or the next response on
// it. That of a stream is its own, and covers what the server still has in its buffer.
func (x *exchange) forgetStall() {
	switch {
	case !x.stall:
	case x.r.ProtoMajor >= 2:
		_ = http.NewResponseController(x.w).SetWriteDeadline(time.Now().Add(PieceTimeout))
	default:
		_ = http.NewResponseController(x.w).SetWriteDeadline(time.Time{})
	}
}

func (x *exchange) applyResponseRules(h http.Header) {
	for _, name := range x.route.Response.Remove {
		delete(h, name)
	}
	for name, value := range x.route.Response.Set {
		h[name] = x.one(value)
	}
}

// lengthString is strconv.Itoa without an allocation for the lengths that have been asked for lately.
func lengthString(n int) string { return lengths.get(n, strconv.Itoa) }

func ageString(age time.Duration) string {
	return seconds.get(int(max(age, 0)/time.Second), strconv.Itoa)
}
