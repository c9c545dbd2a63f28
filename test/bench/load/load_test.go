//go:build linux

package load

import (
	"net"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The quantiles of a histogram are those of the sorted values, at most 1/32 too much.
func TestAHistogramIsRightToATwentieth(t *testing.T) {
	var h Histogram
	var all []time.Duration
	for d := time.Duration(1); d < 10*time.Second; d += d/7 + 1 {
		h.Add(d)
		all = append(all, d)
	}
	for _, q := range []float64{0, 0.01, 0.5, 0.9, 0.99, 1} {
		want := all[int(q*float64(len(all)-1))]
		if got := h.Quantile(q); got < want || got > want+want/20 {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	if got := h.Quantile(1); got != slices.Max(all) {
		t.Errorf("the largest is %v, want %v", got, slices.Max(all))
	}
}

func TestZipfPrefersTheFirst(t *testing.T) {
	counts := make([]int, 1000)
	for _, n := range draw(len(counts)) {
		counts[n]++
	}
	// The n-th is drawn in proportion to n^-0.99: the first a thousand times as often as the thousandth, more or less.
	for _, n := range []int{2, 10, 100} {
		ratio := float64(counts[0]) / float64(counts[n-1])
		if ratio < 0.9*float64(n) || ratio > 1.1*float64(n) {
			t.Errorf("the first was drawn %.1f times as often as number %d", ratio, n)
		}
	}
}

func TestPathsSayWhatTheAnswerIs(t *testing.T) {
	for _, tt := range []struct {
		path string
		want object
		ok   bool
	}{
		{"keep/0/1024/7", object{true, 0, 1024}, true},
		{"pass/300/8/1", object{false, 300, 8}, true},
		{"keep/0/1024", object{}, false},
		{"other/0/1024/7", object{}, false},
		{"keep/x/1024/7", object{}, false},
		{"keep/0/-1/7", object{}, false},
	} {
		got, ok := parsePath(tt.path)
		if ok != tt.ok || ok && got != tt.want {
			t.Errorf("%q is %+v, %v, want %+v, %v", tt.path, got, ok, tt.want, tt.ok)
		}
	}
	targets := Targets{Store: "keep", Least: 1 << 10, Most: 8 << 10}
	for id := range 1000 {
		o, ok := parsePath(strings.TrimPrefix(targets.Path(id), "/"))
		if !ok || o.size < targets.Least || o.size > targets.Most {
			t.Errorf("id %d has the path %q", id, targets.Path(id))
		}
	}
}

// serve answers each request on a connection with the next of the texts, in pieces of so many bytes.
func serve(t *testing.T, piece int, texts ...string) (addr string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		buf := make([]byte, 1024)
		for _, text := range texts {
			if _, err := c.Read(buf); err != nil {
				return
			}
			for part := range slices.Chunk([]byte(text), piece) {
				if _, err := c.Write(part); err != nil {
					return
				}
				time.Sleep(time.Millisecond) // so that the parts come by themselves
			}
		}
	}()
	return l.Addr().String()
}

// An answer counts only if it is what was asked for, however its bytes come.
func TestAnswersAreChecked(t *testing.T) {
	const right = "HTTP/1.1 200 OK\r\nDate: now\r\ncontent-length: 4\r\n\r\nbody"
	for _, tt := range []struct{ name, answer, want string }{
		{"right", right, ""},
		{"another status", "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nbody", "want status 200"},
		{"another length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nbody5", "Content-Length is 5, want 4"},
		{"no length", "HTTP/1.1 200 OK\r\n\r\nbody", "no Content-Length"},
		{"too much", right + "!", errEarly.Error() + "|want status 200"},
		{"not HTTP", "body\r\n\r\n", "want status 200"},
	} {
		for _, piece := range []int{1000, 7} {
			addr := serve(t, piece, tt.answer, right)
			_, err := Run(Job{Addr: addr, Conns: 1, Requests: 2, Targets: Targets{Order: Next, Store: "keep", Least: 4, Most: 4}})
			if ok := err == nil; ok != (tt.want == "") || !ok && !regexp.MustCompile(tt.want).MatchString(err.Error()) {
				t.Errorf("%s, in pieces of %d: %v, want an error with %q", tt.name, piece, err, tt.want)
			}
		}
	}
}

func startOrigin(t *testing.T) (addr string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go ServeOrigin(l.(*net.TCPListener)) // until the test process ends
	return l.Addr().String()
}

func TestRunAgainstTheOrigin(t *testing.T) {
	addr := startOrigin(t)
	zipf := Targets{Order: Zipf, Store: "keep", Least: 1 << 10, Most: 8 << 10, Count: 1000}
	for _, tt := range []struct {
		name string
		job  Job
		want int // requests at least
	}{
		{"so many", Job{Conns: 7, Requests: 100, Targets: zipf}, 100},
		{"for a time", Job{Conns: 7, Warm: 10 * time.Millisecond, For: 50 * time.Millisecond, Targets: zipf, PID: os.Getpid()}, 10},
		{"large", Job{Conns: 3, Requests: 20, Targets: Targets{Order: Next, Store: "pass", Least: 1 << 20, Most: 1 << 20}}, 20},
		{"fresh", Job{Conns: 3, For: 50 * time.Millisecond, Fresh: true, Targets: zipf}, 3},
		{"late, in bursts", Job{Conns: 5, Bursts: 2, Targets: Targets{Order: One, Store: "keep", Delay: 20, Least: 8, Most: 8}}, 10},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.job.Addr = addr
			r, err := Run(tt.job)
			if err != nil {
				t.Fatal(err)
			}
			if r.Requests < tt.want || r.P50 <= 0 || r.P99 < r.P50 || r.Max < r.P99 || len(r.Bursts) != tt.job.Bursts {
				t.Errorf("got %+v", r)
			}
			for _, b := range r.Bursts {
				if b.P50 < time.Duration(tt.job.Targets.Delay)*time.Millisecond {
					t.Errorf("half of a burst took %v, less than the origin", b.P50)
				}
			}
		})
	}
}

// A request must cost the load nothing but its system calls: no memory of its own.
func TestARequestAllocatesNothing(t *testing.T) {
	l, err := open(Job{Addr: startOrigin(t), Conns: 4, Targets: Targets{Order: Zipf, Store: "keep", Least: 1 << 10, Most: 64 << 10, Count: 1000}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	if err := l.ask(1000); err != nil {
		t.Fatal(err)
	}
	// The origin is in this process and allocates a little for a connection, at its start; so it is allowed less than one in ten requests.
	const n = 1000
	got := testing.AllocsPerRun(5, func() {
		if err := l.ask(n); err != nil {
			t.Fatal(err)
		}
	})
	if got > n/10 {
		t.Errorf("%v allocations in %d requests", got, n)
	}
}

// What a server's children do is its own work.
func TestUsedCountsDescendants(t *testing.T) {
	cmd := exec.Command("sh", "-c", "(while :; do :; done) & wait")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait() // it says that it was killed
	}()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		used, err := Used(cmd.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		if used.CPU >= 50*time.Millisecond && used.Memory > 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("a busy child of the process has used %+v", used)
		}
	}
}
