package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"strconv"
	"sync/atomic"
	"time"
)

// maxHeadBytes bounds a response's head. A bad origin may send one without end.
const maxHeadBytes = 256 << 10

// Upstream sends requests to the target of one upstream. It is safe for
// concurrent use.
type Upstream struct {
	// Observe, where it is not nil, is called once for every request, when the
	// head of its response has come or it is known that none will: with the
	// upstream's name, the response's status code or 0, and the time since
	// RoundTrip was called. It is set before the first request and must not block.
	Observe func(upstream string, code int, d time.Duration)

	name      string
	target    *url.URL
	options   Options
	transport *http.Transport
	tls       *tls.Config   // nil for http
	places    chan struct{} // one value for each request under way

	responses [6]atomic.Uint64 // by the first digit of the status code
	failures  [kinds]atomic.Uint64
}

// New returns the upstream of the given name. The error joins all that
// [Options.Validate] finds, each an [*OptionError].
func New(name string, o Options) (*Upstream, error) {
	var faults []error
	for _, f := range o.Validate() {
		faults = append(faults, f)
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	target, err := o.Targets[0].parse()
	if err != nil {
		return nil, err
	}
	d := &dialer{connect: o.Timeout.Connect, idle: o.Timeout.Idle}
	if target.Scheme == "https" {
		d.tls = &tls.Config{ServerName: target.Hostname(), NextProtos: []string{"http/1.1"}}
	}
	return &Upstream{
		name:    name,
		target:  target,
		options: o,
		tls:     d.tls,
		places:  make(chan struct{}, o.MaxConnections),
		transport: &http.Transport{
			DialContext:            d.dial,
			DialTLSContext:         d.dial,
			DisableCompression:     true, // it would decode behind the cache's back
			ResponseHeaderTimeout:  o.Timeout.ResponseHeader,
			IdleConnTimeout:        o.Timeout.Idle,
			MaxIdleConnsPerHost:    o.MaxConnections,
			MaxConnsPerHost:        o.MaxConnections, // connections that are being opened or closed count too, which places does not see
			MaxResponseHeaderBytes: maxHeadBytes,
		},
	}, nil
}

// Name returns the upstream's name.
func (u *Upstream) Name() string { return u.name }

// Close closes the connections that no request uses. It ends no request.
func (u *Upstream) Close() { u.transport.CloseIdleConnections() }

// RoundTrip sends req to the target and returns the response's head; the caller
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
	ctx, cancel := context.WithCancelCause(req.Context())
	a := &attempt{cancel: cancel}
	out := u.outgoing(httptrace.WithClientTrace(ctx, a.trace()), req)
	sent, _ := out.Body.(*upload)
	a.guard(out)

	fail := func(err error) error { return u.classify(req.Context(), ctx, a, sent, err) }
	response, err := u.transport.RoundTrip(out)
	if err == nil {
		if cause := context.Cause(ctx); cause == errNotAnswer || cause == errManyInterim {
			response.Body.Close() // the connection has gone with the request
			err = cause
		}
	}
	if err != nil {
		err = fail(err)
		cancel(nil)
		u.release()
		return nil, err
	}
	response.Request = req
	u.attach(response, cancel, fail)
	return response, nil
}

// attach makes the response's body give the request's place back.
func (u *Upstream) attach(response *http.Response, cancel func(error), fail func(error) error) {
	if response.StatusCode == http.StatusSwitchingProtocols {
		if rwc, ok := response.Body.(io.ReadWriteCloser); ok {
			b := newBody(rwc, u.options.Timeout.Idle, cancel, fail, u.release)
			response.Body = &tunnel{ReadWriteCloser: rwc, end: b.end}
			return
		}
	}
	if response.Body == http.NoBody {
		cancel(nil)
		u.release()
		return
	}
	response.Body = newBody(response.Body, u.options.Timeout.Idle, cancel, fail, u.release)
}

// outgoing returns a copy of req that is addressed to the target.
func (u *Upstream) outgoing(ctx context.Context, req *http.Request) *http.Request {
	out := req.WithContext(ctx)
	address := *req.URL
	address.Scheme, address.Host = u.target.Scheme, u.target.Host
	out.URL = &address
	if u.options.Host == HostTarget {
		out.Host = u.target.Host
	}
	if req.Body != nil && req.Body != http.NoBody {
		out.Body = &upload{ReadCloser: req.Body}
	}
	return out
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
		return u.failure(Busy, errBusy)
	}
}

func (u *Upstream) release() { <-u.places }

// classify says what an error of the transport, or of reading a body, means.
// What was decided here comes first, then what the caller has caused, for both
// make further errors on the connection.
func (u *Upstream) classify(caller, ctx context.Context, a *attempt, sent *upload, err error) error {
	cause := context.Cause(ctx)
	var dial *dialError
	switch {
	case cause == errSilent:
		return u.failure(IdleTimeout, cause)
	case cause == errManyInterim, cause == errNotAnswer:
		return u.failure(Malformed, cause)
	case caller.Err() != nil:
		return context.Cause(caller)
	case sent.failure() != nil:
		return sent.failure()
	case errors.As(err, &dial):
		return u.failure(Connect, dial.error)
	case a.leg.Load() == nil:
		return err // it cannot be sent as it is
	}
	switch lost := a.lost(); {
	case lost != nil && errors.Is(lost.err, os.ErrDeadlineExceeded):
		return u.failure(IdleTimeout, lost.err)
	case lost != nil && lost.err == io.EOF && err == io.EOF:
		return u.failure(Broken, errNoAnswer)
	case lost != nil:
		return u.failure(Broken, err)
	case errors.Is(err, context.DeadlineExceeded):
		return u.failure(Timeout, err)
	}
	return u.failure(Malformed, err)
}

func (u *Upstream) failure(k Kind, err error) error {
	u.failures[k].Add(1)
	return &Error{Upstream: u.name, Target: u.target.String(), Kind: k, Err: err}
}

// Stats is what an upstream has done since it was made.
type Stats struct {
	InFlight  int               // requests under way, bodies included
	Responses map[string]uint64 // heads received, by class: "2xx"
	Failures  map[string]uint64 // by kind; one of a body counts beside its response
}

// Stats returns the numbers up to now. Every class and kind is there.
func (u *Upstream) Stats() Stats {
	s := Stats{InFlight: len(u.places), Responses: map[string]uint64{}, Failures: map[string]uint64{}}
	for class := 1; class < len(u.responses); class++ {
		s.Responses[strconv.Itoa(class)+"xx"] = u.responses[class].Load()
	}
	for k := range u.failures {
		s.Failures[Kind(k).String()] = u.failures[k].Load()
	}
	return s
}
