package app_test

import (
	"io"
	"net/http"
	"net/http/httptest"
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
