package app_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/internal/admin"
	"github.com/cacheproxy/cacheproxy/internal/app"
	"github.com/cacheproxy/cacheproxy/test/redistest"
)

// pages is an origin whose answers tell how often it was asked, and what for.
type pages struct {
	*httptest.Server
	asked atomic.Int64
}

func newPages(t *testing.T, fields ...string) *pages {
	p := &pages{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := p.asked.Add(1)
		w.Header().Set("Cache-Control", "max-age=60")
		for _, f := range fields {
			name, value, _ := strings.Cut(f, ": ")
			w.Header().Set(name, value)
		}
		fmt.Fprintf(w, "%s %s%s number %d", r.Method, r.URL.Path, r.Header.Get("Accept-Language"), n)
	}))
	t.Cleanup(p.Close)
	return p
}

// withRedis is a configuration in front of origin, with Redis and what else is to stand below redis.
func withRedis(origin, redis string) string {
	return fmt.Sprintf("upstreams: { o: { targets: [{ url: %q }] } }\nredis: { %s }\n", origin, redis)
}

// body returns the answer's body, and fails the test where Cache-Status has not want in it.
func (i *instance) body(path, want string, fields ...string) string {
	i.t.Helper()
	res, body := i.get(path, fields...)
	if status := res.Header.Get("Cache-Status"); res.StatusCode != http.StatusOK || !strings.Contains(status, want) {
		i.t.Errorf("GET %s: %s %q with Cache-Status %q, want %q in it", path, res.Status, body, status, want)
	}
	return body
}

// written waits until what was fetched so far is in Redis.
func (i *instance) written(server *redistest.Server, keys int) {
	i.t.Helper()
	i.eventually("all is written to Redis", func() bool {
		n, err := server.Client().DBSize(i.t.Context()).Result()
		return err == nil && n >= int64(keys+2) // two are of the log of purges
	})
}

func (i *instance) ready() *admin.Health {
	i.t.Helper()
	h, err := i.admin.Ready(i.t.Context())
	if err != nil {
		i.t.Fatal(err)
	}
	return h
}

// TestInstancesShareOverRedis: what one has fetched the other serves, in all variants, also after a restart of both; a purge on one
// reaches the copies in Redis.
func TestInstancesShareOverRedis(t *testing.T) {
	server, origin := redistest.Start(t), newPages(t, "Vary: Accept-Language")
	text := withRedis(origin.URL, "url: "+server.URL())
	a, b := start(t, text), start(t, text)
	first := a.body("/p", "fwd=uri-miss; fwd-status=200; stored", "Accept-Language", "de")
	second := a.body("/p", "fwd=vary-miss; fwd-status=200; stored", "Accept-Language", "en")
	a.eventually("both variants are in Redis", func() bool { return server.Commands()["hset"] >= 2 })
	port := strings.TrimPrefix(a.url, "http://")
	get := func(i *instance, language string) (string, string) {
		r, _ := http.NewRequest("GET", i.url+"/p", nil)
		r.Host = port // both are reached under one name
		r.Header.Set("Accept-Language", language)
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, _ := io.ReadAll(res.Body)
		return string(text), res.Header.Get("Cache-Status")
	}
	if body, status := get(b, "de"); body != first || !strings.HasPrefix(status, "cacheproxy; hit; ttl=") || !strings.HasSuffix(status, "; detail=l2") {
		t.Errorf("%q %q, want what the other has fetched", body, status)
	}
	if body, status := get(b, "en"); body != second || !strings.Contains(status, "detail=l2") {
		t.Errorf("%q %q, want what the other has fetched", body, status)
	}
	if body, status := get(b, "de"); body != first || !strings.Contains(status, "detail=l1") {
		t.Errorf("%q %q, want it from memory", body, status)
	}
	c := start(t, text) // a restarted one
	if body, status := get(c, "en"); body != second || !strings.Contains(status, "detail=l2") {
		t.Errorf("%q %q, want it after a restart", body, status)
	}
	r, _ := http.NewRequest("PURGE", b.url+"/p", nil)
	r.Host = port
	res, err := client.Do(r)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatal(res, err)
	}
	res.Body.Close()
	d := start(t, text)
	if body, status := get(d, "de"); body == first || !strings.Contains(status, "fwd=uri-miss") {
		t.Errorf("%q %q after a purge", body, status)
	}
	if n := origin.asked.Load(); n != 3 {
		t.Errorf("the origin was asked %d times, want 3", n)
	}
}

