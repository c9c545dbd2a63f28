//go:build linux

// Command tool is what the benchmarks run beside the servers: the load, the origin, and a plain net/http server to compare with.
//
//	tool origin -listen 127.0.0.1:9000
//	tool load -addr 127.0.0.1:8080 -conns 64 -for 2s -order zipf -count 100000 -least 1024 -most 8192 -pid 4711
//	tool plain -listen 127.0.0.1:8080 -tls 127.0.0.1:8443 -cert c.pem -key k.pem -origin 127.0.0.1:9000
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"

	"github.com/cacheproxy/cacheproxy/test/bench/load"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "tool:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New("what shall run: load, origin or plain?")
	}
	flags := flag.NewFlagSet(args[0], flag.ExitOnError)
	switch args[0] {
	case "load":
		return runLoad(flags, args[1:])
	case "origin":
		return runOrigin(flags, args[1:])
	case "plain":
		return runPlain(flags, args[1:])
	}
	return fmt.Errorf("%q is none of load, origin and plain", args[0])
}

// runLoad writes the result as one line of JSON; durations are nanoseconds.
func runLoad(flags *flag.FlagSet, args []string) error {
	job := load.Job{}
	flags.StringVar(&job.Addr, "addr", "", "IPv4 address and port of the server")
	flags.BoolVar(&job.TLS, "tls", false, "speak TLS 1.3")
	flags.IntVar(&job.Conns, "conns", 64, "connections")
	flags.DurationVar(&job.Warm, "warm", 0, "how long to ask before it counts")
	flags.DurationVar(&job.For, "for", 0, "how long to ask")
	flags.IntVar(&job.Requests, "requests", 0, "ask so often, in place of -warm and -for")
	flags.IntVar(&job.Bursts, "bursts", 0, "ask so often for a new target on all connections at once, in place of -warm and -for")
	flags.BoolVar(&job.Fresh, "fresh", false, "a new connection for each request")
	flags.IntVar(&job.PID, "pid", 0, "process of the server, whose CPU time and memory to tell")
	flags.DurationVar(&job.Settle, "settle", 0, "how long to wait before its memory is looked at again")
	text := flags.String("job", "", "all of this as JSON of a load.Job, in place of the other flags")
	t := &job.Targets
	flags.StringVar((*string)(&t.Order), "order", string(load.One), "which target comes next: one, next or zipf")
	flags.StringVar(&t.Store, "store", "keep", "whether the answers may be stored: keep or pass")
	flags.IntVar(&t.Delay, "delay", 0, "milliseconds that the origin takes")
	flags.IntVar(&t.Least, "least", 1024, "bytes of the smallest body")
	flags.IntVar(&t.Most, "most", 0, "bytes of the largest body; default: of the smallest")
	flags.IntVar(&t.First, "first", 1, "number of the first target")
	flags.IntVar(&t.Count, "count", 0, "targets to choose from")
	if err := flags.Parse(args); err != nil {
		return err
	}
	t.Most = max(t.Most, t.Least)
	if *text != "" {
		job = load.Job{}
		if err := json.Unmarshal([]byte(*text), &job); err != nil {
			return err
		}
	}
	result, err := load.Run(job)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}

func runOrigin(flags *flag.FlagSet, args []string) error {
	addr := flags.String("listen", "127.0.0.1:9000", "address")
	if err := flags.Parse(args); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	return load.ServeOrigin(listener.(*net.TCPListener))
}
