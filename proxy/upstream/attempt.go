package upstream

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"strings"
)

// attempt is a request on its way to one target. What tells how it fares there,
// http.Transport's hooks, stands in once.go.
type attempt struct {
	trip
	u     *Upstream
	visit *visit
	pool  *pool
	req   *http.Request // the caller's
	body  *upload
	ctx   context.Context // of the request as it is sent

	response *http.Response // the head that came, or err
	err      error
	settled  verdict
}

// attempt sends the request to a target and waits for the head of the response.
func (u *Upstream) attempt(req *http.Request, v *visit, body *upload) *attempt {
	count(req)
	a := &attempt{u: u, visit: v, pool: v.pool.Load(), req: req, body: body}
	a.pool.enter()
	a.response, a.err = a.roundTrip()
	if a.err != nil {
		a.err = a.classify(a.err)
		a.cancel(nil)
	}
	a.settled = a.verdict()
	u.end(v, a.settled)
	return a
}

// roundTrip sends the request in the cheapest way that fits it.
func (a *attempt) roundTrip() (*http.Response, error) {
	if d := a.pool.direct; d != nil && d.takes(a.req) {
		a.ctx, a.cancel = a.req.Context(), func(error) {}
		return d.roundTrip(a)
	}
	return a.transported()
}

// transported sends the request by HTTP/2 where the target speaks it. Where it does
// not, nothing was sent, and HTTP/1.1 it is.
func (a *attempt) transported() (*http.Response, error) {
	for {
		transport, multiplexed := a.pool.choose(a.req.Header["Upgrade"] != nil)
		out := a.outgoing(multiplexed)
		if multiplexed {
			a.shared = true
		} else {
			a.guard(out)
		}
		response, err := transport.RoundTrip(out)
		if err == nil {
			if !multiplexed && hidesFraming(response.Header) {
				a.cancel(errHidden)
			}
			if cause := context.Cause(a.ctx); notHTTP(cause) {
				response.Body.Close() // the connection has gone with the request
				return nil, cause
			}
			return response, nil
		}
		if !multiplexed || !isPlain(err) {
			return nil, err
		}
		a.pool.onlyPlain.Store(true)
		a.cancel(nil)
		a.shared = false
	}
}

// hidesFraming reports whether a field that says where the content ends has white space before its colon. Others may heed it;
// http.Transport does not, and so would take another end (RFC 9112, section 5.1).
func hidesFraming(h http.Header) bool {
	for name := range h {
		if last := name[len(name)-1]; last == ' ' || last == '\t' {
			switch http.CanonicalHeaderKey(strings.TrimRight(name, " \t")) {
			case "Content-Length", "Transfer-Encoding":
				return true
			}
		}
	}
	return false
}

// isPlain reports whether a target has turned out not to speak HTTP/2.
func isPlain(err error) bool { return errors.Is(err, errPlain) }

// outgoing returns a copy of the request that is addressed to the target.
func (a *attempt) outgoing(multiplexed bool) *http.Request {
	ctx, cancel := context.WithCancelCause(a.req.Context())
	a.ctx, a.cancel = ctx, cancel
	out := a.req.WithContext(httptrace.WithClientTrace(ctx, a.trace()))
	to := a.visit.address
	address := *a.req.URL
	address.Scheme, address.Host = to.protocol(), to.authority()
	out.URL = &address
	if a.u.options.Host == HostTarget {
		out.Host = to.authority()
	}
	out.GetBody = nil // what may be sent again is decided here
	if a.body != nil {
		var untaken func()
		if multiplexed { // over HTTP/1.1 each write to the connection has a limit; here many requests share it
			untaken = func() { cancel(errUntaken) }
		}
		out.Body = a.body.open(a.u.options.Timeout.Idle, untaken)
	}
	return out
}

