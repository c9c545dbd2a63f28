package app_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/cacheproxy/cacheproxy/test/redistest"
)

// ask sends a request for a page of the host shop and returns the answer with its body.
func (i *instance) ask(method, path string, fields ...string) (*http.Response, string) {
	i.t.Helper()
	r, err := http.NewRequest(method, i.url+path, nil)
	if err != nil {
		i.t.Fatal(err)
	}
	r.Host = "shop"
	for n := 0; n < len(fields); n += 2 {
		r.Header.Set(fields[n], fields[n+1])
	}
	res, err := client.Do(r)
	if err != nil {
		i.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		i.t.Fatal(err)
	}
	return res, string(body)
}

// TestHeadAcrossTheTiers: a HEAD is answered from what another instance's GET, or HEAD, has left in Redis, with the fields of the GET
// and no body; and so are conditions (RFC 9110, 9.3.2 and 13.1.2).
func TestHeadAcrossTheTiers(t *testing.T) {
	server, origin := redistest.Start(t), newPages(t, `ETag: "one"`)
	text := withRedis(origin.URL, "url: "+server.URL()+", timeout: 1s")
	a := start(t, text)
	got, page := a.ask("GET", "/got")
	if _, body := a.ask("HEAD", "/headed"); body != "" {
		t.Errorf("a body of HEAD: %q", body)
	}
	a.written(server, 2)
	asked := origin.asked.Load()
	for _, tt := range []struct {
		method, path string
		fields       []string
		status       int
		body         string
	}{
		{"HEAD", "/got", nil, 200, ""},
		{"HEAD", "/got", []string{"If-None-Match", `"one"`}, 304, ""},
		{"GET", "/got", []string{"If-None-Match", `"one"`}, 304, ""},
		{"GET", "/got", []string{"Range", "bytes=0-2"}, 206, page[:3]},
		{"HEAD", "/headed", nil, 200, ""},
	} {
		b := start(t, text) // whose memory is empty
		res, body := b.ask(tt.method, tt.path, tt.fields...)
		if status := res.Header.Get("Cache-Status"); res.StatusCode != tt.status || body != tt.body || !strings.Contains(status, "hit") || !strings.Contains(status, "detail=l2") {
			t.Errorf("%s %s %v: %s, %q, Cache-Status %q", tt.method, tt.path, tt.fields, res.Status, body, status)
		}
		if res.StatusCode == 200 && tt.path == "/got" && (res.Header.Get("Content-Length") != got.Header.Get("Content-Length") || res.Header.Get("Etag") != `"one"`) {
			t.Errorf("%s %s: %v", tt.method, tt.path, res.Header)
		}
		if res, body := b.ask("GET", tt.path); !strings.Contains(res.Header.Get("Cache-Status"), "detail=l1") || !strings.HasPrefix(body, "GET "+tt.path) {
			t.Errorf("then GET %s: %q, Cache-Status %q", tt.path, body, res.Header.Get("Cache-Status"))
		}
	}
	if n := origin.asked.Load() - asked; n > 0 {
		t.Errorf("the origin was asked %d times", n)
	}
}

// TestAForcedReloadReachesRedis: what a client has reloaded past the caches replaces what is in Redis, also where the URL was purged
// before. Else an instance would go back to what was there before.
func TestAForcedReloadReachesRedis(t *testing.T) {
	server, origin := redistest.Start(t), newPages(t)
	text := withRedis(origin.URL, "url: "+server.URL()+", timeout: 1s")
	a := start(t, text)
	a.ask("PURGE", "/p")
	_, first := a.ask("GET", "/p")
	a.eventually("it is written", func() bool { return server.Commands()["pttl"] > 0 })
	_, second := a.ask("GET", "/p", "Cache-Control", "no-cache")
	if first == second {
		t.Fatalf("%q was not reloaded", first)
	}
	a.eventually("it is written too", func() bool { return server.Commands()["evalsha"]+server.Commands()["eval"] >= 3 })
	b := start(t, text)
	if _, body := b.ask("GET", "/p"); body != second {
		t.Errorf("another instance has %q, want %q", body, second)
	}
}

// TestAWarmRestartThatIsCutShortKeepsTheList: an instance that is stopped while it still warms up knows only a few of the hot keys.
func TestAWarmRestartThatIsCutShortKeepsTheList(t *testing.T) {
	server, origin := redistest.Start(t), newPages(t)
	text := withRedis(origin.URL, "url: "+server.URL()+", timeout: 1s") + "cache: { l1: { warm_keys: 10, warm_rate: 5/s } }\n"
	a := start(t, text)
	for n := range 10 {
		a.named("/"+strings.Repeat("x", n), "uri-miss")
	}
	a.written(server, 10)
	a.stop()
	if err := a.wait(); err != nil {
		t.Fatal(err)
	}
	list := server.Do("GET", "cacheproxy:hot")
	b := start(t, text)
	b.eventually("it warms up", func() bool { return server.Commands()["hmget"] >= 11 })
	b.stop()
	if err := b.wait(); err != nil {
		t.Fatal(err)
	}
	if now := server.Do("GET", "cacheproxy:hot"); now != list {
		t.Errorf("the list was %v and is %v", list, now)
	}
}