// TestCommandsPerRequest: two commands for a miss, one for what is found in Redis, none for a hit.
func TestCommandsPerRequest(t *testing.T) {
	server, origin := redistest.Start(t), newPages(t)
	text := withRedis(origin.URL, "url: "+server.URL())
	a := start(t, text)
	a.body("/warm-up", "uri-miss")
	a.written(server, 1)
	const pages = 50
	server.ResetCommands()
	for n := range pages {
		a.body(fmt.Sprint("/", n), "uri-miss")
	}
	a.written(server, pages+1)
	// The client sends HMGET and EVALSHA; what stands in the script is done within it.
	wantCommands(t, server, map[string]int{"hmget": pages, "evalsha": pages})
	for range 3 {
		for n := range pages {
			a.body(fmt.Sprint("/", n), "detail=l1")
		}
	}
	wantCommands(t, server, map[string]int{"hmget": pages, "evalsha": pages})
	if scans := server.Commands(); scans["keys"]+scans["scan"]+scans["mget"] > 0 {
		t.Errorf("commands: %v", scans)
	}
}

// byScripts are the commands that only our scripts call, and those of our own looking.
var byScripts = map[string]bool{
	"hget": true, "hset": true, "hdel": true, "pttl": true, "pexpire": true, "unlink": true, "dbsize": true, "info": true, "ping": true,
	"config": true, "hello": true, "select": true, "get": true, "del": true, "set": true, "publish": true, "subscribe": true,
}

// wantCommands fails where the client has sent others than these.
func wantCommands(t *testing.T, server *redistest.Server, want map[string]int) {
	t.Helper()
	sent := map[string]int{}
	for name, calls := range server.Commands() {
		if !byScripts[name] {
			sent[name] = calls
		}
	}
	// The lease of the log is renewed beside the requests, by a script that reads the time once.
	if sent["evalsha"] -= sent["time"]; sent["evalsha"] == 0 {
		delete(sent, "evalsha")
	}
	for _, name := range []string{"time", "exists", "xinfo", "xrange"} {
		delete(sent, name)
	}
	if fmt.Sprint(sent) != fmt.Sprint(want) {
		t.Errorf("sent %v, want %v", sent, want)
	}
}

// TestRedisIsNeverInTheWay: whatever befalls Redis, clients get their answers, within the deadline until the breaker opens and at once
// afterwards; /readyz is degraded but ready; and all is well again when Redis is.
func TestRedisIsNeverInTheWay(t *testing.T) {
	for _, tt := range []struct {
		name     string
		bad      func(s *redistest.Server)
		good     func(s *redistest.Server)
		degraded bool
	}{
		{"paused", (*redistest.Server).Pause, (*redistest.Server).Resume, true},
		{"closed", (*redistest.Server).Kill, (*redistest.Server).Restart, true},
		{"full", func(s *redistest.Server) { s.Do("CONFIG", "SET", "maxmemory", "1") }, func(s *redistest.Server) { s.Do("CONFIG", "SET", "maxmemory", "0") }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server, origin := redistest.Start(t), newPages(t)
			a := start(t, withRedis(origin.URL, "url: "+server.URL()+", timeout: 100ms, breaker: { failures: 3, open_for: 200ms }"))
			a.body("/0", "uri-miss")
			a.written(server, 1)
			tt.bad(server)
			slow := 0
			for n := range 100 {
				begin := time.Now()
				a.body(fmt.Sprint("/bad/", n), "uri-miss")
				if time.Since(begin) > 90*time.Millisecond {
					slow++
				}
			}
			if slow > 3+2 { // two more for a busy machine
				t.Errorf("%d requests waited for Redis", slow)
			}
			a.body("/0", "detail=l1")
			if h := a.ready(); (h.Status == admin.StatusDegraded) != tt.degraded {
				t.Errorf("ready: %+v", h)
			}
			tt.good(server)
			a.eventually("it is asked again", func() bool { return a.ready().Status == admin.StatusOK })
			server.ResetCommands()
			a.body("/again", "uri-miss")
			a.eventually("it is written to again", func() bool { return server.Commands()["evalsha"]+server.Commands()["eval"] > 0 })
		})
	}
}

// TestAnInstanceStartsWithoutItsRedis, and ends without it.
func TestAnInstanceStartsWithoutItsRedis(t *testing.T) {
	origin := newPages(t)
	a := start(t, withRedis(origin.URL, `url: "redis://127.0.0.1:1", timeout: 50ms`))
	a.body("/p", "uri-miss")
	a.body("/p", "detail=l1")
	a.stop()
	if err := a.wait(); err != nil {
		t.Error(err)
	}
}

