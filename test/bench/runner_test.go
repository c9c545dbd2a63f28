//go:build linux

package bench

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cacheproxy/cacheproxy/test/bench/load"
)

var (
	casesFlag   = flag.String("cases", "hit1k", "which cases to measure, by comma; all: all of them")
	peersFlag   = flag.String("peers", "cacheproxy,nginx", "which servers to measure, by comma; all: all of them")
	roundsFlag  = flag.Int("rounds", 1, "how often each server is measured, in turns")
	secondsFlag = flag.Float64("seconds", 0.3, "how long each time takes")
	objectsFlag = flag.Int("objects", 500_000, "how many are stored where the memory for one is measured")
	recordFlag  = flag.Bool("record", false, "write docs/benchmarks.md; all servers must be installed then")
)

// TestPeers measures the servers side by side. It judges only that all answers are right and that caches hit; what is quick enough is
// for the reader of the table. By itself it makes sure that the benchmark works, in a second.
func TestPeers(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts servers")
	}
	who := chosenPeers(t)
	o := startOrigin(t)
	var sheets []*sheet
	for _, s := range scenarios() {
		if !chosen(*casesFlag, s.id) {
			continue
		}
		t.Run(s.id, func(t *testing.T) {
			sh := measure(t, &s, who, o)
			sheets = append(sheets, sh)
			t.Log("\n" + sh.table())
		})
	}
	if len(sheets) == 0 {
		t.Fatalf("no case is called %q", *casesFlag)
	}
	t.Log("\n" + overview(sheets, who) + "\n" + goals(sheets))
	if *recordFlag && !t.Failed() {
		record(t, sheets, who)
	}
}

func chosen(list, name string) bool {
	return list == "all" || slices.Contains(strings.Split(list, ","), name)
}

func chosenPeers(t *testing.T) (who []*peer) {
	for i := range peers {
		p := &peers[i]
		switch {
		case !chosen(*peersFlag, p.name):
		case p.installed():
			who = append(who, p)
		case *recordFlag:
			t.Fatalf("%s is not installed; make bench-peers installs it", p.name)
		default:
			t.Logf("%s is not installed; make bench-peers installs it", p.name)
		}
	}
	if len(who) == 0 {
		t.Fatalf("no server is called %q", *peersFlag)
	}
	return who
}

// A figure is one measurement.
type figure struct {
	cpu      float64 // microseconds for each request
	rate     float64 // requests a second
	p50, p99 time.Duration
	memory   int64   // resident bytes at the end
	grown    float64 // bytes for each request
	behind   float64 // of cpu, that of the tier behind memory
	asked    float64 // requests to the origin, for each
}

// A sheet has the figures of one scenario.
type sheet struct {
	*scenario
	rows map[string]figure // by the peer's name; the medians of the rounds
}

// A running is a peer that has been started for a scenario.
type running struct {
	*peer
	site    *site
	job     load.Job
	h2rate  float64 // requests a second, more or less
	figures []figure
}

// measure starts all peers that can do it and lets them do it in turns.
func measure(t *testing.T, s *scenario, who []*peer, o origin) *sheet {
	var all []*running
	for _, p := range who {
		if s.can == nil || s.can(p) {
			site := newSite(t, o, max(s.room, 512))
			if s.behind && p.name == "cacheproxy" {
				site.startRedis(t)
			}
			r := &running{peer: p, site: site, job: s.job}
			r.job.PID = p.launch(t, site)
			r.job.Addr = site.addr
			if s.job.TLS {
				r.job.Addr = site.secure
			}
			all = append(all, r)
			if s.prepare != nil {
				job := *s.prepare
				job.Addr = site.addr
				if _, err := run(t, job); err != nil {
					t.Errorf("%s: %v", p.name, err)
				}
				site.awaitRedis(t, s)
			}
			if s.kind == http2 {
				if err := r.h2prepare(t); err != nil {
					t.Errorf("%s: %v", p.name, err)
				}
			}
		}
	}
	n := *roundsFlag
	if s.kind == growth || s.kind == crowded {
		n = 1
	}
	for round := range n {
		for i := range all {
			r := all[(i+round)%len(all)] // so that each comes first and last
			f, err := r.once(t, s)
			switch {
			case err != nil && *recordFlag && r.name != "cacheproxy": // a server that breaks off gets a dash, and not all tables lost
				t.Logf("%s: %v", r.name, err)
				continue
			case err != nil:
				t.Errorf("%s: %v", r.name, err)
				continue
			}
			r.figures = append(r.figures, f)
		}
	}
	sh := &sheet{scenario: s, rows: make(map[string]figure)}
	for _, r := range all {
		if len(r.figures) > 0 {
			sh.rows[r.name] = medians(r.figures)
		}
	}
	return sh
}

