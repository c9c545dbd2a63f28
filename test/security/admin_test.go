package security

import (
	"bufio"
	"net"
	"strings"
	"testing"
	"time"
)

// A page of another site that the operator looks at cannot call the administration
// API in his browser's name, though the browser is on the same machine.
func TestAdminByAForeignPage(t *testing.T) {
	h := newHouse(t, "")
	addr := strings.TrimPrefix(h.proxy.Admin, "http://")
	_, port, _ := net.SplitHostPort(addr)
	call := func(text string) answer {
		t.Helper()
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		send(t, c, text)
		a, err := readAnswer(bufio.NewReader(c), "GET")
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		return a
	}
	const level = `{"level":"debug"}`
	asJSON := []string{"Content-Type: application/json", "Content-Length: 17"}
	put := func(fields ...string) string {
		return request("PUT", "/v1/log-level", append(fields, asJSON...)...) + level
	}
	for name, text := range map[string]string{
		"another page's origin":           put("Host: "+addr, "Origin: http://evil.example"),
		"a page of another port":          put("Host: "+addr, "Origin: http://127.0.0.1:1"),
		"a page of another scheme's port": put("Host: "+addr, "Origin: https://localhost:"+port),
		"an opaque origin":                put("Host: "+addr, "Origin: null"),
		"an origin that begins alike":     put("Host: "+addr, "Origin: http://"+addr+".evil.example"),
		"an origin with user information": put("Host: "+addr, "Origin: http://"+addr+"@evil.example"),
		"a cross-site fetch":              put("Host: "+addr, "Sec-Fetch-Site: cross-site"),
		"a same-site fetch":               put("Host: "+addr, "Sec-Fetch-Site: same-site"),
		"DNS rebinding":                   put("Host: evil.example:"+port, "Origin: http://evil.example:"+port, "Sec-Fetch-Site: same-origin"),
		"DNS rebinding, reading":          request("GET", "/v1/config", "Host: evil.example:"+port),
		"DNS rebinding, metrics":          request("GET", "/metrics", "Host: evil.example"),
		"DNS rebinding, a trailing dot":   request("GET", "/v1/config", "Host: localhost.evil.example"),
		"DNS rebinding, absolute form":    request("GET", "http://evil.example/v1/config", "Host: "+addr),
		"X-Forwarded-Host":                request("GET", "/v1/config", "Host: evil.example", "X-Forwarded-Host: "+addr),
		"a reload by a form":              request("POST", "/v1/reload", "Host: "+addr, "Origin: http://evil.example", "Content-Type: text/plain", "Content-Length: 0"),
		"a reload by navigation":          request("POST", "/v1/reload", "Host: "+addr, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Content-Length: 0"),
		"a form":                          request("PUT", "/v1/log-level", "Host: "+addr, "Content-Type: text/plain", "Content-Length: 17") + level,
		"a form with JSON in its type":    request("PUT", "/v1/log-level", "Host: "+addr, "Content-Type: text/plain; application/json", "Content-Length: 17") + level,
		"no type":                         request("PUT", "/v1/log-level", "Host: "+addr, "Content-Length: 17") + level,
		"another method":                  request("POST", "/v1/log-level", "Host: "+addr, "X-HTTP-Method-Override: PUT", "Content-Type: application/json", "Content-Length: 17") + level,
		"an unknown token":                put("Host: "+addr, "Authorization: Bearer wrong"),
		"an empty token":                  put("Host: "+addr, "Authorization:"),
		"a token in the URL":              request("GET", "/v1/config?token=x", "Host: "+addr),
	} {
		a := call(text)
		if a.status < 400 || strings.Contains(a.body, "listen") && strings.Contains(a.body, "upstreams") {
			t.Errorf("%s: %v", name, a)
		}
		if v := a.header.Get("Access-Control-Allow-Origin"); v != "" {
			t.Errorf("%s: pages of %q may read the answer", name, v)
		}
	}
	// A preflight gets no permission.
	if a := call(request("OPTIONS", "/v1/log-level", "Host: "+addr, "Origin: http://evil.example", "Access-Control-Request-Method: PUT")); a.status < 400 || a.header.Get("Access-Control-Allow-Methods") != "" {
		t.Errorf("preflight: %v", a)
	}
	for _, text := range smuggled {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if answers, closed := h.exchange(c, text.text, patience/4); !closed || len(answers) > 1 {
			t.Errorf("%s: closed %v, %v", text.name, closed, answers)
		}
		c.Close()
	}
	for name, text := range map[string]string{"a program": put("Host: " + addr), "its own page": put("Host: localhost:"+port, "Origin: http://localhost:"+port, "Sec-Fetch-Site: same-origin")} {
		if a := call(text); a.status >= 300 {
			t.Errorf("%s: %v", name, a)
		}
	}
}

// The main listeners know no administration API, and the administration listener
// serves no pages of the origin.
func TestAdminIsApart(t *testing.T) {
	h := newHouse(t, "")
	h.innocent(get("/v1/config"))
	h.innocent(get("/metrics"))
	h.seen(0, "GET /v1/config", "GET /metrics")
}
