package app_test

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cacheproxy/cacheproxy/internal/admin"
)

// target is an origin with a health check that can be made to fail.
type target struct {
	*httptest.Server
	sick   atomic.Bool
	checks atomic.Int64
}

func newTarget(t *testing.T) *target {
	o := &target{}
	o.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		if r.URL.Path == "/healthz" {
			o.checks.Add(1)
			if o.sick.Load() {
				w.WriteHeader(503)
			}
		}
	}))
	t.Cleanup(o.Close)
	return o
}

func balanced(a, b *target, more string) string {
	return fmt.Sprintf("upstreams: { shop: { targets: [{ url: %q }, { url: %q, weight: 2 }], health: { path: /healthz, interval: 10ms } } }\n%s", a.URL, b.URL, more)
}

// call returns what the administration API answers.
func (i *instance) call(path string) string {
	i.t.Helper()
	res, err := client.Get(i.admin.URL + path)
	if err != nil {
		i.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		i.t.Fatal(err)
	}
	return string(body)
}

// states returns the states of the targets of the first upstream.
func (i *instance) states() (states []string) {
	i.t.Helper()
	var page admin.Page[admin.Upstream]
	if err := json.Unmarshal([]byte(i.call("/v1/upstreams")), &page); err != nil || len(page.Items) == 0 {
		i.t.Fatalf("%v: %+v", err, page)
	}
	for _, t := range page.Items[0].Targets {
		states = append(states, t.State)
	}
	return states
}

// TestTargetsAreWatched: health checks run while the instance does, over reloads that do not concern their upstream, and everybody
// who asks is told what they find.
func TestTargetsAreWatched(t *testing.T) {
	a, b := newTarget(t), newTarget(t)
	i := start(t, balanced(a, b, ""))
	i.eventually("the first checks", func() bool { return a.checks.Load() > 1 && b.checks.Load() > 1 })
	a.sick.Store(true)
	i.eventually("the sick target is out", func() bool { return strings.Join(i.states(), " ") == "unhealthy healthy" })
	if metrics := i.call("/metrics"); !strings.Contains(metrics, `cacheproxy_upstream_targets{state="unhealthy",upstream="shop"} 1`) {
		t.Error("the metrics do not have the unhealthy target")
	}
	i.eventually("the log tells", func() bool { return strings.Contains(i.log.String(), `"from":"healthy","to":"unhealthy"`) })
	i.write(balanced(a, b, "cache: { name: other }"))
	if _, err := i.admin.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(i.states(), " "); got != "unhealthy healthy" {
		t.Errorf("after a reload that does not concern it the states are %q", got)
	}
	seen := a.checks.Load()
	i.eventually("checks go on", func() bool { return a.checks.Load() > seen+2 })
	i.write(strings.Replace(balanced(a, b, ""), a.URL, b.URL+"/", 1)) // refused: twice the same
	if _, err := i.admin.Reload(t.Context()); err == nil {
		t.Error("a target that is there twice was taken")
	}
	i.write(fmt.Sprintf("upstreams: { shop: { targets: [{ url: %q }] } }", b.URL))
	if _, err := i.admin.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	seen = a.checks.Load()
	i.get("/")
	i.get("/")
	if n := a.checks.Load(); n != seen {
		t.Errorf("%d checks of a target that is not in the configuration any more", n-seen)
	}
}

// A reload takes the authorities of an upstream that its file holds by then, and no connection outlives that they are not trusted any
// more. Where they are the same the upstream stays.
func TestReloadTakesOtherAuthorities(t *testing.T) {
	right, wrong := newCA(t), newCA(t)
	pair, err := tls.X509KeyPair(right.issue("a"))
	if err != nil {
		t.Fatal(err)
	}
	var connections atomic.Int64
	o := httptest.NewUnstartedServer(http.HandlerFunc(hello))
	o.EnableHTTP2 = true
	o.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	o.Config.ErrorLog = log.New(io.Discard, "", 0)
	o.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			connections.Add(1)
		}
	}
	o.StartTLS()
	t.Cleanup(o.Close)
	file := filepath.Join(t.TempDir(), "ca.crt")
	writeFile(t, file, right.pem)
	i := start(t, fmt.Sprintf("upstreams: { shop: { targets: [{ url: %q }], tls: { ca_file: %q } } }\n", o.URL, file))
	for _, c := range []struct {
		holds       []byte
		status      int
		connections int64 // made by the end
	}{
		{right.pem, 200, 1},
		{right.pem, 200, 1},
		{wrong.pem, 502, 2},
		{slices.Concat(wrong.pem, right.pem), 200, 3},
	} {
		writeFile(t, file, c.holds)
		if _, err := i.Reload("test"); err != nil {
			t.Fatal(err)
		}
		if res, _ := i.get("/"); res.StatusCode != c.status {
			t.Errorf("status %d, want %d", res.StatusCode, c.status)
		}
		if n := connections.Load(); n != c.connections {
			t.Errorf("%d connections, want %d", n, c.connections)
		}
	}
	writeFile(t, file, []byte("broken"))
	if _, err := i.Reload("test"); err == nil {
		t.Error("a broken file was taken")
	}
	if res, _ := i.get("/"); res.StatusCode != 200 {
		t.Errorf("after a refused reload: status %d", res.StatusCode)
	}
}
