package upstream

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
)

// Kind is what went wrong between the proxy and an upstream.
type Kind uint8

const (
	Connect     Kind = iota // no connection came about
	Timeout                 // no response head in time
	IdleTimeout             // in the middle of a body nothing came, or nothing was taken, for too long
	Broken                  // the connection was lost
	Malformed               // what came is not HTTP, or goes over a limit
	Busy                    // all connections were in use for too long
	Down                    // every target has failed, and none is tried now

	kinds = iota
)

// String is the token of the kind in logs and metrics.
func (k Kind) String() string {
	switch k {
	case Connect:
		return "connect"
	case Timeout:
		return "timeout"
	case IdleTimeout:
		return "idle-timeout"
	case Broken:
		return "broken"
	case Malformed:
		return "malformed"
	case Busy:
		return "busy"
	case Down:
		return "down"
	}
	return "kind(" + strconv.Itoa(int(k)) + ")"
}

// Error says why an upstream gave no response, or no whole one. What the client
// did, a request context that ended or a request body that broke off, is not
// the upstream's failure and never an Error.
type Error struct {
	Upstream string // its name
	Target   string // the URL of the target; "" where none was asked
	Kind     Kind
	Err      error // the cause
}

func (e *Error) Error() string {
	if e.Target == "" {
		return fmt.Sprintf("upstream %s: %s: %v", e.Upstream, e.Kind, e.Err)
	}
	return fmt.Sprintf("upstream %s (%s): %s: %v", e.Upstream, e.Target, e.Kind, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Failure is the token for logs.
func (e *Error) Failure() string { return e.Kind.String() }

// Status is what the client is told (RFC 9110, section 15.6): 504 where the
// upstream was too slow, 503 where there are too many requests for it or where it
// is not tried at all, else 502.
func (e *Error) Status() int {
	var timeout net.Error
	switch {
	case e.Kind == Busy, e.Kind == Down:
		return http.StatusServiceUnavailable
	case e.Kind == Timeout, e.Kind == IdleTimeout,
		e.Kind == Connect && errors.As(e.Err, &timeout) && timeout.Timeout():
		return http.StatusGatewayTimeout
	}
	return http.StatusBadGateway
}

// Causes that are found here and not by net/http or the operating system.
var (
	errBusy        = errors.New("all connections were in use")
	errDown        = errors.New("every target has failed lately")
	errSilent      = errors.New("nothing came for the idle time of a body")
	errUntaken     = errors.New("nothing of the request's body was taken for the idle time of a body")
	errManyInterim = fmt.Errorf("more than %d interim responses", maxInterim)
	errNotAnswer   = errors.New("a response came before the request was sent")
	errHidden      = errors.New("a field that frames the response is written in a way that hides it")
	errContent     = errors.New("an interim response with content")
	errSwitched    = errors.New("a switch of protocols that nobody asked for")
	errNoAnswer    = errors.New("the connection was closed without an answer")
)

// notHTTP reports whether err says that what came is no response to the request.
func notHTTP(err error) bool {
	switch err {
	case errManyInterim, errNotAnswer, errHidden, errContent, errSwitched:
		return true
	}
	return false
}
