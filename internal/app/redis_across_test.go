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

	"github.com/cacheproxy/cacheproxy/test/redistest"
)

// across is a configuration in which one instance fetches for all. A busy machine shall not make it give Redis up.
func across(origin, redis, wait string) string {
	return withRedis(origin, "url: "+redis+", timeout: 2s") + fmt.Sprintf("routes: [{ name: all, match: { paths: [/**] }, cache: { collapse: { across_instances: true, wait: %s } } }]\n", wait)
}

// getAs asks under a name of its own, so that instances on different ports have the same keys.
func (i *instance) getAs(host, path string) (body, cacheStatus string, err error) {
	r, err := http.NewRequest("GET", i.url+path, nil)
	if err != nil {
		return "", "", err
	}
	r.Host = host
	res, err := client.Do(r)
	if err != nil {
		return "", "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return string(text), res.Header.Get("Cache-Status"), err
}

// TestOneFetchAcrossInstances: many clients of two instances ask for one cold key of a slow origin, which sees one request; and each
// instance sends four commands at most.
func TestOneFetchAcrossInstances(t *testing.T) {
	const clients = 1000
	server := redistest.Start(t)
	var asked atomic.Int64
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		time.Sleep(500 * time.Millisecond)
		w.Header().Set("Cache-Control", "max-age=60")
		io.WriteString(w, "slow")
	}))
	t.Cleanup(origin.Close)
	text := across(origin.URL, server.URL(), "20s")
	both := []*instance{start(t, text), start(t, text)}
	for _, i := range both {
		i.eventually("it listens", func() bool {
			n, err := server.Client().PubSubNumSub(t.Context(), "cacheproxy:released").Result()
			return err == nil && n["cacheproxy:released"] == 2
		})
	}
	server.ResetCommands()
	begin := time.Now()
	var all sync.WaitGroup
	for _, i := range both {
		for range clients {
			all.Go(func() {
				if body, status, err := i.getAs("shop", "/p"); err != nil || body != "slow" {
					t.Errorf("%q %q %v", body, status, err)
				}
			})
		}
	}
	all.Wait()
	if n := asked.Load(); n != 1 {
		t.Errorf("the origin was asked %d times, want once", n)
	}
	sent := server.Commands()
	// Each script of the log of purges asks once how the log stands: those are not for requests.
	if n := sent["hmget"] + sent["evalsha"] + sent["eval"] - sent["xinfo"]; n > 2*4+4 { // within claim.lua there is one more HMGET; scripts are loaded once
		t.Errorf("commands: %v", sent)
	}
	t.Logf("%d clients, %v, commands %v", 2*clients, time.Since(begin).Round(time.Millisecond), sent)
}

// TestADeadHolderDoesNotBlock: the claim of an instance that died keeps others waiting for a bounded time.
func TestADeadHolderDoesNotBlock(t *testing.T) {
	server, origin := redistest.Start(t), newPages(t)
	text := across(origin.URL, server.URL(), "400ms")
	a := start(t, text)
	a.body("/known", "uri-miss")
	a.eventually("it is written, and its own claim has ended", func() bool { return server.Commands()["publish"] > 0 })
	known := strings.TrimSuffix(firstKey(t, server), "}")
	fields, err := server.Client().HKeys(t.Context(), known+"}").Result()
	if err != nil {
		t.Fatal(err)
	}
	name := fields[0]
	if name == "i" {
		name = fields[1]
	}
	server.Do("DEL", known+"}")
	server.Do("SET", known+"}:claim:"+name, "of one who is dead", "PX", 60_000)
	r, _ := http.NewRequest("PURGE", a.url+"/known", nil)
	res, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	begin := time.Now()
	a.body("/known", "uri-miss")
	if took := time.Since(begin); took < 250*time.Millisecond || took > 5*time.Second {
		t.Errorf("waited %v for a dead holder, want 300 ms", took)
	}
}

// TestAcrossInstancesWithoutRedis: each instance then fetches for itself.
func TestAcrossInstancesWithoutRedis(t *testing.T) {
	origin := newPages(t)
	a := start(t, across(origin.URL, "redis://127.0.0.1:1", "10s"))
	a.body("/p", "uri-miss")
	a.body("/p", "detail=l1")
}

