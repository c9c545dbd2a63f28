// Package upstream is the proxy's back door: an [Upstream] is an
// [http.RoundTripper] that reaches a healthy target of one upstream, or says in
// an [*Error] why it did not.
//
//	u, err := upstream.New("shop", upstream.Options{
//		Targets: []upstream.Target{{URL: "http://127.0.0.1:3000", Weight: 1}}, ...
//	})
//	go u.Run(ctx) // health checks, and following names
//	response, err := u.RoundTrip(request) // the request's scheme and authority are set here
//
// Every wait has a limit: for a free place, for a connection to come about, for
// the head of the response, and for each next piece of a body. A response head has
// a limit in bytes and in the number of interim responses before it. A body that
// breaks off ends with an [*Error], never with io.EOF.
//
// # The way of a request
//
// It takes a place (upstream.go), visits a target that the roster picks by how
// the targets stand (roster.go) and by the balance (balance.go), and is sent over
// one of the target's connections (attempt.go, pool.go, conn.go). What became of it
// is told to the target's breaker (target.go). What another target may do better
// goes there (retry.go).
//
// # Sent once
//
// To the same target a request is sent a second time only on the ground that
// nobody has read the first: it went to a connection that was kept from an earlier
// request and that the origin had closed, so that nothing could be written, or the
// origin's system reset what was written, or closed without acknowledging it. A
// request that the origin has taken before it closed the connection without an
// answer may have been acted on. See once.go. To another target it is sent where
// its method is idempotent (RFC 9110, section 9.2.2), or where the first never took
// the connection.
package upstream
