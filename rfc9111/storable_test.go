package rfc9111

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestStorable(t *testing.T) {
	const fresh = "Cache-Control: max-age=60"
	get := func(lines ...string) Header { return fields(lines...) }
	tests := []struct {
		section string
		request Header
		status  int
		lines   []string
		want    Reason
	}{
		{"3", nil, 200, []string{fresh}, ReasonNone},
		{"3, Expires", nil, 200, []string{at("Date", 0), at("Expires", time.Hour)}, ReasonNone},
		{"3, Expires without Date", nil, 200, []string{at("Expires", time.Hour)}, ReasonNone},
		{"3, s-maxage", nil, 500, []string{"Cache-Control: s-maxage=1"}, ReasonNone},
		{"3, heuristic", nil, 200, []string{at("Last-Modified", -time.Hour)}, ReasonNone},
		{"3, a validator to ask with", nil, 200, []string{`Etag: "a"`}, ReasonNone},
		{"3, nothing said", nil, 200, nil, ReasonNoFreshness},
		{"3, nothing said but public", nil, 200, []string{"Cache-Control: public"}, ReasonNoFreshness},

		{"3, final", nil, 103, []string{fresh}, ReasonStatus},
		{"3, 304", nil, 304, []string{fresh}, ReasonStatus},
		{"3, unknown status", nil, 299, []string{fresh}, ReasonNone},
		{"3, unknown status", nil, 499, []string{fresh}, ReasonNone},
		{"3, unknown status", nil, 599, []string{fresh}, ReasonNone},
		{"9110 15.1", nil, 201, []string{at("Last-Modified", -time.Hour)}, ReasonStatus},
		{"9110 15.1", nil, 502, []string{at("Last-Modified", -time.Hour)}, ReasonStatus},
		{"9110 15.1", nil, 404, []string{at("Last-Modified", -time.Hour)}, ReasonNone},
		{"9110 15.1, public", nil, 599, []string{"Cache-Control: public", at("Last-Modified", -time.Hour)}, ReasonNone},
		{"400 by explicit freshness alone", nil, 400, []string{fresh}, ReasonNone},
		{"400 by explicit freshness alone", nil, 400, []string{"Cache-Control: public", at("Last-Modified", -time.Hour)}, ReasonStatus},
		{"431 by explicit freshness alone", nil, 431, []string{`Etag: "a"`}, ReasonStatus},

		{"5.2.2.5", nil, 200, []string{"Cache-Control: no-store, max-age=60"}, ReasonNoStore},
		{"5.2.2.5, no lifetime either", nil, 200, []string{"Cache-Control: no-store"}, ReasonNoStore},
		{"5.2.2.7", nil, 200, []string{"Cache-Control: private, max-age=60"}, ReasonPrivate},
		{"5.2.2.7, qualified", nil, 200, []string{`Cache-Control: private="x", max-age=60`}, ReasonNone},
		{"5.2.2.4", nil, 200, []string{"Cache-Control: no-cache, max-age=60"}, ReasonNoCache},
		{"5.2.2.4, with a validator", nil, 200, []string{"Cache-Control: no-cache", `Etag: "a"`}, ReasonNone},
		{"5.2.2.3", nil, 200, []string{"Cache-Control: max-age=60, no-store, must-understand"}, ReasonNone},
		{"5.2.2.3, unknown", nil, 599, []string{"Cache-Control: max-age=60, no-store, must-understand"}, ReasonMustUnderstand},
		{"5.2.2.3, unknown, without no-store", nil, 599, []string{"Cache-Control: max-age=60, must-understand"}, ReasonMustUnderstand},
		{"5.2.1.5", get("Cache-Control: no-store"), 200, []string{fresh}, ReasonRequestNoStore},
		{"9213 2.2", nil, 200, []string{"CDN-Cache-Control: no-store", fresh}, ReasonNoStore},
		{"9213 2.2", nil, 200, []string{"CDN-Cache-Control: max-age=60", "Cache-Control: no-store"}, ReasonNone},
		{"9213 2.2, invalid", nil, 200, []string{`CDN-Cache-Control: max-age="60"`, "Cache-Control: no-store"}, ReasonNoStore},

		{"3.5", get("Authorization: x"), 200, []string{fresh}, ReasonAuthorization},
		{"3.5, hidden by Connection", get("Authorization: x", "Connection: authorization"), 200, []string{fresh}, ReasonAuthorization},
		{"3.5, public", get("Authorization: x"), 200, []string{"Cache-Control: max-age=60, public"}, ReasonNone},
		{"3.5, must-revalidate", get("Authorization: x"), 200, []string{"Cache-Control: max-age=60, must-revalidate"}, ReasonNone},
		{"3.5, s-maxage", get("Authorization: x"), 200, []string{"Cache-Control: s-maxage=60"}, ReasonNone},
		{"3.5, proxy-revalidate is not enough", get("Authorization: x"), 200, []string{"Cache-Control: max-age=60, proxy-revalidate"}, ReasonAuthorization},

		{"Set-Cookie", nil, 200, []string{fresh, "Set-Cookie: a=b"}, ReasonSetCookie},
		{"Set-Cookie, public", nil, 200, []string{"Cache-Control: public, max-age=60", "Set-Cookie: a=b"}, ReasonSetCookie},
		{"Set-Cookie, no-cache", nil, 200, []string{`Cache-Control: max-age=60, no-cache="set-cookie"`, "Set-Cookie: a=b"}, ReasonNone},
		{"Set-Cookie, private", nil, 200, []string{`Cache-Control: max-age=60, private="x, Set-Cookie"`, "Set-Cookie: a=b"}, ReasonNone},
		{"Cookie alone does not matter", get("Cookie: a=b"), 200, []string{fresh}, ReasonNone},

		{"unkeyed CORS", get("Origin: https://a"), 200, []string{fresh, "Access-Control-Allow-Origin: https://a"}, ReasonUnkeyedCORS},
		{"unkeyed CORS, another Vary", get("Origin: https://a"), 200, []string{fresh, "Access-Control-Allow-Origin: https://a", "Vary: Accept"}, ReasonUnkeyedCORS},
		{"unkeyed CORS, null", get("Origin: null"), 200, []string{fresh, "Access-Control-Allow-Origin: null"}, ReasonUnkeyedCORS},
		{"CORS with Vary", get("Origin: https://a"), 200, []string{fresh, "Access-Control-Allow-Origin: https://a", "Vary: Accept, origin"}, ReasonNone},
		{"CORS for all", get("Origin: https://a"), 200, []string{fresh, "Access-Control-Allow-Origin: *"}, ReasonNone},
		{"CORS for another", get("Origin: https://a"), 200, []string{fresh, "Access-Control-Allow-Origin: https://b"}, ReasonNone},
		{"CORS without Origin", nil, 200, []string{fresh, "Access-Control-Allow-Origin: https://a"}, ReasonNone},

		{"4.1", nil, 200, []string{fresh, "Vary: *"}, ReasonVaryStar},
		{"4.1", nil, 200, []string{fresh, "Vary: Foo, *"}, ReasonVaryStar},

		{"3.3", nil, 206, []string{fresh, "Content-Range: bytes 0-4/10", "Content-Length: 5"}, ReasonNone},
		{"3.3, length unknown", nil, 206, []string{fresh, "Content-Range: bytes 0-4/10"}, ReasonNone},
		{"3.3, wrong length", nil, 206, []string{fresh, "Content-Range: bytes 4-9/10", "Content-Length: 5"}, ReasonPartial},
		{"3.3, no Content-Range", nil, 206, []string{fresh}, ReasonPartial},
		{"3.3, another unit", nil, 206, []string{fresh, "Content-Range: lines 0-4/10"}, ReasonPartial},
		{"3.3, two lines", nil, 206, []string{fresh, "Content-Range: bytes 0-4/10", "Content-Range: bytes 0-4/10"}, ReasonPartial},
		{"3.3, multipart", nil, 206, []string{fresh, "Content-Type: multipart/byteranges; boundary=x"}, ReasonPartial},

		{"worth it: max-age=0", nil, 200, []string{"Cache-Control: max-age=0"}, ReasonExpired},
		{"worth it: max-age=0 with a validator", nil, 200, []string{"Cache-Control: max-age=0", at("Last-Modified", -time.Hour)}, ReasonNone},
		{"worth it: max-age=0 and stale time", nil, 200, []string{"Cache-Control: max-age=0, stale-while-revalidate=9"}, ReasonNone},
		{"worth it: old", nil, 200, []string{fresh, "Age: 7200"}, ReasonExpired},
		{"worth it: old with a validator", nil, 200, []string{fresh, "Age: 7200", `Etag: "a"`}, ReasonNone},
		{"worth it: old, for max-stale", nil, 200, []string{fresh, "Age: 90"}, ReasonNone},
		{"worth it: old, never used stale", nil, 200, []string{"Cache-Control: max-age=60, must-revalidate", "Age: 90"}, ReasonExpired},
		{"worth it: invalid Expires", nil, 200, []string{"Expires: 0"}, ReasonExpired},
		{"worth it: stale with Last-Modified", nil, 200, []string{at("Date", 0), at("Expires", -time.Hour), at("Last-Modified", -time.Hour)}, ReasonNone},
	}
	for _, tt := range tests {
		ok, why := Storable(exchange(tt.request, tt.status, fields(tt.lines...)), originPolicy())
		if why != tt.want || ok != (tt.want == ReasonNone) {
			t.Errorf("%s: Storable(%d %q, request %q) = %t, %v, want %v", tt.section, tt.status, tt.lines, tt.request, ok, why, tt.want)
		}
	}
}

