// Package library shows package proxy in front of the routers of Go programs:
// its examples run, with the routers' own modules, which the product's module
// does not need. They are the same for chi, echo and gin, because each of them
// is an http.Handler: the cache stands before the router as a whole.
package library
