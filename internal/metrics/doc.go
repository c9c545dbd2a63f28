// Package metrics turns what the inner rooms report into Prometheus metrics and into the access log.
//
// Requests come as one [cache.Report] each, through [Metrics.Observe] and [AccessLog.Observe], which are observers of the proxy.
// Both run on the goroutine that serves the request: counting takes no lock and allocates nothing, and a line of the log is put
// into memory that a writer of its own empties. Everything else is read from the parts' Stats when somebody scrapes.
//
// The label route is the name of a route, upstream that of an upstream, result and reason come from closed lists: no label grows
// with what clients send.
package metrics
