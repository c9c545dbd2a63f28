package proxy

import (
	"net/http"
	"net/netip"

	"github.com/cacheproxy/cacheproxy/rfc9111"
	"github.com/cacheproxy/cacheproxy/rules"
)

// view is a request as the rules see it: the client's own fields, the target in normal form, the address that counts as the
// client's. It implements rules.View. A fill keeps a copy, because the request may be gone before the fill ends.
type view struct {
	header http.Header
	host   string // the Host field as sent
	method string
	target rfc9111.Target
	client netip.Addr
	route  *rules.Route
	// plain asks the origin for its response without content coding, whatever the client accepts, because encoded forms are made here.
	plain bool
}

// Field implements rfc9111.Fields.
func (v *view) Field(name string) (string, int) {
	if name == "Host" {
		return v.host, 1
	}
	return rfc9111.Header(v.header).Field(name)
}

// Method implements rules.View. The methods that ask about what a GET would find are seen as a GET.
func (v *view) Method() string {
	if isPurge(v.method) {
		return http.MethodGet
	}
	return v.method
}

// Target implements rules.View.
func (v *view) Target() *rfc9111.Target { return &v.target }

// Client implements rules.View.
func (v *view) Client() netip.Addr { return v.client }

// size is how many bytes the names and values of the fields have.
func (v *view) size() (n int) {
	for name, values := range v.header {
		for _, value := range values {
			n += len(name) + len(value)
		}
	}
	return n
}

// selecting is a view whose fields are normalised as the route asks: what Vary compares, and what the origin is sent.
type selecting view

// Field implements rfc9111.Fields.
func (s *selecting) Field(name string) (string, int) {
	return s.route.Selecting((*view)(s), name, s.plain)
}
