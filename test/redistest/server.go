// Package redistest starts real Redis servers on free ports for tests: one, a
// cluster, or a master with a replica and sentinels. They end with the test. A
// test whose server is not installed fails; test/needs.sh installs it.
package redistest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cacheproxy/cacheproxy/test/process"
)

// patience bounds the start of servers on a busy machine.
const patience = 30 * time.Second

// Server is one redis-server process. Its methods are for one goroutine.
type Server struct {
	Addr string // HOST:PORT

	t      testing.TB
	dir    string
	binary string
	args   []string
	cmd    *exec.Cmd
	client *redis.Client
}

// Start runs a redis-server with no persistence and the given further arguments,
// and returns when it answers.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	return start(t, process.FreeAddrs(t, 1)[0], args...)
}

func start(t testing.TB, addr string, args ...string) *Server {
	t.Helper()
	_, port, _ := net.SplitHostPort(addr)
	s := &Server{Addr: addr, t: t, dir: t.TempDir(), binary: binary(t)}
	s.args = append([]string{
		"--bind", "127.0.0.1", "--port", port, "--dir", s.dir, "--save", "", "--appendonly", "no", "--daemonize", "no",
		"--logfile", filepath.Join(s.dir, "log"), "--repl-diskless-sync-delay", "0",
	}, args...)
	if !isOld(t) {
		s.args = append(s.args, "--enable-debug-command", "local") // older ones always do
	}
	s.client = redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1, DialTimeout: time.Second, ReadTimeout: 5 * time.Second})
	t.Cleanup(func() {
		s.client.Close()
		s.Kill()
	})
	s.run()
	return s
}

// StartTLS is Start for a server that listens with a certificate on tlsAddr too.
// Client and the methods of Server do without.
func StartTLS(t testing.TB, certFile, keyFile string) (s *Server, tlsAddr string) {
	t.Helper()
	tlsAddr = process.FreeAddrs(t, 1)[0]
	_, port, _ := net.SplitHostPort(tlsAddr)
	return Start(t, "--tls-port", port, "--tls-cert-file", certFile, "--tls-key-file", keyFile, "--tls-auth-clients", "no"), tlsAddr
}

// binary returns the server: redis-server, or what CACHEPROXY_TEST_REDIS names,
// such as valkey-server.
func binary(t testing.TB) string {
	t.Helper()
	name := os.Getenv("CACHEPROXY_TEST_REDIS")
	if name == "" {
		name = "redis-server"
	}
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is not installed; test/needs.sh redis-server installs it: %v", name, err)
	}
	return path
}

