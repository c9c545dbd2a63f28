package proxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cacheproxy/cacheproxy/cache"
	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/rfc9111"
)

const (
	// abandonedLimit is how long a fetch that nobody reads any more may go on, so that what it brings can still be stored.
	abandonedLimit = 30 * time.Second
	// gatherTime is how long a small body may take to follow its head before the head is shown without it.
	gatherTime = 2 * time.Millisecond
	// interimLimit is how many 1xx responses one request may get; an origin that sends more is broken.
	interimLimit = 32
)

var (
	errShortBody = errors.New("the response's body is shorter than its Content-Length")
	errBroken    = errors.New("the response's body broke off")
	errInterim   = errors.New("too many interim responses")
	errUnread    = errors.New("nobody reads the response")
	errStatus    = errors.New("the response's status code is out of range")
	errPanic     = errors.New("the origin handler panicked")
)

// fill is one fetch from the origin for everybody who asks for the same key while it runs. It is the response writer that the
// origin handler writes to, in a goroutine of its own: the client that caused it may go away.
//
// The handler's goroutine alone touches header and what stands above mu; readers see head, body and end under mu, and enter waiters
// to be woken at the next change.
type fill struct {
	view
	cache.Names // by which the response can be purged; none before the head has come, set before it is published
	p           *Proxy
	plan        *Plan
	site        *Site
	hash        [16]byte // under which it stands in fills, if it does
	key         rfc9111.Key
	uri         []byte
	born        invalidation.Birth
	stamp       invalidation.Stamp
	wanted      wanted
	validated   []*cache.Entry // whose validators are sent
	request     *http.Request
	cancel      context.CancelFunc
	attempts    atomic.Int32
	ended       func()       // called when the fetch is over; may be nil
	share       *cache.Share // how the response goes to the remote tier; nil: it does not
	look        bool         // the remote tier is to be asked before the origin is
	claim       bool         // one instance is to fetch for all

	requestTime time.Time
	header      http.Header
	final       *head // the final response's head, once it has come
	committed   bool
	stored      *cache.Entry // what commit made; nil where it had nothing to store
	fault       error        // why the origin gave no response, told by Fail

	mu       sync.Mutex // guards the following
	waiters  waiters    // for a change of the following
	interim  []interim
	head     *head // final, where readers are to see it
	answered bool  // instead of head and body, answer is what readers get; nil: nothing, they fetch anew
	answer   *cache.Entry
	shared   bool // answer may be given to others than the leader
	err      error
	done     bool
	gather   *time.Timer // runs while readers are left asleep because the body will soon be whole; nil: they see what comes
	trailer  http.Header // of a complete response, as a http.ResponseWriter wants it; readers see it once they have seen the end
	stream   stream
}

// wanted is what a fetch is for.
type wanted struct {
	plain    bool         // neither validators nor ranges: an earlier attempt with them led nowhere
	selected *cache.Entry // the stored response that is validated, or whose part is completed
	rng      string       // the client's Range, where it is to be sent on
	complete bool         // fetch what is missing of selected
}

// head is the final response's head, as it will be served. It is not changed after it has been published.
type head struct {
	status   int
	header   http.Header
	meta     rfc9111.Meta
	length   int64 // of the content; -1: not known
	storable bool
	reason   rfc9111.Reason // why it is not storable
	part     cache.Part
	shared   http.Header // what of header is for everybody: what is stored, and what followers get
	// concealed is what else of it is stored, but sent to trusted proxies only.
	concealed http.Header
	labels    *cache.Labels
}

type interim struct {
	status int
	header http.Header
}

// URI implements [invalidation.Subject].
func (f *fill) URI() []byte { return f.uri }

