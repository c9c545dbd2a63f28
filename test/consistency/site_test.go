package consistency

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/test/process"
	"github.com/cacheproxy/cacheproxy/test/redistest"
)

const instances = 3

// site is what is tested: instances that share a Redis and an origin.
type site struct {
	t      testing.TB
	since  time.Time // of which all times of the history count
	lease  time.Duration
	binary string // empty: as it is shipped
	origin *origin
	redis  store
	spare  store // what takes over from it; it does nothing till then
	nodes  [instances]*node
}

// store is a Redis, and the directory of its data.
type store struct {
	*redistest.Server
	data string
}

func startStore(t testing.TB) store {
	data := t.TempDir()
	return store{redistest.Start(t, "--dir", data), data}
}

// node is an instance, with a link of its own to Redis.
type node struct {
	number  int
	dir     string
	relay   *redistest.Relay
	process atomic.Pointer[process.Process] // changed by who starts it anew
}

// settings are what differs between runs.
type settings struct {
	lease, timeout time.Duration // of the log, and of each operation of Redis
	binary         string        // empty: as it is shipped
}

const configuration = `
data_dir: data
upstreams:
  origin:
    targets: [{ url: %q }]
    retries: 0
    breaker: { failures: 1000, open_for: 1s }
redis: { addresses: [%q], timeout: %v, breaker: { failures: 5, open_for: 300ms } }
cache: { on_partition: %s, lease: %v, tag_headers: [Surrogate-Key, Cache-Tag, xkey] }
routes:
  - name: rule
    match: { paths: ["/rule/**"] }
    headers: { request: { set: { X-Instance: "%[6]d" } } }
    cache: { tags: ["item:{path.1}"] }
    write: { wait: all, invalidate: { tags: ["item:{path.1}"] } }
  - name: depends
    match: { paths: ["/depends/**"] }
    headers: { request: { set: { X-Instance: "%[6]d" } } }
    cache: { depends_on: ["tag:prices"] }
  - name: other
    headers: { request: { set: { X-Instance: "%[6]d" } } }
    cache: {}
log: { access: false, level: warn }
`

// partitions are what the instances do while cut off. All keep the promise.
var partitions = [instances]string{"revalidate", "revalidate", "bypass"}

func startSite(t testing.TB, since time.Time, units []*unit, c settings) *site {
	s := &site{t: t, since: since, lease: c.lease, binary: c.binary, origin: startOrigin(t, since, units), redis: startStore(t), spare: startStore(t)}
	for i := range s.nodes {
		n := &node{number: i, dir: t.TempDir(), relay: redistest.StartRelay(t, s.redis.Addr)}
		text := fmt.Sprintf(configuration, s.origin.url, n.relay.Addr, c.timeout, partitions[i], c.lease, i)
		if err := os.WriteFile(filepath.Join(n.dir, "cacheproxy.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s.nodes[i] = n
		s.start(n)
	}
	return s
}

// start starts an instance, with what is in its directory from before.
func (s *site) start(n *node) {
	s.t.Helper()
	n.process.Store(process.Serve(s.t, process.Options{Path: s.binary, Dir: n.dir}, "--config", "cacheproxy.yaml"))
}

func (s *site) now() time.Duration { return time.Since(s.since) }

// forgetData removes what Redis has saved.
func (s *site) forgetData() { s.redis.forget(s.t) }

func (s store) forget(t testing.TB) {
	if err := os.Remove(filepath.Join(s.data, "dump.rdb")); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// failOver has a replica take over that has missed what its master acknowledged
// in the time of the lag. The master is gone by then.
func (s *site) failOver(lag time.Duration) {
	s.spare.Follow(s.redis.Server)
	s.spare.Do("REPLICAOF", "NO", "ONE")
	time.Sleep(lag)
	s.redis.Kill()
	for _, n := range s.nodes {
		n.relay.Redirect(s.spare.Addr)
		n.relay.Cut()
	}
	s.redis, s.spare = s.spare, s.redis
	s.spare.forget(s.t)
}