// isOld reports whether the server is Redis 6.2, which lacks some options that
// tests use.
func isOld(t testing.TB) bool {
	t.Helper()
	text, err := exec.Command(binary(t), "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(text), " v=6.")
}

func (s *Server) run() {
	s.t.Helper()
	s.cmd = exec.Command(s.binary, s.args...)
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	await(s.t, "the server answers", func() bool { return s.client.Ping(s.t.Context()).Err() == nil })
}

// URL is the server's address as a redis URL.
func (s *Server) URL() string { return "redis://" + s.Addr + "/0" }

// Client speaks to the server without any of the product in between.
func (s *Server) Client() *redis.Client { return s.client }

// Kill ends the server at once: SIGKILL.
func (s *Server) Kill() {
	if s.cmd == nil {
		return
	}
	s.cmd.Process.Kill() // it may have ended
	s.cmd.Wait()         // its error says that it was killed
	s.cmd = nil
}

// Restart starts a server again that was killed, empty.
func (s *Server) Restart() {
	s.t.Helper()
	s.run()
}

// Follow makes the server a replica of master, and returns when it has what that
// one has.
func (s *Server) Follow(master *Server) {
	s.t.Helper()
	host, port, _ := net.SplitHostPort(master.Addr)
	s.Do("REPLICAOF", host, port)
	await(s.t, "the replica follows", func() bool {
		info, err := s.client.Info(s.t.Context(), "replication").Result()
		return err == nil && strings.Contains(info, "master_link_status:up")
	})
}

// Pause lets the server do nothing any more, while its kernel takes connections.
func (s *Server) Pause() { s.signal(syscall.SIGSTOP) }

// Resume lets a paused server go on.
func (s *Server) Resume() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// Do sends a command and fails the test where it fails.
func (s *Server) Do(args ...any) any {
	s.t.Helper()
	v, err := s.client.Do(s.t.Context(), args...).Result()
	if err != nil {
		s.t.Fatalf("%v: %v", args, err)
	}
	return v
}

// Commands returns how often each command was called since the last
// ResetCommands, those within scripts included. Subcommands count as their
// command: older servers do not tell them apart.
func (s *Server) Commands() map[string]int {
	s.t.Helper()
	text, _ := s.Do("INFO", "commandstats").(string)
	calls := map[string]int{}
	for line := range strings.Lines(text) {
		name, rest, ok := strings.Cut(strings.TrimSpace(line), ":calls=")
		if !ok {
			continue
		}
		count, _, _ := strings.Cut(rest, ",")
		name, _, _ = strings.Cut(strings.TrimPrefix(name, "cmdstat_"), "|")
		n, _ := strconv.Atoi(count) // Redis writes a number
		calls[name] += n
	}
	return calls
}

// ResetCommands sets the counts of Commands to zero.
func (s *Server) ResetCommands() { s.Do("CONFIG", "RESETSTAT") }

// await waits until ok, for patience at most.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("not within %v: %s", patience, what)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Cluster is a cluster of three masters without replicas.
type Cluster struct {
	Servers []*Server
	Addrs   []string
}

// StartCluster starts a cluster and returns when it takes commands.
func StartCluster(t testing.TB) *Cluster {
	t.Helper()
	const nodes, slots = 3, 16384
	c := &Cluster{}
	var buses []string
	for range nodes {
		addr, bus := clusterPorts(t)
		args := []string{"--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-node-timeout", "2000"}
		if !isOld(t) {
			args = append(args, "--cluster-port", bus)
		}
		c.Addrs, buses = append(c.Addrs, addr), append(buses, bus)
		c.Servers = append(c.Servers, start(t, addr, args...))
	}
	for i, s := range c.Servers {
		own := []any{"CLUSTER", "ADDSLOTS"}
		for slot := i * slots / nodes; slot < (i+1)*slots/nodes; slot++ {
			own = append(own, slot)
		}
		s.Do(own...)
		host, port, _ := net.SplitHostPort(c.Servers[0].Addr)
		if i > 0 {
			s.Do("CLUSTER", "MEET", host, port, buses[0])
		}
	}
	for _, s := range c.Servers {
		await(t, "the cluster is whole", func() bool {
			info, err := s.client.ClusterInfo(t.Context()).Result()
			return err == nil && strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_known_nodes:3")
		})
	}
	return c
}

// clusterPorts returns the address of a node, and the port of its bus, which an
// old server does not let one choose.
func clusterPorts(t testing.TB) (addr, bus string) {
	t.Helper()
	for {
		addrs := process.FreeAddrs(t, 2)
		if _, bus, _ = net.SplitHostPort(addrs[1]); !isOld(t) {
			return addrs[0], bus
		}
		const apart = 10_000
		_, port, _ := net.SplitHostPort(addrs[0])
		if n, _ := strconv.Atoi(port); n+apart < 1<<16 {
			return addrs[0], strconv.Itoa(n + apart)
		}
	}
}

// Sentinels are a master, its replica, and three sentinels that watch them.
type Sentinels struct {
	Master, Replica *Server
	Addrs           []string // of the sentinels
	Name            string   // of the master
}

// StartSentinels starts them and returns when the sentinels know of each other
// and the replica.
func StartSentinels(t testing.TB) *Sentinels {
	t.Helper()
	s := &Sentinels{Name: "cache", Master: Start(t)}
	host, port, _ := net.SplitHostPort(s.Master.Addr)
	s.Replica = Start(t)
	s.Replica.Follow(s.Master)
	var clients []*redis.SentinelClient
	for _, addr := range process.FreeAddrs(t, 3) {
		s.Addrs = append(s.Addrs, addr)
		clients = append(clients, startSentinel(t, addr, s.Name, host, port))
	}
	for _, c := range clients {
		await(t, "the sentinels know all", func() bool {
			others, err := c.Sentinels(t.Context(), s.Name).Result()
			replicas, err2 := c.Replicas(t.Context(), s.Name).Result()
			return err == nil && err2 == nil && len(others) == 2 && len(replicas) == 1
		})
	}
	return s
}

func startSentinel(t testing.TB, addr, name, host, port string) *redis.SentinelClient {
	t.Helper()
	dir := t.TempDir()
	_, own, _ := net.SplitHostPort(addr)
	conf := filepath.Join(dir, "sentinel.conf")
	text := fmt.Sprintf("port %s\nbind 127.0.0.1\ndir %s\nlogfile %s\nsentinel monitor %s %s %s 2\nsentinel down-after-milliseconds %s 500\nsentinel failover-timeout %s 3000\n",
		own, dir, filepath.Join(dir, "log"), name, host, port, name, name)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary(t), conf, "--sentinel")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	client := redis.NewSentinelClient(&redis.Options{Addr: addr, MaxRetries: -1})
	t.Cleanup(func() {
		client.Close()
		cmd.Process.Kill()
		cmd.Wait() // its error says that it was killed
	})
	await(t, "a sentinel answers", func() bool { return client.Ping(t.Context()).Err() == nil })
	return client
}
