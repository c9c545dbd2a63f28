// Package upstream is the proxy's back door: an [Upstream] is an
// [http.RoundTripper] that reaches the target of one upstream, or says in an
// [*Error] why it did not.
//
//	u, err := upstream.New("shop", upstream.Options{
//		Targets: []upstream.Target{{URL: "http://127.0.0.1:3000"}}, ...
//	})
//	response, err := u.RoundTrip(request) // the request's scheme and authority are set here
//
// Every wait has a limit: for a free connection, for a connection to come
// about, for the head of the response, and for each next piece of a body. A
// response head has a limit in bytes and in the number of interim responses
// before it. A body that breaks off ends with an [*Error], never with io.EOF.
//
// # Sent once
//
// A request is sent a second time only on the ground that nobody has read the
// first: it went to a connection that was kept from an earlier request and that
// the origin had closed, so that nothing could be written, or the origin's
// system reset what was written, or closed without acknowledging it. A request
// that the origin has taken before it closed the connection without an answer is
// an error: it may have been acted on. See retry.go.
package upstream