// newFill prepares a fetch for x. Its stamp is made here: whatever is purged from now on ends joining it, and what it brings is
// dead on arrival.
func (x *exchange) newFill(hash [16]byte, w wanted) *fill {
	f := &fill{
		view: x.view, p: x.p, plan: x.plan, site: x.site, hash: hash, wanted: w,
		key: rfc9111.Key{Hash: x.query.Key.Hash, Text: append([]byte(nil), x.query.Key.Text...)},
		uri: x.route.AppendURI(nil, &x.target), header: make(http.Header),
	}
	f.view.header = x.view.header.Clone()
	f.share = x.share()
	f.claim = f.share != nil && x.route.AcrossInstances && !x.outcome.Away && hash != [16]byte{}
	f.born = x.p.cache.State().Birth()
	f.stamp = x.p.cache.State().Stamp(f.born, f.key.Hash, f.uri)
	f.stream.init(x.route.MaxObjectBytes)
	ctx, cancel := context.WithCancel(context.WithoutCancel(x.r.Context()))
	f.cancel = cancel
	f.request = x.outgoing(ctx, &f.view, &f.attempts)
	forFill(f.request, &f.view)
	f.addConditions(x.outcome.Others)
	return f
}

// addConditions makes the fetch conditional on what is stored, or limits it to what is missing.
func (f *fill) addConditions(others []*cache.Entry) {
	w, h := &f.wanted, f.request.Header
	switch {
	case w.plain:
	case w.complete:
		first, last, _ := w.selected.Missing()
		h["Range"] = []string{"bytes=" + strconv.FormatInt(first, 10) + "-"}
		if last >= 0 {
			h["Range"][0] += strconv.FormatInt(last, 10)
		}
		if etag := w.selected.Validators().ETag; strings.HasPrefix(etag, `"`) {
			h["If-Range"] = []string{etag}
		}
	case w.rng != "":
		h["Range"] = []string{w.rng}
	default:
		if w.selected != nil {
			f.validated = append(f.validated, w.selected)
		} else {
			f.validated = others
		}
		f.setConditions()
	}
}

func (f *fill) setConditions() {
	metas := make([]*rfc9111.Meta, len(f.validated))
	for i, e := range f.validated {
		m := e.Facts()
		metas[i] = &m
	}
	match, since := rfc9111.Conditions(metas...)
	if f.wanted.selected == nil {
		since = "" // a date does not tell which of several variants is the current one
	}
	if match != "" {
		f.request.Header["If-None-Match"] = []string{match}
	}
	if since != "" {
		f.request.Header["If-Modified-Since"] = []string{since}
	}
	if match == "" && since == "" {
		f.validated = nil
	}
}

// start runs the fetch in a goroutine that Shutdown waits for. Its place among the fetches has been taken.
func (f *fill) start() {
	f.p.work.Go(func() {
		growStack()
		defer f.p.fetches.Add(-1)
		defer f.cancel()
		if f.ended != nil {
			defer f.ended()
		}
		stop := context.AfterFunc(f.p.closing, f.cancel)
		defer stop()
		f.run()
	})
}

// growStack gives a new goroutine the stack that a fetch needs, while there is nothing on it to copy. It would grow three times else,
// with all that is on it, which took a tenth of the processor time of BenchmarkMiss.
//
//go:noinline
func growStack() byte {
	var room [12 << 10]byte
	return room[len(os.Args)&1] // so that the compiler keeps it
}

// run fetches, and ends the fill however the origin handler ends.
func (f *fill) run() {
	defer func() {
		if fault := recover(); fault != nil {
			f.finish(f.recovered(fault))
		}
	}()
	if f.elsewhere() {
		f.finish(nil)
		return
	}
	f.requestTime = time.Now()
	f.site.Origin.ServeHTTP(f, f.request)
	switch {
	case f.fault != nil:
		f.finish(f.fault)
	default:
		f.WriteHeader(http.StatusOK) // a handler may leave that to net/http
		f.finish(nil)
	}
}

// recovered makes an error of a panic: http.ErrAbortHandler is how httputil.ReverseProxy says that the body broke off.
func (f *fill) recovered(fault any) error {
	if fault == http.ErrAbortHandler {
		return cmp.Or(f.fault, errBroken)
	}
	f.p.panics.Add(1)
	f.p.log.Error("origin handler panicked", "route", f.route.Name, "panic", fmt.Sprint(fault), "stack", string(debug.Stack()))
	return errPanic
}

// Fail implements failer.
func (f *fill) Fail(err error) { f.fault = err }