// once measures the peer once, and checks that the origin was asked as often as it should.
func (r *running) once(t *testing.T, s *scenario) (f figure, err error) {
	before, files := r.site.origin.asked(t), r.site.files()
	job := r.job
	redis := r.site.redisUsage(t)
	var res load.Result
	switch s.kind {
	case http2:
		res, err = r.h2load(t, job)
	case rounds:
		job.For = time.Duration(*secondsFlag * float64(time.Second))
		job.Warm = job.For / 5
		res, err = run(t, job)
	default:
		res, err = run(t, job)
	}
	if err != nil {
		return f, err
	}
	asked := r.site.origin.asked(t) - before
	if job.Targets.Order == load.Next {
		r.job.Targets.First += res.Asked
	}
	n := float64(res.Requests)
	f = figure{
		cpu: float64(res.CPU.Microseconds()) / n, rate: n / res.Took.Seconds(), p50: res.P50, p99: res.P99, memory: res.After,
		grown: float64(res.After-res.Before+r.site.files()-files) / n,
		asked: float64(asked) / float64(max(res.Asked, res.Requests)),
	}
	if err := f.addRedis(redis, r.site.redisUsage(t), &res); err != nil {
		return f, err
	}
	if s.kind == crowded {
		slices.SortFunc(res.Bursts, func(a, b load.Burst) int { return int(a.P99 - b.P99) })
		median := res.Bursts[len(res.Bursts)/2]
		f.p50, f.p99, f.asked = median.P50, median.P99, float64(asked-1)/float64(len(res.Bursts))
		return f, nil
	}
	// Requests that were on their way at the end may have reached the origin or not.
	sent := max(res.Asked, res.Requests)
	if off := math.Abs(float64(asked) - s.expect*float64(sent)); off > float64(2*job.Conns)+0.01*n {
		return f, fmt.Errorf("the origin had %d requests of %d, want %v of each", asked, sent, s.expect)
	}
	return f, nil
}

// files returns the bytes that the files of the site take: memory, for a server that stores in files.
func (s *site) files() (sum int64) {
	_ = filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		var info unix.Stat_t
		if err == nil && unix.Lstat(path, &info) == nil {
			sum += info.Blocks * 512
		}
		return nil // what goes away meanwhile takes nothing
	})
	return sum
}

func medians(all []figure) figure {
	return figure{
		behind: median(all, func(f figure) float64 { return f.behind }),
		cpu:    median(all, func(f figure) float64 { return f.cpu }), rate: median(all, func(f figure) float64 { return f.rate }),
		p50:    time.Duration(median(all, func(f figure) float64 { return float64(f.p50) })),
		p99:    time.Duration(median(all, func(f figure) float64 { return float64(f.p99) })),
		memory: int64(median(all, func(f figure) float64 { return float64(f.memory) })),
		grown:  median(all, func(f figure) float64 { return f.grown }), asked: median(all, func(f figure) float64 { return f.asked }),
	}
}

