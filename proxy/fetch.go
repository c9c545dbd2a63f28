package proxy

import (
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/cacheproxy/cacheproxy/cache"
	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/proxy/upstream"
	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// fills are the fetches under way that others may join, by key. A fill stands in it until it has been stored, or has turned out
// not to be for everybody.
type fills struct {
	mu    sync.Mutex // guards byKey; taken before a fill's own mu, never after it
	byKey map[[16]byte]*fill
}

func (s *fills) remove(f *fill) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byKey[f.hash] == f {
		delete(s.byKey, f.hash)
	}
}

// under reports whether a fetch for hash is under way.
func (s *fills) under(hash [16]byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byKey[hash] != nil
}

// verdict is what a client makes of a fill.
type verdict uint8

const (
	answered verdict = iota // the client has its answer
	alone                   // the fill is not for this client: it goes on its own
	afresh                  // what was to be validated or completed is of no use: fetch the whole
	another                 // the fill brings another variant: look for the one of this client's
)

// fetchLimit bounds how often one request may change its mind. Each turn is a step towards a fetch of its own, which always answers.
const fetchLimit = 5

// fetch answers from the origin, together with whoever asks for the same.
func (x *exchange) fetch() {
	d := x.outcome.Decision
	x.report.Reason, x.report.Upstream = d.Reason, x.route.Upstream
	x.status.Forward = d.Forward
	x.pauseStall()
	if x.outcome.Uncacheable && x.outcome.Entry == nil {
		x.plain = false // what will not be stored is not encoded here either: the origin may
	}
	if d.Reason == rfc9111.ReasonRequestNoStore {
		x.pass(d.Reason)
		return
	}
	if x.query.Range != "" && x.outcome.Uncacheable && x.outcome.Because == rfc9111.ReasonTooLarge {
		x.pass(rfc9111.ReasonRange)
		return
	}
	if x.method == http.MethodHead && x.outcome.Uncacheable {
		x.passHead()
		return
	}
	hash, w := x.fillHash(), x.wants()
	if w.rng != "" {
		hash = rfc9111.NewKey(rfc9111.AppendPart(append([]byte(nil), x.query.Key.Text...), w.rng)).Hash
	}
	if x.outcome.Uncacheable {
		x.apart = rfc9111.ReasonHitForMiss
	}
	share := !x.outcome.Uncacheable && d.Forward != rfc9111.ForwardRequest && x.route.CollapseWait > 0
	for range fetchLimit {
		f, r, lead := x.join(hash, w, share)
		if f == nil {
			return
		}
		switch v, vary := x.follow(f, r, lead); v {
		case answered:
			return
		case alone:
			share = false
		case afresh:
			share, w = false, wanted{plain: true}
		case another:
			next := x.varyHash(vary)
			share = share && next != hash
			hash = next
		}
	}
	x.refuse(http.StatusBadGateway, rfc9111.ReasonUpstreamError)
}

// fillHash is the name under which a fetch for this request is found. Where it is known by what responses of the key vary, requests
// for different variants do not wait for each other.
func (x *exchange) fillHash() [16]byte {
	switch {
	case x.outcome.Entry != nil && x.outcome.Entry.Varies():
		return x.varyHash(x.outcome.Entry.Meta().Vary)
	case len(x.outcome.Others) > 0:
		return x.varyHash(x.outcome.Others[0].Meta().Vary)
	}
	return x.query.Key.Hash
}

// wants says what the fetch is for.
func (x *exchange) wants() wanted {
	e, d := x.outcome.Entry, &x.outcome.Decision
	switch {
	case e != nil && e.IsPartial():
		if _, _, ok := e.Missing(); ok && x.query.Range == "" && x.route.CompleteRanges {
			return wanted{selected: e, complete: true}
		}
		if x.query.Range == "" || x.conditionalRange() {
			return wanted{selected: e, plain: true}
		}
		return wanted{selected: e, rng: x.query.Range}
	case x.query.Range != "" && x.route.CompleteRanges && e == nil && !x.conditionalRange():
		return wanted{rng: x.query.Range}
	case d.Action == rfc9111.Validate || e == nil:
		return wanted{selected: e}
	default:
		return wanted{selected: e, plain: true}
	}
}

