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
	redis  *redistest.Server
	data   string // the directory of Redis
	nodes  [instances]*node
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
	s := &site{t: t, since: since, lease: c.lease, binary: c.binary, origin: startOrigin(t, since, units), data: t.TempDir()}
	s.redis = redistest.Start(t, "--dir", s.data)
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
func (s *site) forgetData() {
	if err := os.Remove(filepath.Join(s.data, "dump.rdb")); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.t.Error(err)
	}
}
