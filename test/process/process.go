// Package process builds the cacheproxy binary and runs it, for tests that see
// the program as a user does: from outside.
package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds the start and the stop of the binary on a busy machine.
const patience = 30 * time.Second

// A Process is a running `cacheproxy serve`.
type Process struct {
	URL   string // of the proxy, "http://127.0.0.1:PORT"
	Admin string // of the admin listener

	t      testing.TB
	cmd    *exec.Cmd
	output *buffer
	ended  chan struct{}
	err    error // what Wait gave; read it after ended is closed
}

// Options change how the binary is run. The zero value runs it plainly.
type Options struct {
	Path   string               // of the binary as the process sees it; default: Binary(t)
	Dir    string               // working directory; default: an empty one of its own
	System *syscall.SysProcAttr // another user, another root

	Configured bool       // the configuration names the listeners: no --listen is given, and URL stays empty
	Env        []string   // further NAME=VALUE
	Files      []*os.File // further open files, from descriptor 3 on
	Shell      string     // a command for sh that becomes the binary by exec "$@"; default: none
}

// Serve runs `cacheproxy serve` with the arguments on free loopback ports, waits
// until it is ready, and stops it when the test ends.
func Serve(t testing.TB, o Options, args ...string) *Process {
	t.Helper()
	if o.Path == "" {
		o.Path = Binary(t)
	}
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	addrs := FreeAddrs(t, 2)
	listen, admin := addrs[0], addrs[1]
	arguments := []string{"serve", "--admin", admin}
	url := ""
	if !o.Configured {
		arguments = append(arguments, "--listen", listen)
		url = "http://" + listen
	}
	p := &Process{URL: url, Admin: "http://" + admin, t: t, output: &buffer{}, ended: make(chan struct{})}
	arguments = append(arguments, args...)
	p.cmd = exec.Command(o.Path, arguments...)
	if o.Shell != "" {
		p.cmd = exec.Command("sh", append([]string{"-c", o.Shell, "sh", o.Path}, arguments...)...)
	}
	p.cmd.Dir = o.Dir
	p.cmd.Env = append(plainEnv(), o.Env...)
	p.cmd.ExtraFiles = o.Files
	p.cmd.SysProcAttr = o.System
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %v: %v", p.cmd.Args, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(p.Kill)
	p.awaitReady()
	return p
}

// Stop sends SIGTERM, waits for the end and fails the test where the process
// does not end in time or not with 0.
func (p *Process) Stop() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Errorf("SIGTERM: %v\n%s", err, p.Output())
	}
	select {
	case <-p.ended:
		if p.err != nil {
			p.t.Errorf("after SIGTERM: %v, want exit code 0\n%s", p.err, p.Output())
		}
	case <-time.After(patience):
		p.t.Errorf("still running %v after SIGTERM\n%s", patience, p.Output())
		p.Kill()
	}
}

// PID returns the number of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Output returns the end of what the process has written so far.
func (p *Process) Output() string { return p.output.String() }

// Kill ends the process at once, with SIGKILL, and returns when it has ended.
func (p *Process) Kill() {
	p.cmd.Process.Kill() // it may have ended already
	<-p.ended
}

func (p *Process) awaitReady() {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		err := ready(ctx, client, p.Admin+"/readyz")
		if err == nil {
			return
		}
		select {
		case <-p.ended:
			p.t.Fatalf("cacheproxy ended before it was ready: %v\n%s", p.err, p.Output())
		case <-ctx.Done():
			p.t.Fatalf("cacheproxy not ready after %v: %v\n%s", patience, err, p.Output())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func ready(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: status %d", url, res.StatusCode)
	}
	return nil
}

// FreeAddrs returns n different loopback addresses that nobody listens on now,
// and that it has given to nobody before: who asked may not listen yet.
func FreeAddrs(t testing.TB, n int) (addrs []string) {
	t.Helper()
	for len(addrs) < n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() // only now, so that the system gives another each time
		if _, given := given.LoadOrStore(l.Addr().String(), true); !given {
			addrs = append(addrs, l.Addr().String())
		}
	}
	return addrs
}

// given holds the addresses that FreeAddrs has returned.
var given sync.Map

// plainEnv is the environment without what would configure cacheproxy.
func plainEnv() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "TMPDIR=" + os.TempDir()}
}

var build struct {
	once sync.Once
	dir  string
	err  error
}

// Main runs the tests of a package and removes what [Binary] built for them. It
// is called by TestMain and does not return.
func Main(m *testing.M) { Exit(m.Run()) }

// Exit ends the tests of a package like [Main], for a TestMain that has something to clear away itself.
func Exit(code int) {
	if build.dir != "" {
		os.RemoveAll(build.dir) // what stays in the temporary directory harms nobody
	}
	os.Exit(code)
}

// Binary returns the path of the binary: what the environment variable
// CACHEPROXY_BIN names, or one that is built once for the package under test.
func Binary(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("CACHEPROXY_BIN"); path != "" {
		return path
	}
	build.once.Do(func() {
		if build.dir, build.err = os.MkdirTemp("", "cacheproxy-test-"); build.err == nil {
			build.err = Build(filepath.Join(build.dir, "cacheproxy"))
		}
	})
	if build.err != nil {
		t.Fatal(build.err)
	}
	return filepath.Join(build.dir, "cacheproxy")
}

// Build builds the static binary at path as the Makefile and the Dockerfile do.
// Further flags of go build may change what is built.
func Build(path string, flags ...string) error {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	arguments := append([]string{"build", "-trimpath", "-o", path}, flags...)
	cmd := exec.Command("go", append(arguments, "./cmd/cacheproxy")...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build ./cmd/cacheproxy: %w\n%s", err, out)
	}
	return nil
}

// Root returns the directory of the module.
func Root(t testing.TB) string {
	t.Helper()
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func moduleRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	file := string(bytes.TrimSpace(out))
	if file == "" || file == os.DevNull {
		return "", errors.New("the tests run outside the module: no go.mod found")
	}
	return filepath.Dir(file), nil
}

// buffer keeps the last part of a process's output. It is safe for concurrent
// use.
type buffer struct {
	mu   sync.Mutex
	tail []byte
}

const maxTail = 16 << 10

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tail = append(b.tail, p...)
	if over := len(b.tail) - maxTail; over > 0 {
		b.tail = append(b.tail[:0], b.tail[over:]...)
	}
	return len(p), nil
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.tail)
}
