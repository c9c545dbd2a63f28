// Package proxy is the front door: everything with an [http.ResponseWriter] in its hand.
//
// [Proxy.ServeHTTP] is the walk of a request. It brings the target into normal form, finds the route, builds the key, asks the
// cache, hears one verdict, and serves or fills:
//
//	begin ─▶ match ─▶ key ─▶ find ─▶ verdict ─▶ serve.go   a stored response, whole, in ranges, or as 304
//	                                         ├▶ fill.go    one fetch per key, detached from the client that caused it
//	                                         ├▶ follow.go  what each waiting client reads of a fill
//	                                         ├▶ refresh.go a fill without a client
//	                                         ├▶ encode.go  the encoded forms of what is stored, beside the requests
//	                                         ├▶ pass.go    straight to the origin
//	                                         └▶ write.go   unsafe methods, and what they invalidate
//
// It decides nothing itself: package rfc9111 says what may be done, package cache remembers, package rules says how a route wants it.
//
// An origin is an [http.Handler]: usually a reverse proxy made by [Forward], but any handler will do.
package proxy