// TestWhatIsNotStoredKeepsNobodyWaiting: the holder gives its claim back as soon as it knows that there is nothing to share.
func TestWhatIsNotStoredKeepsNobodyWaiting(t *testing.T) {
	server, origin := redistest.Start(t), newPages(t, "Cache-Control: no-store")
	text := across(origin.URL, server.URL(), "20s")
	a, b := start(t, text), start(t, text)
	begin := time.Now()
	for _, i := range []*instance{a, b} {
		if _, status, err := i.getAs("shop", "/p"); err != nil || !strings.Contains(status, "no-store") {
			t.Errorf("%s %v", status, err)
		}
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}

// TestInstancesClaimTheSame: two instances that have seen responses vary by different fields, or in another order, still fetch what is
// cold for both once.
func TestInstancesClaimTheSame(t *testing.T) {
	server := redistest.Start(t)
	var asked atomic.Int64
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Vary", r.URL.Query().Get("vary"))
		if r.URL.Path == "/cold" {
			asked.Add(1)
			time.Sleep(500 * time.Millisecond)
		}
		io.WriteString(w, "page")
	}))
	t.Cleanup(origin.Close)
	text := across(origin.URL, server.URL(), "20s")
	a, b := start(t, text), start(t, text)
	for _, i := range []*instance{a, b} {
		i.eventually("it listens", func() bool {
			n, err := server.Client().PubSubNumSub(t.Context(), "cacheproxy:released").Result()
			return err == nil && n["cacheproxy:released"] == 2
		})
	}
	a.named("/a?vary=X-A", "uri-miss")
	a.named("/b?vary=X-B", "uri-miss")
	b.named("/c?vary=X-B", "uri-miss")
	b.named("/d?vary=X-A", "uri-miss")
	var both sync.WaitGroup
	for _, i := range []*instance{a, b} {
		both.Go(func() {
			if body, status, err := i.getAs("shop", "/cold?vary=X-A"); err != nil || body != "page" {
				t.Errorf("%q %q %v", body, status, err)
			}
		})
	}
	both.Wait()
	if n := asked.Load(); n != 1 {
		t.Errorf("the origin was asked %d times, want once", n)
	}
}

// TestAClaimWithoutAnEndIsNotPolled: a claim that somebody has set without a time to live keeps others waiting, but does not make them
// ask again and again.
func TestAClaimWithoutAnEndIsNotPolled(t *testing.T) {
	server, origin := redistest.Start(t), newPages(t)
	a := start(t, across(origin.URL, server.URL(), "400ms"))
	a.named("/p", "uri-miss")
	a.eventually("it is written, and its claim has ended", func() bool { return server.Commands()["publish"] > 0 })
	key := firstKey(t, server)
	fields, err := server.Client().HKeys(t.Context(), key).Result()
	if err != nil {
		t.Fatal(err)
	}
	a.ask("PURGE", "/p")
	for _, name := range fields {
		server.Do("SET", key+":claim:"+name, "of nobody")
	}
	server.ResetCommands()
	a.named("/p", "uri-miss")
	if n := server.Commands()["evalsha"]; n > 10 {
		t.Errorf("it was asked for %d times", n)
	}
}

// TestAPausedRedisIsWaitedForOnce: who has waited for the look does not wait for the claim as well.
func TestAPausedRedisIsWaitedForOnce(t *testing.T) {
	server, origin := redistest.Start(t), newPages(t)
	a := start(t, withRedis(origin.URL, "url: "+server.URL()+", timeout: 500ms, breaker: { failures: 100 }")+
		"routes: [{ name: all, match: { paths: [/**] }, cache: { collapse: { across_instances: true } } }]\n")
	a.named("/before", "uri-miss")
	server.Pause()
	begin := time.Now()
	a.named("/p", "uri-miss")
	if took := time.Since(begin); took > 900*time.Millisecond {
		t.Errorf("it took %v, want one deadline of 500 ms", took)
	}
	server.Resume()
}
