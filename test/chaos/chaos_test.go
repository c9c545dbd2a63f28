// Package chaos lets upstreams fail under load behind the built binary, and
// behind HAProxy beside it, and counts what clients see.
package chaos

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/test/process"
)

var (
	phase  = flag.Duration("phase", 300*time.Millisecond, "how long each of the six phases goes on")
	record = flag.Bool("record", false, "write the table into docs/reliability.md; HAProxy must be there then")
)

const clients = 32

// TestChaos has five targets: one is killed, one hangs, one is slow, one comes and
// goes, and one is well. Of the idempotent requests none may fail. HAProxy is
// measured, not judged.
func TestChaos(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a while")
	}
	var table []string
	for _, tt := range []struct {
		name  string
		start func(*testing.T, []string) subject
		judge bool
	}{
		{"cacheproxy", func(t *testing.T, addrs []string) subject { return startCacheproxy(t, addrs, true) }, true},
		{"cacheproxy without checks", func(t *testing.T, addrs []string) subject { return startCacheproxy(t, addrs, false) }, true},
		{"HAProxy", startHAProxy, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := exec.LookPath("haproxy"); err != nil && !tt.judge {
				if *record {
					t.Fatal("haproxy is not installed; make chaos installs it")
				}
				t.Skip("haproxy is not installed; make chaos installs it")
			}
			r := run(t, tt.start)
			table = append(table, r.row(tt.name))
			if tt.judge && (r.failed > 0 || len(r.took) < 100) {
				t.Errorf("%d of %d requests failed, want none", r.failed, len(r.took))
			}
		})
	}
	text := head + strings.Join(table, "\n") + "\n"
	t.Log("\n" + text)
	if *record && !t.Failed() {
		write(t, "| proxy |", text)
	}
}

// page is where the tables stand: each between its first line, which begins with its first cell, and the next empty one.
const page = "../../docs/reliability.md"

func write(t *testing.T, first, table string) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), first)
	if !ok {
		t.Fatalf("%s has no table that begins with %s", page, first)
	}
	_, after, _ := strings.Cut(rest, "\n\n")
	if err := os.WriteFile(page, []byte(before+table+"\n"+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// result is what a run has come to.
type result struct {
	took                             []time.Duration // of each request
	failed                           int
	killedOut, hungOut, hungIn, back time.Duration
}

const head = `| proxy | requests | failed | p50 | p99 | slowest | killed one out after | hung one out after | hung one back after | killed one back after |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
`

func (r *result) row(name string) string {
	slices.Sort(r.took)
	ms := func(d time.Duration) string { return fmt.Sprintf("%.0f ms", d.Seconds()*1000) }
	at := func(share float64) string { return ms(r.took[int(share*float64(len(r.took)-1))]) }
	return fmt.Sprintf("| %s | %d | %d | %s | %s | %s | %s | %s | %s | %s |",
		name, len(r.took), r.failed, at(0.5), at(0.99), at(1), ms(r.killedOut), ms(r.hungOut), ms(r.hungIn), ms(r.back))
}

// run lets the targets fail one after the other, and come back, under load.
func run(t *testing.T, start func(*testing.T, []string) subject) *result {
	addrs := process.FreeAddrs(t, 5)
	var targets []*target
	for i, addr := range addrs {
		delay := time.Duration(0)
		if i == 2 {
			delay = 100 * time.Millisecond
		}
		targets = append(targets, newTarget(t, addr, delay))
	}
	killed, hung, flapping := targets[0], targets[1], targets[3]
	s := start(t, addrs)
	in := func(i int) func() bool {
		return func() bool {
			states, err := s.in()
			return err == nil && len(states) == 5 && states[i]
		}
	}
	out := func(i int) func() bool { return func() bool { return !in(i)() } }
	timed := func(what string, ok func() bool) time.Duration {
		begin := time.Now()
		await(t, what, ok)
		return time.Since(begin)
	}
	for i := range targets {
		await(t, "all targets are in", in(i))
	}

	r := &result{}
	ctx, stop := context.WithCancel(t.Context())
	wait := load(ctx, t, s.url, r)
	time.Sleep(*phase)
	killed.kill()
	r.killedOut = timed("the killed target is out", out(0))
	time.Sleep(*phase)
	hung.hang()
	r.hungOut = timed("the hung target is out", out(1))
	for begin := time.Now(); time.Since(begin) < 2**phase; {
		flapping.kill()
		time.Sleep(*phase / 4)
		flapping.start()
		time.Sleep(*phase / 4)
	}
	hung.resume()
	r.hungIn = timed("the hung target is back", in(1))
	time.Sleep(*phase)
	killed.start()
	r.back = timed("the killed target is back", in(0))
	time.Sleep(*phase)
	stop()
	wait()
	return r
}

// load sends idempotent requests until ctx ends.
func load(ctx context.Context, t *testing.T, url string, r *result) (wait func()) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}, Timeout: 10 * time.Second}
	var mu sync.Mutex // guards r
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				method, length := [4]string{"GET", "GET", "PUT", "DELETE"}[n%4], 0
				if method == "PUT" {
					length = 1000
				}
				begin := time.Now()
				err := ask(client, url, method, fmt.Sprintf("/%d/%d", c, n), length)
				mu.Lock()
				r.took = append(r.took, time.Since(begin))
				if err != nil {
					if r.failed++; r.failed <= 10 {
						t.Logf("failed after %v: %s: %v", time.Since(begin), method, err)
					}
				}
				mu.Unlock()
				time.Sleep(5 * time.Millisecond) // so that the machine is not the measure
			}
		})
	}
	return func() {
		wg.Wait()
		client.CloseIdleConnections()
	}
}

// ask sends a request and checks the answer.
func ask(client *http.Client, url, method, path string, length int) error {
	var body io.Reader
	if length > 0 {
		body = struct{ io.Reader }{strings.NewReader(strings.Repeat("x", length))} // chunked: its length is not told
	}
	req, err := http.NewRequest(method, url+path, body)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if want := answer(method, path, length); res.StatusCode != 200 || string(got) != want {
		return fmt.Errorf("%s %.100q, want %q", res.Status, got, want)
	}
	return nil
}
