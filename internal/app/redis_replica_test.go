package app_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/cacheproxy/cacheproxy/internal/admin"
	"github.com/cacheproxy/cacheproxy/test/redistest"
)

// TestReplicasAnswerReads: with read_replicas responses are read from a replica too, and written to the master only; what this
// instance has purged is not read, because the replica may not know of it yet; and a replica that dies is no error to clients.
func TestReplicasAnswerReads(t *testing.T) {
	s, origin := redistest.StartSentinels(t), newPages(t)
	text := withRedis(origin.URL, fmt.Sprintf("mode: sentinel, master_name: %s, addresses: [%s], read_replicas: true, timeout: 500ms, breaker: { open_for: 100ms }", s.Name, strings.Join(s.Addrs, ", ")))
	a, b := start(t, text), start(t, text)
	const pages = 40
	for n := range pages {
		a.named(fmt.Sprint("/", n), "uri-miss")
	}
	a.eventually("the replica has all", func() bool { return s.Replica.Client().DBSize(t.Context()).Val() == pages })
	s.Master.ResetCommands()
	s.Replica.ResetCommands()
	for n := range pages {
		b.named(fmt.Sprint("/", n), "detail=l2")
	}
	master, replica := s.Master.Commands(), s.Replica.Commands()
	if replica["hmget"] == 0 || replica["hmget"]+master["hmget"] != pages {
		t.Errorf("%d reads of the replica and %d of the master, want %d in all, some of the replica", replica["hmget"], master["hmget"], pages)
	}
	if replica["evalsha"] > 0 {
		t.Errorf("%d writes were sent to the replica", replica["evalsha"])
	}

	r, _ := http.NewRequest("PURGE", b.url+"/1", nil)
	r.Host = "shop"
	resp, err := client.Do(r)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("PURGE: %v, %v", resp, err)
	}
	resp.Body.Close()
	s.Master.ResetCommands()
	s.Replica.ResetCommands()
	b.named("/1", "uri-miss")
	if n := s.Master.Commands()["hmget"] + s.Replica.Commands()["hmget"]; n != 0 {
		t.Errorf("%d reads of what was purged here a moment ago", n)
	}

	s.Replica.Kill()
	c := start(t, text)
	found := 0
	for n := range pages {
		if _, status, err := c.getAs("shop", fmt.Sprint("/", n)); err != nil {
			t.Errorf("/%d without the replica: %v", n, err)
		} else if strings.Contains(status, "detail=l2") {
			found++
		}
	}
	if found == 0 {
		t.Error("nothing is read of the master when the replica is gone")
	}
	c.eventually("all is well", func() bool { return c.ready().Status == admin.StatusOK })
}

// named asks for a page of the host shop, and wants Cache-Status to say so.
func (i *instance) named(path, want string) {
	i.t.Helper()
	if _, status, err := i.getAs("shop", path); err != nil || !strings.Contains(status, want) {
		i.t.Errorf("%s: Cache-Status %q, %v, want %q", path, status, err, want)
	}
}

// TestExplainLooksIntoRedis: what another instance has stored is a hit to come. The question changes nothing: memory stays as it is.
func TestExplainLooksIntoRedis(t *testing.T) {
	server, origin := redistest.Start(t), newPages(t)
	text := withRedis(origin.URL, "url: "+server.URL()+", timeout: 200ms, breaker: { failures: 1, open_for: 10s }") +
		"routes: [{ name: private, match: { paths: [/private/**] }, cache: { tiers: [l1] } }]\n"
	a, b := start(t, text), start(t, text)
	a.named("/x", "uri-miss")
	a.written(server, 1)
	for _, tt := range []struct{ path, result, reason, step string }{
		{"/x", "hit", "l2", "has what memory does not"},
		{"/x", "hit", "l2", "has what memory does not"}, // the first question has put nothing into memory
		{"/other", "miss", "uri-miss", "has nothing of use either"},
		{"/private/x", "miss", "uri-miss", ""},
	} {
		b.explains(tt.path, tt.result, tt.reason, tt.step)
	}
	b.named("/x", "detail=l2")
	b.explains("/x", "hit", "l1", "")
	server.Kill()
	b.explains("/other", "miss", "uri-miss", "not asked")
}

// explains asks the running instance; step is part of what is said of Redis, "" where nothing is.
func (i *instance) explains(path, result, reason, step string) {
	i.t.Helper()
	e, err := i.admin.Explain(i.t.Context(), admin.Question{Method: "GET", URL: "http://shop" + path})
	if err != nil {
		i.t.Fatal(err)
	}
	said := ""
	for _, s := range e.Steps {
		if s.What == "redis" {
			said = s.Result
		}
	}
	if e.Result != result || e.Reason != reason || !strings.Contains(said, step) || (step == "") != (said == "") {
		i.t.Errorf("explain %s = %s, %s, redis %q; want %s, %s, %q", path, e.Result, e.Reason, said, result, reason, step)
	}
}