// Header implements http.ResponseWriter.
func (f *fill) Header() http.Header { return f.header }

// WriteHeader implements http.ResponseWriter. Interim responses are kept for the leader; the final one is judged and published.
func (f *fill) WriteHeader(status int) {
	if status >= 100 && status < 200 {
		f.addInterim(status)
		return
	}
	switch {
	case f.final != nil:
	case status < 100 || status > 999:
		f.fault = errStatus
		f.cancel()
		panic(http.ErrAbortHandler)
	default:
		f.admit(status)
	}
}

func (f *fill) addInterim(status int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.interim) == interimLimit {
		f.fault = errInterim
		f.cancel()
		return
	}
	f.interim = append(f.interim, interim{status, f.header.Clone()})
	f.broadcast()
}

// Write implements http.ResponseWriter. It blocks where the body is too large to be kept and a reader is behind.
func (f *fill) Write(p []byte) (int, error) {
	f.WriteHeader(http.StatusOK)
	if err := f.append(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Flush implements http.Flusher: readers see what has been written, which they do anyway but while a body is gathered.
func (f *fill) Flush() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.gather != nil {
		f.broadcast()
	}
}

// broadcast wakes all who wait. mu is held.
func (f *fill) broadcast() {
	if f.gather != nil {
		f.gather.Stop()
		f.gather = nil
	}
	f.waiters.wake()
}

// gatherBody leaves the readers asleep until the body is whole, or gatherTime has passed: five hundred of them are woken once, and
// write once, instead of first for the head and then for each piece. mu is held.
func (f *fill) gatherBody() {
	f.gather = time.AfterFunc(gatherTime, f.Flush)
}

// finish ends the fill: what is complete and storable is stored before the fill stops being found, so that nobody falls between.
func (f *fill) finish(err error) {
	h := f.final
	if err == nil && h.length >= 0 && f.stream.size != h.length && !bodiless(h.status) {
		err = errShortBody
	}
	if err == nil {
		f.commit()
	}
	f.p.fills.remove(f)
	f.p.cache.Release(f.key.Hash, f.share)
	f.mu.Lock()
	f.err, f.done = err, true
	if err == nil {
		f.trailer = trailersOf(f.header, h.header)
	}
	if err == nil && f.completes(h) {
		f.answered, f.answer, f.shared = true, f.stored, true
	}
	if f.stream.deadline != nil {
		f.stream.deadline.Stop()
	}
	f.broadcast()
	f.mu.Unlock()
	if err != nil {
		f.p.refreshes.fail(f.key.Hash)
		f.p.log.Debug("fetch ended early", "route", f.route.Name, "error", err)
	}
}

// completes reports whether the response is the missing part that was asked for: readers get the whole, once it is there.
func (f *fill) completes(h *head) bool {
	return f.wanted.complete && h.status == http.StatusPartialContent
}

func bodiless(status int) bool {
	return status == http.StatusNoContent || status == http.StatusNotModified
}

// commit stores the response, once, if it may be stored. A part is joined with the part that is stored already.
func (f *fill) commit() {
	h := f.final
	if f.committed || !h.storable {
		return
	}
	f.committed = true
	parts := &cache.Parts{
		Key: f.key, URI: f.uri, Meta: h.meta, Rule: f.route.Rule, Policy: &f.route.Policy, Header: h.shared,
		Concealed: h.concealed, Labels: h.labels, Body: f.stream.bytes(), Part: h.part, Born: f.born, Share: f.share,
	}
	if h.status == http.StatusPartialContent {
		joined, ok := f.joined(parts)
		if ok {
			parts = joined
		} else if f.wanted.complete {
			return
		}
	}
	f.stored, _ = f.p.cache.Store(parts)
}

// joined combines a part with the stored one, be it that which is being completed, or another that has come meanwhile.
func (f *fill) joined(parts *cache.Parts) (*cache.Parts, bool) {
	old := f.wanted.selected
	if old == nil || !old.IsPartial() {
		return nil, false
	}
	if _, usable := f.p.cache.Constrain(old, time.Now()); !usable {
		return nil, false
	}
	return old.Combine(parts)
}
