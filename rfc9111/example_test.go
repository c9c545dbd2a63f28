package rfc9111_test

import (
	"fmt"
	"net/http"
	"time"

	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// A response is judged and stored, used while it is fresh, and validated when it is not.
func Example() {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	policy := &rfc9111.Policy{StaleWhileRevalidate: -1, StaleIfError: -1} // follow the origin
	request := http.Header{"Accept-Encoding": {"gzip"}}

	target, err := rfc9111.ParseTarget("http", "Example.com:80", "/shop/../products/%31")
	fmt.Println(target, err)

	exchange := &rfc9111.Exchange{
		Method: http.MethodGet, Target: &target, Request: rfc9111.Header(request),
		Status: http.StatusOK,
		Response: rfc9111.Header{
			"Cache-Control": {"max-age=60, stale-if-error=600"}, "Etag": {`"v1"`}, "Vary": {"Accept-Encoding"},
		},
	}
	fmt.Println(rfc9111.Storable(exchange, policy))
	stored := rfc9111.NewMeta(exchange, policy, now, now)

	for _, after := range []time.Duration{10 * time.Second, 70 * time.Second} {
		d := rfc9111.Decide(rfc9111.Header(request), &stored, rfc9111.ForwardURIMiss, rfc9111.Constraint{}, now.Add(after))
		fmt.Println(after, d.Action == rfc9111.Serve, d.Action == rfc9111.Validate, d.TTL, d.Reason)
	}
	ifNoneMatch, _ := rfc9111.Conditions(&stored)
	fmt.Println(ifNoneMatch)

	d := rfc9111.DecideOnError(rfc9111.Header(request), &stored, rfc9111.Constraint{}, rfc9111.ServerError, now.Add(70*time.Second))
	fmt.Println(d.Action == rfc9111.ServeStale, d.Reason, "-", d.Reason.Explain())
	// Output:
	// http://example.com/products/1 <nil>
	// true none
	// 10s true false 50s none
	// 1m10s false true -10s stale
	// "v1"
	// true stale-if-error - The origin failed, and a stale response was used instead (RFC 5861, 4).
}

func ExampleAppendStatus() {
	hit := rfc9111.Status{Hit: true, TTL: 42 * time.Second, HasTTL: true, Detail: rfc9111.ReasonL1.String()}
	fmt.Printf("%s\n", rfc9111.AppendStatus(nil, "cacheproxy", &hit))
	// Output: cacheproxy; hit; ttl=42; detail=l1
}

func ExampleTargetError() {
	_, err := rfc9111.ParseTarget("http", "example.com", "/files/..%2fsecret")
	fmt.Println(err)
	// Output: path of the target URI, at byte 7: a dot segment or a zero byte behind escapes or parameters
}