// conditionalRange reports whether the range is asked for only of a certain version (RFC 9110, 13.1.5). The fetch is for everybody then,
// and the condition is answered from what it brings.
func (x *exchange) conditionalRange() bool {
	_, lines := x.view.Field("If-Range")
	return lines > 0
}

// join finds the fetch under way for hash, or begins one. It returns no fill where the answer has been given: another fetch has
// just stored it, or too many fetches are under way.
func (x *exchange) join(hash [16]byte, w wanted, share bool) (f *fill, r *reader, lead bool) {
	if !share {
		x.endLook()
		if !x.mayFetch() {
			x.tooMany()
			return nil, nil, false
		}
		f = x.newFill([16]byte{}, w)
		r, _ = f.attach(x.now)
		f.start()
		return f, r, true // nobody else can find it, so whoever began it leads
	}
	f, r, lead = x.joinOrRegister(hash, w)
	x.endLook()
	switch {
	case lead:
		f.start()
	case f != nil:
	case x.outcome.Decision.Action == rfc9111.Serve:
		x.hit(x.outcome.Entry)
	default:
		x.tooMany()
	}
	return f, r, lead
}

// joinOrRegister joins the fill of hash or puts a new one in its place, which the caller starts. It does neither where the cache has
// the answer meanwhile, which it then leaves in outcome, and where too many fetches are under way.
func (x *exchange) joinOrRegister(hash [16]byte, w wanted) (f *fill, r *reader, lead bool) {
	x.p.fills.mu.Lock()
	defer x.p.fills.mu.Unlock()
	if f = x.p.fills.byKey[hash]; f != nil {
		if r, ok := f.admits(x); ok {
			return f, r, false
		}
	}
	// The second look: a fill that ended between our look into the cache and this one has stored what we want.
	if o := x.p.cache.Find(&x.query); o.Decision.Action == rfc9111.Serve {
		x.outcome = o
		return nil, nil, false
	}
	if !x.mayFetch() {
		return nil, nil, false
	}
	f = x.newFill(hash, w)
	r, _ = f.attach(x.now)
	x.p.fills.byKey[hash] = f
	return f, r, true
}