// TestStorableReasonOrder: of several reasons the one is given that would still stand if the others were gone.
func TestStorableReasonOrder(t *testing.T) {
	x := exchange(fields("Authorization: x", "Cache-Control: no-store"), 299, fields("Cache-Control: private, no-store", "Vary: *", "Set-Cookie: a"))
	x.Method = "PUT"
	steps := []struct {
		want   Reason
		remove func()
	}{
		{ReasonMethod, func() { x.Method = "GET" }},
		{ReasonNoStore, func() { x.Response.(Header)["Cache-Control"] = []string{"private"} }},
		{ReasonRequestNoStore, func() { delete(x.Request.(Header), "Cache-Control") }},
		{ReasonPrivate, func() { delete(x.Response.(Header), "Cache-Control") }},
		{ReasonAuthorization, func() { delete(x.Request.(Header), "Authorization") }},
		{ReasonSetCookie, func() { delete(x.Response.(Header), "Set-Cookie") }},
		{ReasonVaryStar, func() { delete(x.Response.(Header), "Vary") }},
		{ReasonStatus, func() { x.Status = 200 }},
		{ReasonNoFreshness, func() { x.Response.(Header)["Etag"] = []string{`"a"`} }},
	}
	for _, step := range steps {
		if _, why := Storable(x, originPolicy()); why != step.want {
			t.Errorf("reason %v, want %v", why, step.want)
		}
		step.remove()
	}
	if ok, why := Storable(x, originPolicy()); !ok {
		t.Errorf("not storable: %v", why)
	}
}