// TestRedisWithoutTheTier: enabled: false keeps responses out of Redis.
func TestRedisWithoutTheTier(t *testing.T) {
	server, origin := redistest.Start(t), newPages(t)
	a := start(t, withRedis(origin.URL, "url: "+server.URL())+"cache: { l2: { enabled: false } }\n")
	a.body("/p", "uri-miss")
	a.body("/p", "detail=l1")
	if keys, err := server.Client().Keys(t.Context(), "cacheproxy:*").Result(); err != nil || len(keys) > 0 {
		t.Errorf("%v in Redis (%v)", keys, err)
	}
}

// TestARouteMayStayInMemory: tiers: [l1].
func TestARouteMayStayInMemory(t *testing.T) {
	server, origin := redistest.Start(t), newPages(t)
	a := start(t, withRedis(origin.URL, "url: "+server.URL())+"routes: [{ name: private, match: { paths: [/private/**] }, cache: { tiers: [l1] } }]\n")
	a.body("/private/p", "uri-miss")
	a.body("/p", "uri-miss")
	a.written(server, 1)
	if n := server.Do("DBSIZE"); n != int64(3) {
		t.Errorf("%v keys in Redis, want one and the two of the log", n)
	}
}

// TestAWriteReachesRedis: after an unsafe request on one instance a restarted one fetches anew.
func TestAWriteReachesRedis(t *testing.T) {
	server, origin := redistest.Start(t), newPages(t)
	text := withRedis(origin.URL, "url: "+server.URL())
	a := start(t, text)
	a.body("/p", "uri-miss")
	a.written(server, 1)
	res, err := client.Post(a.url+"/p", "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if index := server.Do("HGETALL", firstKey(t, server)); !strings.Contains(fmt.Sprint(index), `"f":{}`) {
		t.Errorf("in Redis after a write: %v", index)
	}
}

func firstKey(t *testing.T, server *redistest.Server) string {
	t.Helper()
	keys, err := server.Client().Keys(t.Context(), "cacheproxy:*").Result()
	if err != nil || len(keys) != 1 {
		t.Fatalf("keys %v, %v", keys, err)
	}
	return keys[0]
}

// TestAGarbledRedisIsAMiss: what somebody else has written over our frames is fetched anew.
func TestAGarbledRedisIsAMiss(t *testing.T) {
	server, origin := redistest.Start(t), newPages(t)
	text := withRedis(origin.URL, "url: "+server.URL())
	a := start(t, text)
	a.body("/p", "uri-miss")
	a.written(server, 1)
	key := firstKey(t, server)
	fields, err := server.Client().HGetAll(t.Context(), key).Result()
	if err != nil {
		t.Fatal(err)
	}
	for name, frame := range fields {
		if name != "i" {
			server.Do("HSET", key, name, frame[:len(frame)-1]+"x")
		}
	}
	name := strings.TrimPrefix(a.url, "http://")
	a.stop()
	if err := a.wait(); err != nil {
		t.Fatal(err)
	}
	b := start(t, text, func(o *app.Options) { o.Config.Flags.Listen = name })
	b.body("/p", "uri-miss")
	metrics := b.metrics()
	for _, want := range []string{"cacheproxy_l2_corrupt_frames_total 1", `cacheproxy_l2_operations_total{op="get",result="corrupt"} 1`, `cacheproxy_breaker_state{name="redis"} 0`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics have no %s", want)
		}
	}
}

// TestManyClientsReadRedisOnce: a thousand clients who ask for what is in Redis cause one read.
func TestManyClientsReadRedisOnce(t *testing.T) {
	server, origin := redistest.Start(t), newPages(t)
	text := withRedis(origin.URL, "url: "+server.URL()+", timeout: 1s")
	a := start(t, text)
	a.body("/p", "uri-miss")
	a.written(server, 1)
	name := strings.TrimPrefix(a.url, "http://")
	a.stop()
	if err := a.wait(); err != nil {
		t.Fatal(err)
	}
	b := start(t, text, func(o *app.Options) { o.Config.Flags.Listen = name })
	server.ResetCommands()
	var clients sync.WaitGroup
	for range 200 {
		clients.Go(func() {
			res, err := client.Get(b.url + "/p")
			if err != nil {
				t.Error(err)
				return
			}
			res.Body.Close()
		})
	}
	clients.Wait()
	if n := server.Commands()["hmget"]; n > 3 {
		t.Errorf("%d reads, want one, or few where some came late", n)
	}
	if n := origin.asked.Load(); n != 1 {
		t.Errorf("the origin was asked %d times", n)
	}
}
