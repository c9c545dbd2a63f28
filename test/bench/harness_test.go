//go:build linux

// Package bench measures the built binary from outside, as its users' machines would see it, beside other servers.
package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cacheproxy/cacheproxy/test/bench/load"
	"github.com/cacheproxy/cacheproxy/test/process"
)

func TestMain(m *testing.M) {
	os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin") // where servers are, also for those who are not root
	code := m.Run()
	if tool.dir != "" {
		os.RemoveAll(tool.dir) // what stays in the temporary directory harms nobody
	}
	process.Exit(code)
}

// tool is the command of test/bench/tool, built once.
var tool struct {
	once sync.Once
	dir  string
	err  error
}

func toolPath(t testing.TB) string {
	t.Helper()
	tool.once.Do(func() {
		if tool.dir, tool.err = os.MkdirTemp("", "cacheproxy-bench-"); tool.err != nil {
			return
		}
		cmd := exec.Command("go", "build", "-o", filepath.Join(tool.dir, "tool"), "./tool")
		if out, err := cmd.CombinedOutput(); err != nil {
			tool.err = fmt.Errorf("%v: %w\n%s", cmd.Args, err, out)
		}
	})
	if tool.err != nil {
		t.Fatal(tool.err)
	}
	return filepath.Join(tool.dir, "tool")
}

// cores returns the processor that servers run on, and the one that load and origin run on: the first two that this process may use,
// or twice the only one.
func cores(t testing.TB) (server, load int) {
	t.Helper()
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		t.Fatal(err)
	}
	var all []int
	for i := 0; len(all) < set.Count(); i++ {
		if set.IsSet(i) {
			all = append(all, i)
		}
	}
	return all[0], all[min(1, len(all)-1)]
}

// pinned returns the command on one processor, from its first instruction on, so that Go's runtime counts one.
func pinned(core int, name string, args ...string) *exec.Cmd {
	return exec.Command("taskset", append([]string{"-c", strconv.Itoa(core), name}, args...)...)
}

// A child is a process of ours. Its output is kept for the case that it fails.
type child struct {
	cmd    *exec.Cmd
	output bytes.Buffer
	ended  chan struct{}
	err    error
}

// start runs the command until the test ends, and waits until the addresses take connections.
func start(t testing.TB, cmd *exec.Cmd, addrs ...string) *child {
	t.Helper()
	c := &child{cmd: cmd, ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &c.output, &c.output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		c.err = cmd.Wait()
		close(c.ended)
	}()
	t.Cleanup(c.stop)
	deadline := time.Now().Add(time.Minute)
	for _, addr := range addrs {
		for {
			conn, err := net.Dial("tcp", addr)
			if err == nil {
				conn.Close()
				break
			}
			select {
			case <-c.ended:
				t.Fatalf("%v ended: %v\n%s", cmd.Args, c.err, c.output.String())
			case <-time.After(10 * time.Millisecond):
			}
			if time.Now().After(deadline) {
				c.stop()
				t.Fatalf("%v does not listen on %s\n%s", cmd.Args, addr, c.output.String())
			}
		}
	}
	return c
}

// stop asks the process to end, so that it can end its own children, and then makes it end.
func (c *child) stop() {
	c.cmd.Process.Signal(unix.SIGTERM) // it may have ended already
	select {
	case <-c.ended:
	case <-time.After(3 * time.Second):
		c.cmd.Process.Kill()
		<-c.ended
	}
}

// An origin is the process that serves what [load.Targets] ask for.
type origin struct{ addr string }

func startOrigin(t testing.TB) origin {
	t.Helper()
	_, core := cores(t)
	o := origin{process.FreeAddrs(t, 1)[0]}
	start(t, pinned(core, toolPath(t), "origin", "-listen", o.addr), o.addr)
	return o
}

// asked returns how many requests the origin has had.
func (o origin) asked(t testing.TB) int {
	t.Helper()
	res, err := http.Get("http://" + o.addr + "/count")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// run does the job in a process of its own, on the processor of load and origin.
func run(t testing.TB, job load.Job) (r load.Result, err error) {
	t.Helper()
	text, err := json.Marshal(job)
	if err != nil {
		return r, err
	}
	_, core := cores(t)
	cmd := pinned(core, toolPath(t), "load", "-job", string(text))
	var out, problem bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problem
	if err := cmd.Run(); err != nil {
		return r, fmt.Errorf("%w: %s", err, strings.TrimSpace(problem.String()))
	}
	return r, json.Unmarshal(out.Bytes(), &r)
}
