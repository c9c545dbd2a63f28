package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/test/process"
	"github.com/cacheproxy/cacheproxy/test/redistest"
)

const (
	keys    = 1000
	readers = 16
	// reads is how many a reader makes in a second at most, so that the machine is not the measure.
	reads = 50
)

// redisFault is something that befalls Redis, and its end.
type redisFault struct {
	name       string
	begin, end func()
	redis      string // configuration below redis
}

// faults are those of docs/reliability.md.
func faults(t *testing.T) []func() redisFault {
	single := func() (*redistest.Server, string) {
		s := redistest.Start(t)
		return s, "url: " + s.URL()
	}
	relayed := func() (*redistest.Relay, string) {
		r := redistest.StartRelay(t, redistest.Start(t).Addr)
		return r, "addresses: [" + r.Addr + "]"
	}
	return []func() redisFault{
		func() redisFault {
			s, conf := single()
			return redisFault{"paused (SIGSTOP)", s.Pause, s.Resume, conf}
		},
		func() redisFault {
			s, conf := single()
			return redisFault{"closed (SIGKILL)", s.Kill, s.Restart, conf}
		},
		func() redisFault {
			r, conf := relayed()
			return redisFault{"slow, 50 ms for each answer", func() { r.Slow(50 * time.Millisecond) }, func() { r.Slow(0) }, conf}
		},
		func() redisFault {
			r, conf := relayed()
			return redisFault{"slower than the deadline, 150 ms", func() { r.Slow(150 * time.Millisecond) }, func() { r.Slow(0) }, conf}
		},
		func() redisFault {
			s, conf := single()
			return redisFault{"full (OOM)", func() { s.Do("CONFIG", "SET", "maxmemory", "1") }, func() { s.Do("CONFIG", "SET", "maxmemory", "0") }, conf}
		},
		func() redisFault {
			r, conf := relayed()
			return redisFault{"answering garbage", func() { r.Garble(true) }, func() { r.Garble(false) }, conf}
		},
		func() redisFault {
			s := redistest.StartSentinels(t)
			conf := fmt.Sprintf("mode: sentinel, master_name: %s, addresses: [%s]", s.Name, strings.Join(s.Addrs, ", "))
			return redisFault{"failing over (its master killed)", s.Master.Kill, func() {}, conf}
		},
	}
}

const redisHead = `| Redis | requests | failed | p99 before | p99 during | p99 after | slowest during | normal after |
| --- | --- | --- | --- | --- | --- | --- | --- |
`

// TestRedisChaos: whatever befalls Redis, no request fails while the upstream lives. How long they take is measured, not judged.
func TestRedisChaos(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a while")
	}
	var rows []string
	for _, fault := range faults(t) {
		f := fault()
		t.Run(f.name, func(t *testing.T) { rows = append(rows, runRedis(t, f)) })
	}
	text := redisHead + strings.Join(rows, "\n") + "\n"
	t.Log("\n" + text)
	if *record && !t.Failed() {
		write(t, "| Redis |", text)
	}
}

// runRedis reads over all keys before, during and after the fault.
func runRedis(t *testing.T, f redisFault) string {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=1") // so that memory is asked in vain all the time
		fmt.Fprint(w, answer(r.Method, r.URL.Path, 0))
	}))
	defer origin.Close()
	file := filepath.Join(t.TempDir(), "cacheproxy.yaml")
	conf := fmt.Sprintf("upstreams: { o: { targets: [{ url: %q }] } }\nredis: { %s, breaker: { open_for: 1s } }\nlog: { access: false }\n", origin.URL, f.redis)
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	p := process.Serve(t, process.Options{}, "--config", file)
	var phases [3]readings
	phases[0].read(t, p.URL, *phase)
	f.begin()
	phases[1].read(t, p.URL, 2**phase)
	f.end()
	ended := time.Now()
	await(t, "all is well", func() bool { return status(p.Admin) == "ok" })
	normal := time.Since(ended)
	phases[2].read(t, p.URL, *phase)
	failed, count := 0, 0
	for i := range phases {
		failed += phases[i].failed
		count += len(phases[i].took)
	}
	if failed > 0 || count < 50 {
		t.Errorf("%d of %d requests failed, want none", failed, count)
	}
	ms := func(d time.Duration) string { return fmt.Sprintf("%.1f ms", d.Seconds()*1000) }
	return fmt.Sprintf("| %s | %d | %d | %s | %s | %s | %s | %s |", f.name, count, failed,
		ms(phases[0].at(.99)), ms(phases[1].at(.99)), ms(phases[2].at(.99)), ms(phases[1].at(1)), ms(normal))
}

// readings are the requests of a phase.
type readings struct {
	mu     sync.Mutex // guards the following
	took   []time.Duration
	failed int
}

func (r *readings) at(share float64) time.Duration {
	slices.Sort(r.took)
	return r.took[int(share*float64(len(r.took)-1))]
}

// read reads the keys in turn for a while.
func (r *readings) read(t *testing.T, url string, d time.Duration) {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: readers}, Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	var wg sync.WaitGroup
	for reader := range readers {
		wg.Go(func() {
			for n := reader; ctx.Err() == nil; n += readers {
				begin := time.Now()
				err := ask(client, url, "GET", fmt.Sprint("/", n%keys), 0)
				took := time.Since(begin)
				r.mu.Lock()
				r.took = append(r.took, took)
				if err != nil {
					if r.failed++; r.failed <= 10 {
						t.Logf("failed after %v: %v", took, err)
					}
				}
				r.mu.Unlock()
				time.Sleep(time.Second/reads - took)
			}
		})
	}
	wg.Wait()
}

// status is what /readyz says.
func status(admin string) string {
	res, err := http.Get(admin + "/readyz")
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	var health struct{ Status string }
	text, err := io.ReadAll(res.Body)
	if err == nil {
		err = json.Unmarshal(text, &health)
	}
	if err != nil || res.StatusCode != http.StatusOK {
		return fmt.Sprint(res.Status, err)
	}
	return health.Status
}
