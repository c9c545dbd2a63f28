package rfc9111_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// A page under the name of a file is not stored by a rule's word alone.
func TestDisguisedPages(t *testing.T) {
	tests := []struct {
		path, kind, control string
		status              int
		want                rfc9111.Reason
	}{
		{"/account/x.css", "text/html", "", 200, rfc9111.ReasonDisguised},
		{"/account;x.CSS", "text/html; charset=utf-8", "", 200, rfc9111.ReasonDisguised},
		{"/account%23x.js", "Application/JSON", "", 200, rfc9111.ReasonDisguised},
		{"/account/x.woff2", "application/problem+json", "", 200, rfc9111.ReasonDisguised},
		{"/account%2Fx.png", "application/xhtml+xml", "must-revalidate", 200, rfc9111.ReasonDisguised},
		{"/account/x.png", "text/xml; charset=utf-8", "", 200, rfc9111.ReasonDisguised},
		{"/account/x.css", "application/xml", "", 200, rfc9111.ReasonDisguised},
		{"/account/x.css", "application/atom+xml", "", 200, rfc9111.ReasonDisguised},
		{"/a.svg", "image/svg+xml", "", 200, rfc9111.ReasonNone},
		{"/a.css", "text/html", "max-age=60", 200, rfc9111.ReasonNone},
		{"/a.css", "text/html", "public", 200, rfc9111.ReasonNone},
		{"/a.css", "text/css", "", 200, rfc9111.ReasonNone},
		{"/a.css", "", "", 200, rfc9111.ReasonNone},
		{"/a.html", "text/html", "", 200, rfc9111.ReasonNone},
		{"/a.css/b", "text/html", "", 200, rfc9111.ReasonNone},
		{"/a.json", "application/json", "", 200, rfc9111.ReasonNone},
		{"/a.css", "text/html", "", 404, rfc9111.ReasonNone},
	}
	p := &rfc9111.Policy{HasTTL: true, TTL: time.Hour, StatusTTL: map[int]time.Duration{404: time.Minute}}
	for _, tt := range tests {
		response := http.Header{}
		for name, value := range map[string]string{"Content-Type": tt.kind, "Cache-Control": tt.control} {
			if value != "" {
				response.Set(name, value)
			}
		}
		_, why := rfc9111.Storable(&rfc9111.Exchange{
			Method: "GET", Target: &rfc9111.Target{Scheme: "http", Host: "a", Path: tt.path},
			Request: rfc9111.Header{}, Status: tt.status, Response: rfc9111.Header(response),
		}, p)
		if why != tt.want {
			t.Errorf("%s, %q, %q, %d: %s, want %s", tt.path, tt.kind, tt.control, tt.status, why, tt.want)
		}
	}
}
