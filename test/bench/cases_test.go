//go:build linux

package bench

import (
	"fmt"
	"time"

	"github.com/cacheproxy/cacheproxy/test/bench/load"
)

// A scenario is one thing that all peers are asked to do.
type scenario struct {
	id, title string
	prepare   *load.Job // done once, before it counts: what shall be hit is stored
	job       load.Job  // Addr, PID and the times are filled in
	kind      kind
	expect    float64 // requests to the origin for each request of the job
	room      int     // MiB of objects, where they are more than a few
	can       func(p *peer) bool
	behind    bool // what is asked for lies in the tier behind memory, which for cacheproxy is Redis
}

// kind says how a scenario is measured.
type kind int

const (
	rounds  kind = iota // several times, in turns with the other peers: CPU time and rate
	http2               // likewise, with h2load
	growth              // once: by how much memory grows with each request
	crowded             // once: the bursts on one cold key
)

const (
	idleConns = 5_000
	popular   = 100_000
	many      = 20_000 // of which a memory tier of 1 MiB holds one in forty
)

func keep(size int) load.Targets {
	return load.Targets{Order: load.One, Store: "keep", Least: size, Most: size, First: 1}
}

// hit is a scenario that asks for one stored object on so many connections.
func hit(id, title string, size, conns int) scenario {
	return scenario{id: id, title: title, prepare: &load.Job{Conns: 1, Requests: 2, Targets: keep(size)}, job: load.Job{Conns: conns, Targets: keep(size)}}
}

func scenarios() []scenario {
	zipf := load.Targets{Order: load.Zipf, Store: "keep", Least: 1 << 10, Most: 8 << 10, First: 1, Count: popular}
	each := zipf
	each.Order = load.Next
	fresh := keep(1 << 10)
	fresh.Order, fresh.First = load.Next, 1_000_000
	pass := keep(1 << 10)
	pass.Store = "pass"

	tls := hit("tls", "hit 1 KiB, TLS 1.3, HTTP/1.1", 1<<10, 64)
	tls.job.TLS, tls.can = true, speaksTLS
	handshake := hit("handshake", "TLS 1.3 handshake and one hit of 1 KiB", 1<<10, 8)
	handshake.job.TLS, handshake.job.Fresh, handshake.can = true, true, speaksTLS
	h2 := hit("h2", "hit 1 KiB, HTTP/2 over TLS, 16 connections of 8 streams", 1<<10, 16)
	h2.kind, h2.can = http2, speaksTLS
	idle := hit("idle", fmt.Sprintf("idle connections, %d of them", idleConns), 1<<10, idleConns)
	idle.kind, idle.job.Requests, idle.job.Settle = growth, idleConns, 3*time.Second
	turn := keep(1 << 10)
	turn.Order, turn.Count = load.Cycle, many
	behind := scenario{id: "l2", title: "hit 1 KiB behind memory: cacheproxy's from Redis, whose CPU time is counted too, nginx's from files", behind: true, can: hasTierBehind,
		prepare: &load.Job{Conns: 16, Requests: many, Targets: turn}, job: load.Job{Conns: 64, Targets: turn}}
	memory := scenario{id: "memory", title: fmt.Sprintf("memory of a 1 KiB object, %d of them", *objectsFlag), kind: growth, expect: 1, can: growsWithObjects,
		job: load.Job{Conns: 64, Requests: *objectsFlag, Targets: fresh, Settle: 3 * time.Second}}
	return []scenario{
		hit("hit1k", "hit 1 KiB, 64 connections", 1<<10, 64),
		hit("hit1k-1", "hit 1 KiB, 1 connection", 1<<10, 1),
		hit("hit1k-512", "hit 1 KiB, 512 connections", 1<<10, 512),
		hit("hit64k", "hit 64 KiB, 64 connections", 64<<10, 64),
		hit("hit1m", "hit 1 MiB, 64 connections", 1<<20, 64),
		{id: "zipf", title: "hit, Zipf 0.99 over 100,000 URLs of 1 to 8 KiB", room: 1024,
			prepare: &load.Job{Conns: 16, Requests: popular, Targets: each}, job: load.Job{Conns: 64, Targets: zipf}},
		{id: "miss", title: "miss and store, 1 KiB", expect: 1, can: passesOn, job: load.Job{Conns: 64, Targets: fresh}},
		{id: "pass", title: "pass-through, 1 KiB", expect: 1, can: passesOn, job: load.Job{Conns: 64, Targets: pass}},
		behind, tls, handshake, h2, idle, memory,
		{id: "coldkey", title: "500 clients on one cold key whose origin takes 300 ms", kind: crowded, can: collapses, job: coldKey("", 0)},
	}
}

func hasTierBehind(p *peer) bool    { return p.behind }
func passesOn(p *peer) bool         { return !p.bare }
func collapses(p *peer) bool        { return !p.bare && !p.alone }
func speaksTLS(p *peer) bool        { return !p.noTLS }
func growsWithObjects(p *peer) bool { return !p.bare && !p.shared }

// A target is a goal of cacheproxy's: a share of what a peer needs, or a limit of its own.
type target struct {
	id    string
	peer  string  // empty: limit is absolute
	limit float64 // of the scenario's first figure
	text  string
}

var targets = []target{
	{"hit1k", "nginx", 0.45, ""}, {"hit1k", "HAProxy", 0.85, ""},
	{"zipf", "nginx", 0.48, ""}, {"zipf", "HAProxy", 0.75, ""},
	{"hit64k", "HAProxy", 0.90, ""},
	{"hit1m", "Traffic Server", 0.60, ""},
	{"tls", "HAProxy", 0.95, ""},
	{"handshake", "net/http", 1, ""},
	{"h2", "net/http", 1, ""},
	{"miss", "nginx", 1.4, ""}, {"miss", "net/http", 1, ""},
	{"pass", "nginx", 2.2, ""}, {"pass", "net/http", 1, ""},
	{"memory", "", 2000, "at most 2,000 bytes"},
	{"idle", "", 10 << 10, "at most 10,240 bytes"},
	{"coldkey", "", 320, "p99 at most 320 ms, 1 request to the origin"},
}