func TestStorableByPolicy(t *testing.T) {
	auth := fields("Authorization: x")
	cors := fields("Origin: https://a")
	tests := []struct {
		name    string
		policy  Policy
		request Header
		status  int
		lines   []string
		want    Reason
	}{
		{"ttl", Policy{HasTTL: true, TTL: time.Minute}, nil, 200, nil, ReasonNone},
		{"ttl is not for 404", Policy{HasTTL: true, TTL: time.Minute}, nil, 404, nil, ReasonNoFreshness},
		{"ttl is not for 500", Policy{HasTTL: true, TTL: time.Minute}, nil, 500, nil, ReasonStatus},
		{"ttl is for 302", Policy{HasTTL: true, TTL: time.Minute}, nil, 302, nil, ReasonNone},
		{"ttl 0", Policy{HasTTL: true}, nil, 200, []string{"Cache-Control: max-age=60"}, ReasonExpired},
		{"ttl does not outweigh no-store", Policy{HasTTL: true, TTL: time.Minute}, nil, 200, []string{"Cache-Control: no-store"}, ReasonNoStore},
		{"ttl does not outweigh private", Policy{HasTTL: true, TTL: time.Minute}, nil, 200, []string{"Cache-Control: private"}, ReasonPrivate},
		{"ttl does not outweigh no-cache", Policy{HasTTL: true, TTL: time.Minute}, nil, 200, []string{"Cache-Control: no-cache"}, ReasonNoCache},
		{"respect_origin: false", Policy{IgnoreOrigin: true, HasTTL: true, TTL: time.Minute}, nil, 200, []string{"Cache-Control: no-store, private, no-cache"}, ReasonNone},
		{"respect_origin: false, default_ttl", Policy{IgnoreOrigin: true, DefaultTTL: time.Minute}, nil, 200, []string{"Cache-Control: no-store, max-age=0"}, ReasonNone},
		{"respect_origin: false keeps cookies out", Policy{IgnoreOrigin: true, DefaultTTL: time.Minute}, nil, 200, []string{"Set-Cookie: a"}, ReasonSetCookie},
		{"respect_origin: false keeps users apart", Policy{IgnoreOrigin: true, DefaultTTL: time.Minute}, auth, 200, nil, ReasonAuthorization},
		{"status_ttl", Policy{StatusTTL: map[int]time.Duration{500: time.Minute}}, nil, 500, nil, ReasonNone},
		{"status_ttl is not for 412", Policy{StatusTTL: map[int]time.Duration{412: time.Minute}}, nil, 412, nil, ReasonStatus},
		{"default_ttl", Policy{DefaultTTL: time.Minute}, nil, 200, nil, ReasonNone},
		{"default_ttl is not for 404", Policy{DefaultTTL: time.Minute}, nil, 404, nil, ReasonNoFreshness},
		{"default_ttl is not for 302", Policy{DefaultTTL: time.Minute}, nil, 302, nil, ReasonStatus},
		{"store.set_cookie", Policy{DefaultTTL: time.Minute, StoreCookies: true}, nil, 200, []string{"Set-Cookie: a"}, ReasonNone},
		{"store.authorized", Policy{DefaultTTL: time.Minute, StoreAuthorized: true}, auth, 200, nil, ReasonNone},
		{"store.unkeyed_cors", Policy{DefaultTTL: time.Minute, StoreUnkeyedCORS: true}, cors, 200, []string{"Access-Control-Allow-Origin: https://a"}, ReasonNone},
	}
	for _, tt := range tests {
		if _, why := Storable(exchange(tt.request, tt.status, fields(tt.lines...)), &tt.policy); why != tt.want {
			t.Errorf("%s: reason %v, want %v", tt.name, why, tt.want)
		}
	}
}

