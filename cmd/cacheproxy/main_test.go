package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// The scripts in testdata are the manual's examples, run.

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"cacheproxy": main,
		"get":        get,
	})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			for _, name := range []string{"PROXY", "ADMIN"} {
				addr, err := freeAddr()
				if err != nil {
					return err
				}
				e.Setenv(name, addr)
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"await": await, "signal": send},
	})
}

// freeAddr returns a loopback address that nobody listens on now.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// await COMMAND... runs a command until it succeeds: await cacheproxy healthcheck. With !, until it fails.
func await(ts *testscript.TestScript, neg bool, args []string) {
	deadline := time.Now().Add(20 * time.Second)
	for (ts.Exec(args[0], args[1:]...) == nil) == neg {
		if time.Now().After(deadline) {
			ts.Fatalf("not within 20 s: %q", args)
		}
		time.Sleep(20 * time.Millisecond) // another process has to come along
	}
}

// send is the command signal NAME: it sends a signal to what was started in the background last.
func send(ts *testscript.TestScript, neg bool, args []string) {
	signals := map[string]os.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "HUP": syscall.SIGHUP}
	started := ts.BackgroundCmds()
	if neg || len(args) != 1 || signals[args[0]] == nil || len(started) == 0 {
		ts.Fatalf("usage: signal TERM|INT|HUP, with a command in the background")
	}
	ts.Check(started[len(started)-1].Process.Signal(signals[args[0]]))
}

// get URL ['Name: value'...] asks and prints status, fields and body.
func get() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := printAnswer(ctx, os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func printAnswer(ctx context.Context, url string, lines []string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	fmt.Println(res.Proto, res.Status)
	for _, name := range slices.Sorted(maps.Keys(res.Header)) {
		fmt.Printf("%s: %s\n", name, strings.Join(res.Header[name], ", "))
	}
	fmt.Println()
	_, err = io.Copy(os.Stdout, res.Body)
	return errors.Join(err, ctx.Err())
}