// verdict says what the attempt tells of the target.
func (a *attempt) verdict() verdict {
	var e *Error
	switch {
	case a.err == nil && refuses(a.response.StatusCode):
		return failed
	case a.err == nil:
		return fine
	case !errors.As(a.err, &e):
		return unknown // the client's doing
	case e.Kind == Connect || e.Kind == Timeout:
		return deaf
	case e.Kind.transient():
		return failed
	}
	return unknown
}

// mayMeetAnother reports whether another target may do what this one did not.
func (a *attempt) mayMeetAnother() bool {
	return (a.settled == failed || a.settled == deaf) && a.req.Context().Err() == nil
}

// unsent reports whether no connection came about.
func (a *attempt) unsent() bool {
	var e *Error
	return errors.As(a.err, &e) && e.Kind == Connect
}

// brokenOff reports whether the connection was lost before a response's head came.
func (a *attempt) brokenOff() bool {
	var e *Error
	return errors.As(a.err, &e) && e.Kind == Broken
}

// deliver returns the attempt's response, or its error, as that of the request.
func (a *attempt) deliver() (*http.Response, error) {
	if a.err != nil {
		a.depart()
		return nil, a.err
	}
	a.response.Request = a.req
	a.attach()
	return a.response, nil
}

// discard ends an attempt that another one takes the place of.
func (a *attempt) discard() {
	if a.err == nil {
		a.response.Body.Close() // and the connection, where the body has not come yet: it may be long
		a.cancel(nil)
	}
	a.depart()
}

// depart ends the attempt.
func (a *attempt) depart() {
	a.u.roster.leave(a.visit)
	a.pool.leave()
}

// leave ends the attempt and with it the request: its place is free.
func (a *attempt) leave() {
	a.depart()
	a.u.release()
}

// attach makes the response's body give the request's place back.
func (a *attempt) attach() {
	response, idle := a.response, a.u.options.Timeout.Idle
	if response.StatusCode == http.StatusSwitchingProtocols {
		if rwc, ok := response.Body.(io.ReadWriteCloser); ok {
			b := newBody(rwc, idle, a.cancel, a.classify, a.leave)
			t := &tunnel{ReadWriteCloser: rwc, end: b.end}
			response.Body = t
			// httputil.ReverseProxy leaves one open that the client did not ask for: with the
			// request it ends in any case, or its place would be lost.
			context.AfterFunc(a.req.Context(), func() { t.Close() })
			return
		}
	}
	if b, ok := response.Body.(*content); ok {
		b.leave = a.leave
		return
	}
	if response.Body == http.NoBody {
		a.cancel(nil)
		a.leave()
		return
	}
	response.Body = newBody(response.Body, idle, a.cancel, a.classify, a.leave)
}

// classify says what an error of the transport, or of reading a body, means.
// What was decided here comes first, then what the caller has caused, for both
// make further errors on the connection.
func (a *attempt) classify(err error) error {
	fail := func(k Kind, err error) error { return a.u.failure(a.visit.target, k, err) }
	cause, caller := context.Cause(a.ctx), a.req.Context()
	var dial *dialError
	switch {
	case cause == errSilent, cause == errUntaken:
		return fail(IdleTimeout, cause)
	case err == errSilent:
		return fail(IdleTimeout, err)
	case notHTTP(cause):
		return fail(Malformed, cause)
	case caller.Err() != nil:
		return context.Cause(caller)
	case a.body.failure() != nil:
		return a.body.failure()
	case errors.As(err, &dial):
		return fail(Connect, dial.error)
	case a.leg.Load() == nil:
		return err // it cannot be sent as it is
	case notHTTP(err):
		return fail(Malformed, err)
	}
	switch lost := a.lost(); {
	case lost != nil && errors.Is(lost.err, os.ErrDeadlineExceeded):
		return fail(IdleTimeout, lost.err)
	case lost != nil && lost.err == io.EOF && err == io.EOF:
		return fail(Broken, errNoAnswer)
	case lost != nil:
		return fail(Broken, err)
	case isTimeout(err):
		return fail(Timeout, err)
	case a.shared:
		return fail(Broken, err) // the stream was reset, by either side
	}
	return fail(Malformed, err)
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}
