package chaos

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/test/process"
)

// The names of the environment by which the test binary is told to be a target.
const (
	listenName = "CHAOS_TARGET_LISTEN"
	delayName  = "CHAOS_TARGET_DELAY"
)

func TestMain(m *testing.M) {
	if addr := os.Getenv(listenName); addr != "" {
		if err := beTarget(addr, os.Getenv(delayName)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	process.Main(m)
}

// beTarget serves until the process is killed. It answers with what it got.
func beTarget(addr, delay string) error {
	wait, err := time.ParseDuration(delay)
	if err != nil {
		return err
	}
	return http.ListenAndServe(addr, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(wait)
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		fmt.Fprint(w, answer(r.Method, r.URL.Path, len(body))) // a client that is gone needs no answer
	}))
}

// answer is what a target says to a request.
func answer(method, path string, length int) string {
	return fmt.Sprintf("%s %s %d", method, path, length)
}

// A target is a process that serves, which can be killed and stopped as a kernel
// or an operator would. Its methods are for one goroutine.
type target struct {
	t     *testing.T
	addr  string
	delay time.Duration
	cmd   *exec.Cmd
}

func newTarget(t *testing.T, addr string, delay time.Duration) *target {
	p := &target{t: t, addr: addr, delay: delay}
	p.start()
	t.Cleanup(p.kill)
	return p
}

// start starts the process and returns when it takes connections.
func (p *target) start() {
	p.t.Helper()
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Env = append(os.Environ(), listenName+"="+p.addr, delayName+"="+p.delay.String())
	p.cmd.Stderr = os.Stderr
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", p.addr)
		if err == nil {
			c.Close()
			return
		}
		if ctx.Err() != nil {
			p.t.Fatalf("a target does not listen on %s: %v", p.addr, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// kill ends the process at once: SIGKILL.
func (p *target) kill() {
	p.cmd.Process.Kill() // it may have ended
	p.cmd.Wait()         // its error says that it was killed
}

// hang lets the process do nothing any more, while its kernel takes connections:
// SIGSTOP.
func (p *target) hang() { p.signal(syscall.SIGSTOP) }

func (p *target) resume() { p.signal(syscall.SIGCONT) }

func (p *target) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}