func TestStorableMethods(t *testing.T) {
	const fresh, itself = "Cache-Control: max-age=60", "Content-Location: /a"
	post := &Policy{StorePost: true, HasTTL: true, TTL: time.Hour, DefaultTTL: time.Hour}
	tests := []struct {
		section, method string
		policy          *Policy
		status          int
		lines           []string
		want            Reason
	}{
		{"3", "HEAD", post, 200, []string{fresh}, ReasonMethod},
		{"3", "OPTIONS", post, 200, []string{fresh}, ReasonMethod},
		{"3", "PUT", post, 200, []string{fresh, itself}, ReasonMethod},
		{"3", "get", post, 200, []string{fresh}, ReasonMethod},
		{"9110 9.3.3", "POST", post, 200, []string{fresh, itself}, ReasonNone},
		{"9110 9.3.3, absolute", "POST", post, 200, []string{fresh, "Content-Location: http://EXAMPLE.com:80/b/../a"}, ReasonNone},
		{"9110 9.3.3, unless asked for", "POST", originPolicy(), 200, []string{fresh, itself}, ReasonMethod},
		{"9110 9.3.3, another target", "POST", post, 200, []string{fresh, "Content-Location: /b"}, ReasonMethod},
		{"9110 9.3.3, no target", "POST", post, 200, []string{fresh}, ReasonMethod},
		{"9110 9.3.3, bad target", "POST", post, 200, []string{fresh, "Content-Location: /a%00"}, ReasonMethod},
		{"9110 9.3.3, not final", "POST", post, 103, []string{fresh, itself}, ReasonMethod},
		{"9110 9.3.3, a part", "POST", post, 206, []string{fresh, itself, "Content-Range: bytes 0-4/10"}, ReasonMethod},
		{"9110 9.3.3, a redirect", "POST", post, 300, []string{fresh, itself}, ReasonMethod},
		{"9110 9.3.3, an error", "POST", post, 404, []string{fresh, itself}, ReasonMethod},
		{"9110 9.3.3, no lifetime of its own", "POST", post, 200, []string{itself, at("Last-Modified", -time.Hour)}, ReasonNoFreshness},
	}
	for _, tt := range tests {
		x := exchange(nil, tt.status, fields(tt.lines...))
		x.Method = tt.method
		if _, why := Storable(x, tt.policy); why != tt.want {
			t.Errorf("%s: reason for %s %d %q = %v, want %v", tt.section, tt.method, tt.status, tt.lines, why, tt.want)
		}
	}
	x := exchange(nil, 200, fields(fresh, itself))
	x.Method, x.Target = "POST", nil
	if _, why := Storable(x, post); why != ReasonMethod {
		t.Errorf("a POST without a target: reason %v", why)
	}
	x = exchange(nil, 200, fields(itself, at("Last-Modified", -time.Hour)))
	x.Method = "POST"
	if m := NewMeta(x, post, now, now); m.Lifetime != 0 {
		t.Errorf("a POST without a lifetime of its own has %v", m.Lifetime)
	}
}