// median returns the middle one, or the mean of the two middle ones.
func median(all []figure, of func(figure) float64) float64 {
	values := make([]float64, len(all))
	for i, f := range all {
		values[i] = of(f)
	}
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

var (
	h2Took  = regexp.MustCompile(`finished in ([0-9.]+)(ms|s|us),`)
	h2Right = regexp.MustCompile(`status codes: (\d+) 2xx, 0 3xx, 0 4xx, 0 5xx`)
	h2Data  = regexp.MustCompile(`\((\d+)\) data`)
)

// h2load measures with the tool of that name, which checks less than ours: the status of each answer, and how many bytes came in all.
// It is told how many requests to make: its way to ask for a time, -D, may go on for ever.
func (r *running) h2load(t testing.TB, job load.Job) (res load.Result, err error) {
	n := max(1000, int(*secondsFlag*r.h2rate))
	before, err := load.Used(job.PID)
	if err != nil {
		return res, err
	}
	took, err := r.h2requests(t, job, n)
	if err != nil {
		return res, err
	}
	after, err := load.Used(job.PID)
	if err != nil {
		return res, err
	}
	res = load.Result{Requests: n, Took: took, CPU: after.CPU - before.CPU, Before: before.Memory, After: after.Memory}
	res.P50, res.P99, err = logged(r.h2log())
	return res, err
}

// h2prepare finds out how many requests h2load makes in a second. It also stores what is asked for under the authority that it sends.
func (r *running) h2prepare(t testing.TB) error {
	const n = 10_000 // the first thousands of a server are dearer than those that follow
	took, err := r.h2requests(t, r.job, n)
	r.h2rate = n / took.Seconds()
	return err
}

func (r *running) h2log() string { return filepath.Join(r.site.dir, "h2load.log") }

// h2requests lets h2load make n requests, and returns how long it took.
func (r *running) h2requests(t testing.TB, job load.Job, n int) (time.Duration, error) {
	_, core := cores(t)
	_ = os.Remove(r.h2log()) // it is there but for the first time
	cmd := pinned(core, "h2load", "-t", "1", "-c", strconv.Itoa(job.Conns), "-m", "8", "-n", strconv.Itoa(n),
		"--log-file="+r.h2log(), "https://"+r.site.secure+job.Targets.Path(job.Targets.First))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	hung := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	defer hung.Stop()
	if err := cmd.Wait(); err != nil {
		return 0, fmt.Errorf("%v: %w\n%s", cmd.Args, err, out.Bytes())
	}
	took, right, data := h2Took.FindSubmatch(out.Bytes()), h2Right.FindSubmatch(out.Bytes()), h2Data.FindSubmatch(out.Bytes())
	if took == nil || right == nil || data == nil || string(right[1]) != strconv.Itoa(n) || string(data[1]) != strconv.Itoa(n*job.Targets.Least) {
		return 0, fmt.Errorf("h2load did not get %d answers of %d bytes:\n%s", n, job.Targets.Least, out.Bytes())
	}
	return time.ParseDuration(string(took[1]) + string(took[2]))
}

// logged reads response times from h2load's log: start, status and microseconds by tabs.
func logged(path string) (p50, p99 time.Duration, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, 0, err
	}
	var times load.Histogram
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		fields := strings.Split(lines.Text(), "\t")
		if len(fields) < 3 {
			continue
		}
		us, err := strconv.Atoi(fields[2])
		if err != nil {
			return 0, 0, fmt.Errorf("%s: %w", path, err)
		}
		times.Add(time.Duration(us) * time.Microsecond)
	}
	return times.Quantile(0.5), times.Quantile(0.99), nil
}

// version returns the first line with a number in it of what the peer says of itself.
func (p *peer) versionLine() string {
	if p.version == nil {
		return ""
	}
	out, err := exec.Command(p.version[0], p.version[1:]...).CombinedOutput()
	if err != nil {
		return err.Error()
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line)
}
