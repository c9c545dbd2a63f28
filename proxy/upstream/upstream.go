package upstream

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// Upstream sends requests to the targets of one upstream. It is safe for
// concurrent use.
type Upstream struct {
	// Observe, where it is not nil, is called once for every request, when the
	// head of its response has come or it is known that none will: with the
	// upstream's name, the response's status code or 0, and the time since
	// RoundTrip was called. It is set before the first request and must not block.
	Observe func(upstream string, code int, d time.Duration)

	// Changed, where it is not nil, is called when the state of a target has
	// changed, one call after another, while Run runs. It is set before Run.
	Changed func(upstream, target string, from, to State)

	name    string
	options Options
	targets []*target
	roster  *roster
	budget  budget
	places  chan struct{} // one value for each request under way
	closed  atomic.Bool

	resolveEvery time.Duration

	responses [6]atomic.Uint64 // by the first digit of the status code
	failures  [kinds]atomic.Uint64
	retries   atomic.Uint64
}

// New returns the upstream of the given name. The error joins all that
// [Options.Validate] finds, each an [*OptionError]; or it says which file that the
// options name cannot be used.
func New(name string, o Options) (*Upstream, error) {
	var faults []error
	for _, f := range o.Validate() {
		faults = append(faults, f)
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	u := &Upstream{
		name:         name,
		options:      o,
		roster:       newRoster(&o),
		budget:       budget{share: o.RetryBudget},
		places:       make(chan struct{}, o.MaxConnections),
		resolveEvery: resolveEvery,
	}
	for _, t := range o.Targets {
		made, err := u.newTarget(t)
		if err != nil {
			return nil, err
		}
		u.targets = append(u.targets, made)
	}
	u.roster.targets = u.targets
	return u, nil
}

// Name returns the upstream's name.
func (u *Upstream) Name() string { return u.name }

// Close closes the connections that no request uses, and the others as soon as
// the last request has ended. It ends no request.
func (u *Upstream) Close() {
	u.closed.Store(true)
	for _, t := range u.targets {
		t.pool.Load().close()
	}
}

// RoundTrip sends req to a target and returns the response's head; the caller
// reads and closes the body. The scheme and authority of req's URL are replaced
// by the target's, and so is its Host, unless that is preserved. An error, of
// RoundTrip or of reading the body, is an [*Error] unless it is of the caller's
// own making: the cause of a context that ended, the error of the request's
// body, or a request that cannot be sent.
func (u *Upstream) RoundTrip(req *http.Request) (*http.Response, error) {
	begin := time.Now()
	response, err := u.roundTrip(req)
	code := 0
	if err == nil {
		code = response.StatusCode
		u.responses[min(code/100, 5)].Add(1)
	}
	if u.Observe != nil {
		u.Observe(u.name, code, time.Since(begin))
	}
	return response, err
}

func (u *Upstream) roundTrip(req *http.Request) (*http.Response, error) {
	if err := u.acquire(req.Context()); err != nil {
		if req.Body != nil {
			req.Body.Close() // as a RoundTripper must; there is nobody to tell an error
		}
		return nil, err
	}
	u.budget.deposit(time.Now())
	elsewhere := len(u.targets) > 1 && u.options.Retries > 0
	again := elsewhere && idempotent(req.Method)
	body := newUpload(req, again)
	response, err := u.send(req, body, elsewhere, again)
	body.settle()
	if err != nil {
		u.release()
	}
	return response, err
}

// send asks one target after another, until one answers or there is no reason
// to ask a further one. elsewhere says that there may be further ones, and again
// that the request may be sent more than once. One that may not still goes to
// another target where the first has never had a byte of it.
func (u *Upstream) send(req *http.Request, body *upload, elsewhere, again bool) (*http.Response, error) {
	key := uint64(0)
	if u.options.Balance == Hash {
		key = keyOf(req)
	}
	v := u.visit(key, again, nil)
	if v == nil {
		return nil, u.failure(nil, Down, errDown)
	}
	var tried []*target
	for retries := 0; ; {
		s := u.attempt(req, v, body)
		if !again && !(elsewhere && s.unsent()) || v.last || !s.mayMeetAnother() || !body.mayRepeat() {
			return s.deliver()
		}
		tried = append(tried, v.target)
		known := !u.roster.well(v.target)
		if !known && !s.unsent() && !s.brokenOff() {
			retries++
		}
		next := u.another(key, tried, retries, known)
		if next == nil {
			return s.deliver()
		}
		u.retries.Add(1)
		s.discard()
		v = next
	}
}

// another returns the target that a request goes to which those of tried have
// failed, or nil where it has failed for good. Where the last of them is known to
// fail, by now, the request neither uses up its retries nor takes from the budget:
// it goes where it would have gone, had it come a little later. So it is, as far as
// its retries go, when it was never sent or its connection was lost: that costs no
// time, and each target is asked once at most.
func (u *Upstream) another(key uint64, tried []*target, retries int, known bool) *visit {
	if retries > u.options.Retries || u.options.RetryBudget == 0 {
		return nil
	}
	v := u.visit(key, true, tried)
	if v == nil || known || u.budget.withdraw(time.Now()) {
		return v
	}
	if v.done != nil {
		v.done(errNoVerdict)
	}
	u.roster.leave(v)
	return nil
}

// acquire takes a place, and waits for one no longer than for a connection.
func (u *Upstream) acquire(ctx context.Context) error {
	select {
	case u.places <- struct{}{}:
		return nil
	default:
	}
	timer := time.NewTimer(u.options.Timeout.Connect)
	defer timer.Stop()
	select {
	case u.places <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return u.failure(nil, Busy, errBusy)
	}
}

func (u *Upstream) release() { <-u.places }

// failure counts and returns an error; t is nil where no target was asked.
func (u *Upstream) failure(t *target, k Kind, err error) error {
	u.failures[k].Add(1)
	e := &Error{Upstream: u.name, Kind: k, Err: err}
	if t != nil {
		e.Target = t.text
	}
	return e
}

// Stats is what an upstream has done since it was made.
type Stats struct {
	InFlight  int               // requests under way, bodies included
	Responses map[string]uint64 // heads received, by class: "2xx"
	Failures  map[string]uint64 // by kind, of each attempt; one of a body counts beside its response
	Retries   uint64            // requests that were sent to a further target
	Targets   []TargetStats     // in the order of the options
}

// TargetStats is what is known of one target.
type TargetStats struct {
	URL         string
	Name        string // its authority, or the path of its socket
	State       State
	Since       time.Time // when the state began
	Breaker     int       // 0 closed, 1 half-open, 2 open
	Weight      int
	Connections int64  // open now
	Requests    uint64 // sent to it
	Failures    uint64 // of those: no head in time, a lost connection, 502, 503, 504
}

// Stats returns the numbers up to now. Every class and kind is there.
func (u *Upstream) Stats() Stats {
	s := Stats{InFlight: len(u.places), Responses: map[string]uint64{}, Failures: map[string]uint64{}, Retries: u.retries.Load()}
	for class := 1; class < len(u.responses); class++ {
		s.Responses[strconv.Itoa(class)+"xx"] = u.responses[class].Load()
	}
	for k := range u.failures {
		s.Failures[Kind(k).String()] = u.failures[k].Load()
	}
	for _, t := range u.targets {
		state, circuit, since := u.roster.status(t, time.Now())
		s.Targets = append(s.Targets, TargetStats{
			URL: t.text, Name: t.address.host, State: state, Since: since, Breaker: int(circuit), Weight: t.weight,
			Connections: t.open.Load(), Requests: t.requests.Load(), Failures: t.failed.Load(),
		})
	}
	return s
}