// TestUnderstood has the status codes of RFC 9110, section 15, and of RFC 6585, whose meaning for caching this cache knows.
func TestUnderstood(t *testing.T) {
	known := map[int]bool{}
	for _, status := range []int{
		200, 201, 202, 203, 204, 205, 206, 300, 301, 302, 303, 307, 308,
		400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 421, 422, 426, 429, 431,
		500, 501, 502, 503, 504, 505, 511,
	} {
		known[status] = true
	}
	for status := range 1000 {
		if understood(status) != known[status] {
			t.Errorf("understood(%d) = %t", status, !known[status])
		}
	}
}

func TestStoredHeader(t *testing.T) {
	response := fields("Connection: close, a", "A: 1", "B: 2", "C: 3", "D: 4", "Keep-Alive: x", "Proxy-Connection: x", "TE: x", "Trailer: x",
		"Transfer-Encoding: x", "Upgrade: x", "Proxy-Authenticate: x", "Proxy-Authentication-Info: x", "Proxy-Authorization: x",
		`Cache-Control: no-cache="b", private="c"`, "CDN-Cache-Control: &", "Set-Cookie: a=b", "Age: 5")
	before := http.Header(response).Clone()
	tests := []struct {
		name   string
		policy Policy
		want   string
	}{
		{"3.1", Policy{}, "Age Cache-Control Cdn-Cache-Control D"},
		{"store.set_cookie", Policy{StoreCookies: true}, "Age Cache-Control Cdn-Cache-Control D Set-Cookie"},
	}
	for _, tt := range tests {
		stored := StoredHeader(http.Header(response), &tt.policy)
		if got := strings.Join(slices.Sorted(maps.Keys(stored)), " "); got != tt.want {
			t.Errorf("%s: stored are %s, want %s", tt.name, got, tt.want)
		}
	}
	if !maps.EqualFunc(before, response, slices.Equal) {
		t.Error("StoredHeader changed its argument")
	}
	stored := StoredHeader(http.Header(response), &Policy{})
	stored["D"][0] = "changed"
	if response["D"][0] != "4" {
		t.Error("StoredHeader shares its values with its argument")
	}
	if got := StoredHeader(nil, &Policy{}); got == nil {
		t.Error("StoredHeader(nil) is nil, which cannot be written to")
	}
}
