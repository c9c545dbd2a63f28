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
// A request is sent a second time only where the origin cannot have read the
// first: on a connection that was kept from an earlier request and that the
// origin had closed, because nothing could be written, because its system
// reset what was written, or because it closed without acknowledging that. A
// connection that the origin closed after it had the request is an error: it
// may have acted on it. See retry.go.
package upstream
