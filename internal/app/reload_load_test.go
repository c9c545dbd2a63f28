package app_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// reloads is how often TestReloadUnderLoad reloads: `make reload` asks for 1,000.
func reloads(t *testing.T) int {
	text := os.Getenv("CACHEPROXY_RELOADS")
	if text == "" {
		return 100
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Reloads that change routes, upstreams with their health checks, and certificates hurt none of 64 clients that read over all
// protocols, and leave nothing behind.
func TestReloadUnderLoad(t *testing.T) {
	const clients = 64
	var checks atomic.Int64
	origin := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" {
			checks.Add(1)
		}
		w.Header().Set("Cache-Control", map[bool]string{true: "no-store", false: "max-age=1"}[strings.HasPrefix(r.URL.Path, "/pass")])
		fmt.Fprint(w, strings.Repeat(r.URL.Path, 1000))
	})
	f := startFront(t, origin, "log: { access: false, level: error }\n")
	second := httptest.NewServer(origin)
	t.Cleanup(second.Close)
	text, err := os.ReadFile(f.file)
	if err != nil {
		t.Fatal(err)
	}
	var stop atomic.Bool
	var asked, failed atomic.Int64
	var reading sync.WaitGroup
	var readers, hangUp []func()
	for i := range clients {
		p := protocols[i%len(protocols)]
		c := p.client(f)
		hangUp = append(hangUp, func() { closeClient(c) })
		readers = append(readers, func() {
			for n := i; !stop.Load(); n++ {
				path := fmt.Sprintf("/%s/%d", []string{"page", "pass"}[n%2], n%50)
				if err := read(c, f.url(p, path), strings.Repeat(path, 1000)); err != nil {
					failed.Add(1)
					t.Errorf("%s: %v", p.name, err)
					return
				}
				asked.Add(1)
			}
		})
	}
	reload := func(i int) {
		if i%10 == 0 {
			f.ca.write(f.dir, "a")
		}
		weight := 1 + i/2%10 // every second time another; a busy machine must not make a target look dead
		next := strings.Replace(string(text), "targets: [", fmt.Sprintf(
			"timeout: { connect: 20s }, health: { path: /healthz, interval: 1s, timeout: 20s }, targets: [{ url: %q, weight: %d }, ", second.URL, weight), 1)
		f.replace(next + fmt.Sprintf("routes: [{ name: r%d, match: { paths: ['/page/**'] }, cache: { ttl: %ds } }]\n", i%3, i%5+1))
		if _, err := f.Reload("test"); err != nil {
			t.Fatal(err)
		}
	}
	n := reloads(t)
	reload(0)
	idle := settled(t)
	for _, read := range readers {
		reading.Go(read)
	}
	begin := time.Now()
	for i := range n {
		before := asked.Load()
		eventually(t, 20*time.Second, "some clients have read", func() bool { return asked.Load() >= before+8 || failed.Load() > 0 })
		reload(i)
	}
	took := time.Since(begin)
	stop.Store(true)
	reading.Wait()
	t.Logf("%d reloads in %v, %d requests, %d failed, %d health checks", n, took.Round(time.Millisecond), asked.Load(), failed.Load(), checks.Load())
	if checks.Load() < int64(n/10) { // each new upstream begins with some, if it lasts for a tenth of a second
		t.Errorf("%d health checks", checks.Load())
	}

	for _, f := range hangUp {
		f()
	}
	reload(n + 2) // what the last upstream keeps open goes too
	eventually(t, 10*time.Second, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= idle })
}

// settled waits until goroutines neither begin nor end any more, and returns how many there are.
func settled(t *testing.T) int {
	last, same := 0, 0
	eventually(t, 10*time.Second, "all parts run", func() bool {
		now := runtime.NumGoroutine()
		if same++; now != last {
			last, same = now, 0
		}
		return same == 10
	})
	return last
}

func closeClient(c *http.Client) {
	if t, ok := c.Transport.(io.Closer); ok { // of HTTP/3
		t.Close()
	}
	c.CloseIdleConnections()
}

func read(c *http.Client, url, want string) error {
	res, err := c.Get(url)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	switch {
	case err != nil:
		return err
	case res.StatusCode != http.StatusOK:
		return fmt.Errorf("status %d, %.100s", res.StatusCode, got)
	case string(got) != want:
		return fmt.Errorf("another body of %d bytes", len(got))
	}
	return nil
}
