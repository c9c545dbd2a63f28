package rules

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// request is a View whose target is already in normal form.
type request struct {
	method string
	target rfc9111.Target
	header http.Header
	client netip.Addr
}

func (r *request) Field(name string) (string, int) { return rfc9111.Header(r.header).Field(name) }
func (r *request) Method() string                  { return r.method }
func (r *request) Target() *rfc9111.Target         { return &r.target }
func (r *request) Client() netip.Addr              { return r.client }

// newRequest takes a URL in normal form and field lines.
func newRequest(method, url string, lines ...string) *request {
	scheme, rest, _ := strings.Cut(url, "://")
	host, path := rest, "/"
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		host, path = rest[:i], rest[i:]
	}
	path, query, _ := strings.Cut(path, "?")
	r := &request{
		method: method,
		target: rfc9111.Target{Scheme: scheme, Host: host, Path: path, Query: query},
		header: http.Header{},
		client: netip.MustParseAddr("192.0.2.7"),
	}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ":")
		r.header.Add(name, strings.TrimSpace(value))
	}
	return r
}

func get(url string, lines ...string) *request { return newRequest("GET", url, lines...) }

var testOptions = Options{DefaultUpstream: "shop", Upstreams: []string{"shop", "api"}, MaxObjectBytes: 8 << 20}

// mustCompile compiles specs that have no mistakes.
func mustCompile(t testing.TB, specs ...Spec) *Table {
	t.Helper()
	table, _, errs := Compile(specs, testOptions)
	for _, err := range errs {
		t.Error(err)
	}
	if t.Failed() {
		t.FailNow()
	}
	return table
}

// mustRoute compiles one route that takes every request.
func mustRoute(t testing.TB, cache CacheSpec) *Route {
	t.Helper()
	return mustCompile(t, Spec{Name: "test", Cache: &cache}).Routes()[0]
}

func ptr[T any](v T) *T { return &v }