// admits attaches x's client to the fill where it may join: the fill was begun under the same rules, and nothing that was purged
// since it began concerns it. Whether its variant fits is seen when its head has come. A response that is not fresh, or must be
// validated each time, is for those who were waiting for it, and not for who comes when its head is there already. An instance that is
// cut off from the log does not know what was purged since, and joins nothing.
func (f *fill) admits(x *exchange) (*reader, bool) {
	if f.route.Rule != x.route.Rule || f.overtaken() || f.p.cache.State().CutOff(x.now) != invalidation.Serve {
		return nil, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.done || f.request.Context().Err() != nil || f.head != nil && (f.head.meta.Flags&rfc9111.NoCache != 0 || f.head.meta.TTL(x.now) <= 0) {
		return nil, false
	}
	return f.attach(x.now)
}

// overtaken reports whether something was purged since the fill began that concerns it, or may do so: before its head has come nobody
// knows its tags.
func (f *fill) overtaken() bool {
	f.mu.Lock()
	known := f.head != nil
	f.mu.Unlock()
	state := f.p.cache.State()
	if !known {
		return !state.Joinable(&f.stamp)
	}
	return state.Check(&f.stamp, f) != invalidation.Valid
}

// mayFetch takes one of the places for fetches, which whoever is told true gives back.
func (x *exchange) mayFetch() bool {
	limit := x.plan.Limits.ConcurrentFetches
	if n := x.p.fetches.Add(1); limit > 0 && n > int64(limit) {
		x.p.fetches.Add(-1)
		return false
	}
	return true
}

// follow waits for the fill's head and serves from the fill. The reader is given back at the end.
func (x *exchange) follow(f *fill, r *reader, lead bool) (verdict, []rfc9111.VaryField) {
	defer f.detach(r)
	h, err := x.await(f, lead)
	if lead {
		x.report.Attempt += int(f.attempts.Load())
	}
	switch {
	case errors.Is(err, errAnswered):
		return x.fromAnswer(f, lead)
	case errors.Is(err, errWaited):
		x.apart = rfc9111.ReasonCollapseTimeout
		return alone, nil
	case x.r.Context().Err() != nil:
		x.abort(rfc9111.ReasonClientGone)
	case err != nil:
		x.failed(err)
		return answered, nil
	}
	return x.fromHead(f, r, h, lead)
}

var (
	// errAnswered says that the fill has no head of its own to show: a stored response answers, or nothing does.
	errAnswered = errors.New("answered from the cache")
	// errWaited says that a follower has waited as long as its route allows.
	errWaited = errors.New("waited too long for another request's fetch")
)

// await waits until the fill has a head to show. A follower waits at most as long as its route says. The leader passes the interim
// responses on.
func (x *exchange) await(f *fill, lead bool) (*head, error) {
	var late <-chan time.Time // a timer and no context of its own, which would have to be taken off the request's when it is over
	if !lead {
		timer := time.NewTimer(x.route.CollapseWait)
		defer timer.Stop()
		late = timer.C
	}
	for seen := 0; ; {
		f.mu.Lock()
		h, ended, err := f.head, f.answered, f.err
		interims := f.interim[seen:]
		var w *waiter
		if !ended && h == nil && err == nil && (!lead || len(interims) == 0) {
			w = f.waiters.enter()
		}
		f.mu.Unlock()
		if lead && len(interims) > 0 {
			x.passInterim(interims)
			seen += len(interims)
			continue
		}
		switch {
		case ended:
			return nil, errAnswered
		case h != nil:
			return h, nil
		case err != nil:
			return nil, err
		}
		if err := w.wait(x.r.Context(), late); err != nil {
			f.mu.Lock()
			f.waiters.leave(w)
			f.mu.Unlock()
			return nil, err
		}
	}
}

// passInterim sends interim responses on, but not to a client of HTTP/1.0, which does not know them (RFC 9110, 15.2).
func (x *exchange) passInterim(interims []interim) {
	if !x.r.ProtoAtLeast(1, 1) {
		return
	}
	h := x.w.Header()
	for _, i := range interims {
		for name, values := range i.header {
			h[name] = values
		}
		x.conceal(h)
		x.allowStall(0)
		x.w.WriteHeader(i.status)
		x.pauseStall()
		clear(h)
	}
}

// fromAnswer serves the stored response that a validation or a completion has led to.
func (x *exchange) fromAnswer(f *fill, lead bool) (verdict, []rfc9111.VaryField) {
	f.mu.Lock()
	e, shared, from := f.answer, f.shared, f.final.status
	f.mu.Unlock()
	switch {
	case e == nil:
		return afresh, nil
	case !lead && !shared:
		return alone, nil
	case !e.SelectedBy(x.query.Fields):
		return another, e.Meta().Vary
	case from == 0:
		return x.fromRemote(e), nil
	}
	x.count(lead)
	x.report.Result = cache.ResultRevalidated
	x.status = rfc9111.Status{Forward: x.outcome.Decision.Forward, FwdStatus: from, Stored: shared, Collapsed: !lead}
	m := e.Facts()
	x.report.Age, x.report.TTL, x.report.Stored = m.Age(x.now), m.TTL(x.now), true
	x.allowStall(0)
	forms := x.p.cache.Forms(e)
	x.serveEntry(e, &forms, m.Age(time.Now()))
	return answered, nil
}

// fromRemote serves what the fill has found in the remote tier, where this request may be served with it.
func (x *exchange) fromRemote(e *cache.Entry) verdict {
	o := x.p.cache.Judge(&x.query, e, cache.L2)
	if o.Decision.Action != rfc9111.Serve {
		return alone
	}
	x.outcome = o
	x.hit(e)
	return answered
}

func (x *exchange) count(lead bool) {
	if !lead {
		x.p.collapsed.Add(1)
	}
}

// fromHead decides what the head means to this client, and streams the body where it is for it.
func (x *exchange) fromHead(f *fill, r *reader, h *head, lead bool) (verdict, []rfc9111.VaryField) {
	if serverError(h.status) && x.staleOn(rfc9111.ServerError, h.status) {
		return answered, nil
	}
	switch {
	case !lead && !h.storable:
		return alone, nil
	case !lead && !rfc9111.Matches(x.query.Fields, &h.meta):
		return another, h.meta.Vary
	case h.reason == rfc9111.ReasonTooLarge && x.query.Range != "" && f.wanted.rng == "":
		f.detach(r) // it ends, where nobody else reads it
		x.pass(rfc9111.ReasonRange)
		return answered, nil
	}
	x.count(lead)
	x.report.Result = cache.ResultMiss
	if !lead {
		x.report.Result = cache.ResultCollapsed
	}
	if !h.storable {
		x.report.Result = cache.ResultPass
		x.report.Reason = h.reason
	}
	x.status = rfc9111.Status{Forward: x.outcome.Decision.Forward, FwdStatus: h.status, Stored: h.storable, Collapsed: !lead}
	switch {
	case !h.storable:
		x.status.Detail = h.reason.String()
	case lead && x.apart != rfc9111.ReasonNone:
		x.report.Reason, x.status.Detail = x.apart, x.apart.String()
	}
	x.serveStream(f, r, h, lead)
	return answered, nil
}

// failed answers where the origin gave no response: with what is stored, if that may be served stale, else with an error.
func (x *exchange) failed(err error) {
	if x.staleOn(rfc9111.Disconnected, 0) {
		return
	}
	status, why := failure(err)
	x.refuse(status, why)
}

// staleOn serves the stored response although the origin failed, where that is allowed. status is the origin's, or 0.
func (x *exchange) staleOn(f rfc9111.Failure, status int) bool {
	e := x.outcome.Entry
	if e == nil || e.IsPartial() {
		return false
	}
	constraint, usable := x.p.cache.Constrain(e, x.now)
	if !usable {
		return false
	}
	m := e.Facts()
	d := rfc9111.DecideOnError(x.query.Fields, &m, constraint, f, x.now)
	if d.Action == rfc9111.Fetch {
		return false
	}
	x.report.Result, x.report.Reason = cache.ResultStale, d.Reason
	x.report.Tier, x.report.Stored, x.report.Age, x.report.TTL = x.outcome.Tier.String(), true, d.Age, d.TTL
	// The request was forwarded, so this is no hit (RFC 9211, 2.1).
	x.status = rfc9111.Status{Forward: x.outcome.Decision.Forward, FwdStatus: status, TTL: d.TTL, HasTTL: true, Detail: d.Reason.String()}
	x.allowStall(0)
	x.serveEntry(e, &x.outcome.Forms, d.Age)
	return true
}

// failure maps the error of a fetch to a status code. Errors of an upstream know theirs.
func failure(err error) (int, rfc9111.Reason) {
	if errors.Is(err, errPanic) {
		return http.StatusInternalServerError, rfc9111.ReasonPanic
	}
	var known interface{ Status() int }
	var timeout interface{ Timeout() bool }
	var up *upstream.Error
	switch {
	case errors.As(err, &up) && up.Kind == upstream.Down:
		return http.StatusServiceUnavailable, rfc9111.ReasonUpstreamError
	case errors.As(err, &known) && known.Status() == http.StatusServiceUnavailable:
		return http.StatusServiceUnavailable, rfc9111.ReasonConcurrency
	case errors.As(err, &known) && known.Status() == http.StatusGatewayTimeout, errors.As(err, &timeout) && timeout.Timeout():
		return http.StatusGatewayTimeout, rfc9111.ReasonUpstreamTimeout
	case errors.Is(err, errShortBody), errors.Is(err, errBroken):
		return http.StatusBadGateway, rfc9111.ReasonIncomplete
	default:
		return http.StatusBadGateway, rfc9111.ReasonUpstreamError
	}
}

// tooMany answers where no further fetch may begin.
func (x *exchange) tooMany() {
	if !x.staleOn(rfc9111.Disconnected, 0) {
		x.refuse(http.StatusServiceUnavailable, rfc9111.ReasonConcurrency)
	}
}
