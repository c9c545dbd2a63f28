// Package instances_test runs several built binaries over one Redis, and looks
// at what a purge on one of them does to the others.
package instances_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/test/process"
	"github.com/cacheproxy/cacheproxy/test/redistest"
)

func TestMain(m *testing.M) { process.Main(m) }

// lease is that of the instances: short, so that tests need not wait for long.
const lease = 500 * time.Millisecond

// site is an origin, whose every answer is another, behind instances over one Redis.
type site struct {
	t      *testing.T
	redis  *redistest.Server
	origin *httptest.Server
	asked  atomic.Int64
}

// instance is one of the binaries.
type instance struct {
	*process.Process
	s   *site
	dir string
}

func newSite(t *testing.T, redisArgs ...string) *site {
	t.Helper()
	s := &site{t: t, redis: redistest.Start(t, redisArgs...)}
	s.origin = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=600")
		w.Header().Set("Surrogate-Key", "all-pages")
		fmt.Fprint(w, s.asked.Add(1))
	}))
	t.Cleanup(s.origin.Close)
	return s
}

// start runs an instance in dir, with further lines of the section cache.
func (s *site) start(dir, cache string) *instance {
	s.t.Helper()
	text := fmt.Sprintf("upstreams: { shop: { targets: [{ url: %q }] } }\nredis: { url: %q }\ncache: { lease: %s, %s }\n",
		s.origin.URL, s.redis.URL(), lease, cache)
	file := filepath.Join(dir, "cacheproxy.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return &instance{process.Serve(s.t, process.Options{Dir: dir}, "--config", file), s, dir}
}

// client makes a connection for each request: an instance that has ended leaves none behind.
var client = &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

func (i *instance) do(method, path string, fields ...string) (*http.Response, string) {
	i.s.t.Helper()
	r, err := http.NewRequest(method, i.URL+path, nil)
	if err != nil {
		i.s.t.Fatal(err)
	}
	r.Host = "shop.example" // the instances listen on different ports
	for f := 0; f < len(fields); f += 2 {
		r.Header.Set(fields[f], fields[f+1])
	}
	res, err := client.Do(r)
	if err != nil {
		i.s.t.Fatalf("%s %s: %v\n%s", method, path, err, i.Output())
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		i.s.t.Fatal(err)
	}
	return res, string(body)
}

func (i *instance) get(path string) (body, cacheStatus string) {
	i.s.t.Helper()
	res, body := i.do("GET", path)
	if res.StatusCode != http.StatusOK {
		i.s.t.Errorf("GET %s: %s", path, res.Status)
	}
	return body, res.Header.Get("Cache-Status")
}

// inMemory fills the instance's memory and returns what is there.
func (i *instance) inMemory(path string) string {
	i.s.t.Helper()
	first, _ := i.get(path)
	second, status := i.get(path)
	if first != second || !strings.Contains(status, "detail=l1") {
		i.s.t.Fatalf("%q and %q, %s: not from memory", first, second, status)
	}
	return second
}

// receipt is the part of the answer to a purge that is looked at.
type receipt struct {
	Epoch         string
	Seq           uint64
	Pending       bool
	Instances     int
	Acknowledged  int
	ExpiredLeases int `json:"expired_leases"`
	Complete      bool
	ElapsedMS     float64 `json:"elapsed_ms"`
}

func (i *instance) purge(path string, want int, fields ...string) (r receipt) {
	i.s.t.Helper()
	res, body := i.do("PURGE", path, fields...)
	if err := json.Unmarshal([]byte(body), &r); err != nil || res.StatusCode != want {
		i.s.t.Fatalf("PURGE %s: %s, want %d: %s", path, res.Status, want, body)
	}
	return r
}

// eventually waits until ok.
func (s *site) eventually(what string, ok func() bool) {
	s.t.Helper()
	for begin := time.Now(); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Since(begin) > 20*time.Second {
			s.t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// instances waits until the register knows so many, which hold their leases.
func (i *instance) instances(want int) {
	i.s.t.Helper()
	i.s.eventually(fmt.Sprint(want, " instances are registered"), func() bool {
		res, err := client.Get(i.Admin + "/v1/instances")
		if err != nil {
			i.s.t.Fatal(err)
		}
		defer res.Body.Close()
		var list struct {
			Items []struct{ Self, Leased bool }
		}
		if err := json.NewDecoder(res.Body).Decode(&list); err != nil {
			i.s.t.Fatal(err)
		}
		leased := 0
		for _, m := range list.Items {
			if m.Leased {
				leased++
			}
		}
		return leased == want // beside them may be who has ended without leaving
	})
}

func TestAPurgeReachesTheMemoryOfAll(t *testing.T) {
	s := newSite(t)
	a, b := s.start(t.TempDir(), ""), s.start(t.TempDir(), "")
	a.instances(2)
	time.Sleep(2 * lease) // the epoch is not young any more
	for n, fields := range [][]string{{}, {"Surrogate-Key", "all-pages"}, {"X-Purge-Pattern", "/p*"}} {
		old := b.inMemory("/p")
		a.inMemory("/p")
		r := a.purge("/p", 200, fields...)
		if !r.Complete || r.Pending || r.Instances != 2 || r.Acknowledged != 2 || r.Seq != uint64(n+1) {
			t.Errorf("the receipt is %+v", r)
		}
		if body, status := b.get("/p"); body == old {
			t.Errorf("after %v on the other: %q, %s", fields, body, status)
		}
		if body, status := a.get("/p"); body == old {
			t.Errorf("after %v here: %q, %s", fields, body, status)
		}
	}
	// Who has left in good order is not waited for.
	b.Stop()
	if r := a.purge("/p", 200); !r.Complete || r.Instances != 1 {
		t.Errorf("the receipt is %+v", r)
	}
}

func TestPurgesWaitForRedis(t *testing.T) {
	s := newSite(t)
	a, b := s.start(t.TempDir(), ""), s.start(t.TempDir(), "")
	a.instances(2)
	old := b.inMemory("/p")
	a.inMemory("/p")
	s.redis.Pause()
	if r := a.purge("/p", 202); !r.Pending || r.Complete {
		t.Errorf("the receipt is %+v", r)
	}
	if body, status := a.get("/p"); body == old {
		t.Errorf("here: %q, %s", body, status)
	}
	if body, _ := b.get("/p"); body != old {
		t.Errorf("the other has %q, and cannot know it yet", body)
	}
	s.redis.Resume()
	s.eventually("the purge arrives", func() bool { body, _ := b.get("/p"); return body != old })

	// What waits survives the end of the process.
	fresh := b.inMemory("/p")
	s.redis.Pause()
	if r := a.purge("/p", 202); !r.Pending {
		t.Errorf("the receipt is %+v", r)
	}
	a.Stop()
	a = s.start(a.dir, "")
	if body, _ := b.get("/p"); body != fresh {
		t.Errorf("the other has %q, and cannot know it yet", body)
	}
	s.redis.Resume()
	s.eventually("the purge of the process that has ended arrives", func() bool { body, _ := b.get("/p"); return body != fresh })
	a.instances(2)
}

func TestAFullQueueRefuses(t *testing.T) {
	s := newSite(t)
	a := s.start(t.TempDir(), "log: { max_pending: 2 }")
	s.redis.Kill()
	for range 2 {
		a.purge("/p", 202)
	}
	if res, body := a.do("PURGE", "/p"); res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("the third of two: %s %s", res.Status, body)
	}
}

// An instance that is cut off does as it is told.
func TestOnPartition(t *testing.T) {
	for _, partition := range []string{"serve", "revalidate", "bypass"} {
		t.Run(partition, func(t *testing.T) {
			s := newSite(t)
			a := s.start(t.TempDir(), "on_partition: "+partition)
			a.instances(1)
			old := a.inMemory("/p")
			s.redis.Kill()
			time.Sleep(2 * lease)
			body, status := a.get("/p")
			if fresh := body != old; fresh != (partition != "serve") {
				t.Errorf("without its lease it answers %q, %s; it had %q", body, status, old)
			}
		})
	}
}

// A Redis that comes back without its data is another log: nothing from before
// is believed, and all goes on.
func TestRedisComesBackEmpty(t *testing.T) {
	s := newSite(t)
	a, b := s.start(t.TempDir(), "on_partition: revalidate"), s.start(t.TempDir(), "on_partition: revalidate")
	a.instances(2)
	old := b.inMemory("/p")
	first := a.purge("/q", 200, "X-Purge-Wait", "local")
	s.redis.Kill()
	s.redis.Restart()
	a.instances(2)
	if body, status := b.get("/p"); body == old {
		t.Errorf("what is of another epoch is answered with: %s", status)
	}
	if r := a.purge("/q", 200); r.Epoch == first.Epoch || !r.Complete {
		t.Errorf("the receipts are %+v and %+v", first, r)
	}
	b.inMemory("/p")
}
