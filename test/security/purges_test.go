package security

import (
	"strings"
	"testing"

	"github.com/cacheproxy/cacheproxy/internal/badorigin"
)

const purgeToken = "a-token-for-purging-only"

// Only who may purge does, and what decides is the other end of the connection or
// a token: nothing that a client writes about itself.
func TestSpoofedPurge(t *testing.T) {
	for name, config := range map[string]string{
		"nobody is trusted":        "purge: { allow: [10.0.0.0/8] }\n",
		"the attacker's proxy is":  "purge: { allow: [10.0.0.0/8] }\ntrusted_proxies: [127.0.0.0/8]\n",
		"no network may":           "purge: { allow: [] }\n",
		"no network may, a tunnel": "purge: { allow: [] }\ntrusted_proxies: [127.0.0.0/8, 10.0.0.0/8]\n",
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, config+"admin: { tokens: [{ name: purger, token: "+purgeToken+", scopes: [purge] }, { name: reader, token: a-token-for-reading-only, scopes: [read] }] }\n")
			h.innocent(get("/stays"))
			before := len(h.origin.Requests())
			for _, method := range []string{"PURGE", "BAN", "REFRESH", "PURGEKEYS", "PURGETAGS"} {
				for _, fields := range [][]string{
					nil,
					{"X-Forwarded-For: 10.0.0.1"}, {"X-Forwarded-For: 10.0.0.1, 127.0.0.1"}, {"X-Forwarded-For: 127.0.0.1", "X-Forwarded-For: 10.0.0.1"},
					{"X-Real-IP: 10.0.0.1"}, {"X-Client-IP: 10.0.0.1"}, {"True-Client-IP: 10.0.0.1"}, {"CF-Connecting-IP: 10.0.0.1"}, {"Forwarded: for=10.0.0.1"},
					{"Client-IP: 10.0.0.1"}, {"X-Cluster-Client-IP: 10.0.0.1"}, {"Via: 1.1 10.0.0.1"},
					{"Authorization: Bearer wrong"}, {"Authorization: Bearer"}, {"Authorization: Basic " + purgeToken}, {"Authorization: " + purgeToken},
					{"Authorization: Bearer a-token-for-reading-only"}, {"Authorization: Bearer wrong", "Authorization: Bearer " + purgeToken},
					{"X-Authorization: Bearer " + purgeToken}, {"Cookie: Authorization=Bearer " + purgeToken}, {"X-Purge-Pattern: /**"}, {"Surrogate-Key: all"},
				} {
					if a := h.ask(request(method, "/stays", append([]string{"Host: shop.example"}, fields...)...)); a.status != 403 {
						t.Errorf("%s %v: %v", method, fields, a)
					}
				}
			}
			for _, text := range []string{
				get("/stays", "X-HTTP-Method-Override: PURGE"), get("/stays", "X-HTTP-Method: PURGE"), get("/stays", "X-Method-Override: PURGE"),
				get("/stays?_method=PURGE"), get("/stays", "X-Invalidate-Tags: all", "Cache-Group-Invalidation: \"all\""),
				request("OPTIONS", "/stays", "Host: shop.example", "Access-Control-Request-Method: PURGE"),
				request("PURGE", "http://shop.example/stays", "Host: evil.example"),
				"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n" + request("PURGE", "/stays", "Host: shop.example"),
			} {
				h.exchange(h.dial(), text, silence/3)
			}
			if a := h.innocent(get("/stays")); !a.hit() {
				t.Errorf("the page was purged: %v", a)
			}
			for _, r := range h.origin.Requests()[before:] {
				if strings.HasPrefix(r.Method, "PURGE") || r.Method == "BAN" || r.Method == "REFRESH" || strings.Contains(string(r.Raw), purgeToken) && r.Header.Get("Authorization") != "" {
					t.Errorf("the origin saw %q", r.Raw)
				}
			}
			if a := h.ask(request("PURGE", "/stays", "Host: shop.example", "Authorization: Bearer "+purgeToken)); a.status != 200 {
				t.Errorf("with the token: %v", a)
			}
			if a := h.innocent(get("/stays")); a.hit() {
				t.Errorf("with the token it was not purged: %v", a)
			}
		})
	}
}

// A tenant whose origin answers a write cannot invalidate what is not of its own
// host (RFC 9111, 4.4), and a safe request invalidates nothing.
func TestForeignInvalidation(t *testing.T) {
	h := newHouse(t, "")
	h.innocent(get("/victim"))
	h.origin.SetHandler(func(c *badorigin.Conn, r *badorigin.Request) {
		c.Respond(200, r.Method+" "+r.Target+"\n", "Location: http://shop.example/victim", "Content-Location: //shop.example/victim",
			"X-Invalidate-Tags: all", `Cache-Group-Invalidation: "all"`, "Cache-Control: no-store")
	})
	for _, text := range []string{
		request("POST", "/x", "Host: evil.example", "Content-Length: 0"), request("DELETE", "/victim", "Host: evil.example"),
		request("POST", "/victim", "Host: shop.example:81", "Content-Length: 0"), get("/other"), request("OPTIONS", "/victim", "Host: shop.example"),
		request("PUT", "/victim", "Host: shop.example.evil.example", "Content-Length: 0"),
	} {
		h.ask(text)
	}
	if a := h.innocent(get("/victim")); !a.hit() {
		t.Errorf("%v", a)
	}
}
