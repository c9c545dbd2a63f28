package app_test

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/internal/admin"
	"github.com/cacheproxy/cacheproxy/internal/app"
	"github.com/cacheproxy/cacheproxy/test/redistest"
)

// TestWarmRestart: what was hot is in memory again before a restarted instance is ready, at the rate that was asked for; a new one
// without it would ask Redis for each.
func TestWarmRestart(t *testing.T) {
	server, origin := redistest.Start(t), newPages(t, "Vary: Accept-Language")
	text := withRedis(origin.URL, "url: "+server.URL()+", timeout: 1s") + "cache: { l1: { warm_keys: 10, warm_rate: 50/s, warm_first: true } }\n"
	a := start(t, text)
	for n := range 30 {
		a.body(fmt.Sprint("/", n), "uri-miss", "Accept-Language", "de")
		if n < 10 {
			for range 5 {
				a.body(fmt.Sprint("/", n), "detail=l1", "Accept-Language", "de")
			}
		}
	}
	a.written(server, 30)
	name := strings.TrimPrefix(a.url, "http://")
	a.stop()
	if err := a.wait(); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	b := start(t, text, func(o *app.Options) { o.Config.Flags.Listen = name })
	b.eventually("it is ready", func() bool {
		h, err := b.admin.Ready(t.Context())
		return err == nil && h.Status == admin.StatusOK
	})
	if took := time.Since(begin); took < 180*time.Millisecond {
		t.Errorf("ready after %v: 10 keys at 50 a second take 200 ms", took)
	}
	server.ResetCommands()
	for n := range 10 {
		b.body(fmt.Sprint("/", n), "detail=l1", "Accept-Language", "de")
	}
	if n := server.Commands()["hmget"]; n > 0 {
		t.Errorf("%d reads of what is hot", n)
	}
	b.body("/20", "detail=l2", "Accept-Language", "de")
}

// TestRedisCluster: responses are spread over the nodes, and found again.
func TestRedisCluster(t *testing.T) {
	cluster, origin := redistest.StartCluster(t), newPages(t)
	text := withRedis(origin.URL, fmt.Sprintf("mode: cluster, addresses: [%q], timeout: 1s", cluster.Addrs[0]))
	a, b := start(t, text), start(t, text)
	const pages = 30
	for n := range pages {
		if _, status, err := a.getAs("shop", fmt.Sprint("/", n)); err != nil || !strings.Contains(status, "uri-miss") {
			t.Errorf("%s %v", status, err)
		}
	}
	a.eventually("all is written", func() bool {
		sum := int64(0)
		for _, s := range cluster.Servers {
			n, _ := s.Do("DBSIZE").(int64)
			if sum += n; n == 0 {
				return false
			}
		}
		return sum == pages+2 // and the log of purges
	})
	for n := range pages {
		if _, status, err := b.getAs("shop", fmt.Sprint("/", n)); err != nil || !strings.Contains(status, "detail=l2") {
			t.Errorf("%s %v", status, err)
		}
	}
	if r := b.metrics(); !strings.Contains(r, "cacheproxy_redis_up 1") {
		t.Error("the metrics do not say that Redis is up")
	}
}

func (i *instance) metrics() string {
	i.t.Helper()
	res, err := client.Get("http://" + i.AdminAddr().String() + "/metrics")
	if err != nil {
		i.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		i.t.Fatal(err)
	}
	return string(text)
}

// TestSentinelFailover: the master dies, a replica takes its place, and clients see no error meanwhile.
func TestSentinelFailover(t *testing.T) {
	s, origin := redistest.StartSentinels(t), newPages(t)
	addresses := strings.Join(s.Addrs, ", ")
	a := start(t, withRedis(origin.URL, fmt.Sprintf("mode: sentinel, master_name: %s, addresses: [%s], timeout: 200ms, breaker: { failures: 3, open_for: 200ms }", s.Name, addresses)))
	a.body("/before", "uri-miss")
	a.written(s.Master, 1)
	a.eventually("the replica has it", func() bool { return s.Replica.Client().DBSize(t.Context()).Val() > 0 })
	s.Master.Kill()
	n := 0
	a.eventually("the new master is written to", func() bool {
		n++
		a.body(fmt.Sprint("/", n), "uri-miss")
		return s.Replica.Client().DBSize(t.Context()).Val() > 1
	})
	a.eventually("all is well", func() bool { return a.ready().Status == admin.StatusOK })
	a.body("/before", "hit") // perhaps with detail=unsure: the log may have lost a purge
}

// TestRedisWithTLSAndAUser: the connection is encrypted, and made as an ACL user.
func TestRedisWithTLSAndAUser(t *testing.T) {
	dir := t.TempDir()
	authority := newCA(t)
	authority.write(dir, "redis")
	caFile := filepath.Join(dir, "ca.crt")
	writeFile(t, caFile, authority.pem)
	server, tlsAddr := redistest.StartTLS(t, filepath.Join(dir, "redis.crt"), filepath.Join(dir, "redis.key"))
	server.Do("ACL", "SETUSER", "cache", "on", ">two words", "~*", "allchannels", "+@all")
	origin := newPages(t)
	a := start(t, withRedis(origin.URL, fmt.Sprintf("addresses: [%q], username: cache, password: two words, timeout: 1s, tls: { ca_file: %q }", tlsAddr, caFile)))
	a.body("/p", "uri-miss")
	a.written(server, 1)
	b := start(t, withRedis(origin.URL, fmt.Sprintf("addresses: [%q], username: cache, password: wrong, timeout: 1s, breaker: { failures: 1 }, tls: { ca_file: %q }", tlsAddr, caFile)))
	b.body("/p", "uri-miss")
	if h := b.ready(); h.Status != admin.StatusDegraded {
		t.Errorf("with a wrong password: %+v", h)
	}
}
