//go:build linux

package bench

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// page is where the results are recorded.
const page = "../../docs/benchmarks.md"

// main returns the figure that a scenario is about.
func (sh *sheet) main(f figure) float64 {
	switch sh.kind {
	case growth:
		return f.grown
	case crowded:
		return f.p99.Seconds() * 1000
	}
	return f.cpu
}

// unit says what main is.
func (sh *sheet) unit() string {
	switch sh.kind {
	case growth:
		return "bytes each"
	case crowded:
		return "p99, ms"
	}
	return "CPU, µs"
}

// number writes a figure with three digits, or whole.
func number(v float64) string {
	switch {
	case v < 10:
		return fmt.Sprintf("%.2f", v)
	case v < 100:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

// table shows all of a scenario.
func (sh *sheet) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "### %s\n\n| server | %s | cacheproxy's share | requests/s | p50, ms | p99, ms | RSS, MiB | to the origin |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n",
		sh.title, sh.unit())
	own, measured := sh.rows["cacheproxy"]
	for _, p := range peers {
		f, ok := sh.rows[p.name]
		if !ok {
			continue
		}
		ratio := "-"
		if measured {
			ratio = fmt.Sprintf("%.2f", sh.main(own)/sh.main(f))
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %.0f | %s | %s | %.0f | %s |\n", p.name, number(sh.main(f)), ratio, f.rate,
			number(f.p50.Seconds()*1000), number(f.p99.Seconds()*1000), float64(f.memory)/(1<<20), number(f.asked))
	}
	if own.behind > 0 {
		fmt.Fprintf(&b, "\nOf cacheproxy's %s µs, Redis needs %s.\n", number(own.cpu), number(own.behind))
	}
	return b.String()
}

// overview shows what each scenario is about, for all servers.
func overview(sheets []*sheet, who []*peer) string {
	var b strings.Builder
	b.WriteString("| case | figure |")
	for _, p := range who {
		fmt.Fprintf(&b, " %s |", p.name)
	}
	b.WriteString("\n| --- | --- |" + strings.Repeat(" --- |", len(who)) + "\n")
	for _, sh := range sheets {
		fmt.Fprintf(&b, "| %s | %s |", sh.title, sh.unit())
		for _, p := range who {
			f, ok := sh.rows[p.name]
			if !ok {
				b.WriteString(" - |")
				continue
			}
			fmt.Fprintf(&b, " %s |", number(sh.main(f)))
		}
		b.WriteString("\n")
	}
	return b.String()
}

// goals shows which are met.
func goals(sheets []*sheet) string {
	var b strings.Builder
	b.WriteString("| case | goal | measured | met |\n| --- | --- | --- | --- |\n")
	for _, g := range targets {
		for _, sh := range sheets {
			own, ok := sh.rows["cacheproxy"]
			if sh.id != g.id || !ok {
				continue
			}
			value, goal, met := sh.main(own), g.text, ""
			measured := number(value)
			if g.peer != "" {
				other, ok := sh.rows[g.peer]
				if !ok {
					continue
				}
				value /= sh.main(other)
				goal, measured = fmt.Sprintf("at most %.2f x %s", g.limit, g.peer), fmt.Sprintf("%.2f", value)
			}
			if met = "no"; value <= g.limit && (sh.kind != crowded || own.asked == 1) {
				met = "yes"
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", sh.title, goal, measured, met)
		}
	}
	return b.String()
}

const intro = `# Benchmarks

Made by ` + "`make bench-peers`" + ` (%s). cacheproxy and the servers that people know stand in front of the same origin, each alone on one processor; load and origin run on another. They are measured in turns, %d times for %g s each; the tables have the medians. What counts first is the server's processor time for a request: user and system time of all its processes and threads, from /proc/PID/stat. It depends less on the machine and on what else runs there than rates and response times do.

The load is ours (` + "`test/bench/load`" + `): one thread on epoll that allocates nothing and checks status and length of every answer; for HTTP/2 it is h2load. Whether caches hit is seen at the origin, which counts its requests. ` + "`test/bench/peers_test.go`" + ` has the configurations: one worker, no access log, connections that stay, room in memory for all objects; nginx and Traffic Server store in files on a file system in memory. RSS counts pages that processes share once, and for the two memory cases those files too. A dash is what a server cannot do, or, for HAProxy's memory, what it takes at its start. net/http is a bare Go server: it answers from a map, fills that through httputil.ReverseProxy, and knows no rules, freshness, limits or metrics. The epoll loop is no cache but what stands for the floor: one thread that knows what it is asked for, and reads and writes.

One case alone: ` + "`make bench-peers BENCHARGS='-cases tls -peers cacheproxy,HAProxy -rounds 5 -seconds 1'`" + `, which records nothing. The hit behind memory: ` + "`make bench-peers BENCHARGS='-cases l2 -peers cacheproxy,nginx -rounds 5 -seconds 1'`" + `.

%s
`

// record writes the page.
func record(t *testing.T, sheets []*sheet, who []*peer) {
	var b strings.Builder
	fmt.Fprintf(&b, intro, "`"+strings.Join(flagsGiven(), " ")+"`", *roundsFlag, *secondsFlag, machine(t))
	b.WriteString("\n## Versions\n\n")
	for _, p := range who {
		if line := p.versionLine(); line != "" {
			fmt.Fprintf(&b, "* %s: `%s`\n", p.name, line)
		}
	}
	b.WriteString("\n## Overview\n\n" + overview(sheets, who) + "\n## Goals\n\n" + goals(sheets) + "\n## Each case\n")
	for _, sh := range sheets {
		b.WriteString("\n" + sh.table())
	}
	if err := os.WriteFile(page, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

func flagsGiven() []string {
	return []string{"-cases", *casesFlag, "-peers", *peersFlag, "-rounds", fmt.Sprint(*roundsFlag), "-seconds", fmt.Sprint(*secondsFlag), "-objects", fmt.Sprint(*objectsFlag)}
}

// machine describes the machine.
func machine(t *testing.T) string {
	model := "unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range bytes.Lines(text) {
			if name, value, ok := bytes.Cut(line, []byte(":")); ok && string(bytes.TrimSpace(name)) == "model name" {
				model = string(bytes.TrimSpace(value))
				break
			}
		}
	}
	var name unix.Utsname
	var info unix.Sysinfo_t
	if err := unix.Uname(&name); err != nil {
		t.Fatal(err)
	}
	if err := unix.Sysinfo(&info); err != nil {
		t.Fatal(err)
	}
	server, load := cores(t)
	system := ""
	if text, err := os.ReadFile("/etc/os-release"); err == nil {
		_, rest, _ := strings.Cut(string(text), `PRETTY_NAME="`)
		system, _, _ = strings.Cut(rest, `"`)
	}
	return fmt.Sprintf("The machine: %d x %s, %d GiB, %s, Linux %s, %s. The server on processor %d, load and origin on %d.",
		runtime.NumCPU(), model, info.Totalram*uint64(info.Unit)>>30, system, unix.ByteSliceToString(name.Release[:]), runtime.Version(), server, load)
}
