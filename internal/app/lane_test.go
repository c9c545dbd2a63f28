package app_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

// Hits get the same whether the fast lane is on or not, with TLS and without: also what is added beside the proxy, such as Alt-Svc.
func TestFastLaneOnAndOff(t *testing.T) {
	origin := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=3600")
		w.Header().Set("Alt-Svc", `h3=":1"`)
		_, _ = io.WriteString(w, r.Header.Get("X-Forwarded-Proto"))
	})
	on := startFront(t, origin, "")
	server := httptest.NewServer(origin)
	t.Cleanup(server.Close)
	off := &front{ca: on.ca, dir: on.dir}
	off.instance = start(t, strings.ReplaceAll(listenersOf(on.dir), "127.0.0.1:0\n", "127.0.0.1:0\n    fast_lane: false\n")+upstreamOf(server.URL), withoutListenFlag)
	off.plain, off.secure = off.Addrs()[0].String(), off.Addrs()[1].String()
	for _, p := range []protocol{protocols[0], protocols[2]} {
		for _, f := range []*front{on, off} {
			c := p.client(f)
			for i := range 3 {
				res, body := do(t, c, "GET", f.url(p, "/"), nil)
				if hit := strings.Contains(res.Header.Get("Cache-Status"), "; hit"); hit != (i > 0) || body != p.scheme {
					t.Errorf("%s, request %d: %q, %q", p.name, i, res.Header.Get("Cache-Status"), body)
				}
				ours := strings.HasPrefix(res.Header.Get("Alt-Svc"), `h3=":`) && res.Header.Get("Alt-Svc") != `h3=":1"`
				if n := len(res.Header["Alt-Svc"]); n != 1 || ours != (p.scheme == "https") {
					t.Errorf("%s, request %d: Alt-Svc %q", p.name, i, res.Header["Alt-Svc"])
				}
			}
		}
	}
}

// Metrics and access log say the same of the same requests whether the fast lane answers them or not.
func TestFastLaneIsCounted(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if w.Header().Set("Cache-Control", "max-age=3600"); r.URL.Path == "/private" {
			w.Header().Set("Cache-Control", "private")
		}
		w.Header().Set("Etag", `"e"`)
		_, _ = io.WriteString(w, strings.Repeat("0123456789", 100)) // what the client gets tells
	}))
	t.Cleanup(origin.Close)
	const get = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
	requests := get + get + "HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n" + "GET /x HTTP/1.1\r\nHost: a\r\nIf-None-Match: \"e\"\r\n\r\n" +
		"GET /private HTTP/1.1\r\nHost: a\r\n\r\n" + get + "GET /x?\"q HTTP/1.1\r\nHost: a\r\n\r\n" +
		"GET /x HTTP/1.1\r\nHost: a\r\nRange: bytes=0-9\r\n\r\n" + "GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
	n := strings.Count(requests, "Host:")
	var said [2]string
	for i, lane := range []bool{false, true} {
		inst := start(t, fmt.Sprintf("listen:\n  - address: 127.0.0.1:0\n    fast_lane: %v\n", lane)+upstreamOf(origin.URL), withoutListenFlag)
		if answers := exchange(t, inst.Addr().String(), requests); strings.Count(answers, "HTTP/1.1 ") != n {
			t.Fatalf("lane %v: %q", lane, answers)
		}
		var lines []string
		inst.eventually("the access log", func() bool {
			lines = accessLine.FindAllString(inst.log.String(), -1)
			return len(lines) == n
		})
		said[i] = passing.ReplaceAllString(strings.Join(lines, "\n"), "") + "\n" + strings.Join(counted.FindAllString(inst.call("/metrics"), -1), "\n")
	}
	if said[0] != said[1] || !strings.Contains(said[1], `cacheproxy_requests_total{result="hit",route="default"} 6`) {
		t.Errorf("without the lane:\n%s\nwith it:\n%s", said[0], said[1])
	}
}

var (
	accessLine = regexp.MustCompile(`(?m)^.*"msg":"access".*$`)
	passing    = regexp.MustCompile(`"time":"[^"]*",|,"(ttl|age|duration_ms)":[0-9.]+`) // what depends on when it was
	counted    = regexp.MustCompile(`(?m)^cacheproxy_(requests_total|uncached_total|collapsed_requests_total|request_duration_seconds_count)\b.*$`)
)
