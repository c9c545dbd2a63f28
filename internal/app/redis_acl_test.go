package app_test

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/cacheproxy/cacheproxy/test/redistest"
)

// TestWhatAnACLUserNeeds: with the commands, keys and channels that docs/redis.md names, and no others, Redis refuses nothing.
func TestWhatAnACLUserNeeds(t *testing.T) {
	text, err := os.ReadFile("../../docs/redis.md")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("these commands: `([^`]+)`").FindStringSubmatch(string(text))
	if named == nil {
		t.Fatal("docs/redis.md names no commands")
	}
	server := redistest.Start(t)
	rules := []any{"ACL", "SETUSER", "cache", "on", ">secret", "resetchannels"}
	for _, name := range []string{"cacheproxy:*", "{cacheproxy:*"} {
		rules = append(rules, "~"+name, "&"+name)
	}
	for _, command := range strings.Fields(named[1]) {
		rules = append(rules, command)
	}
	server.Do(rules...)
	origin := newPages(t, "X-Cache-Depends-On: tag:prices", "Surrogate-Key: page", "Vary: Accept-Language")
	config := withRedis(origin.URL, fmt.Sprintf("url: %q, timeout: 2s, wait_replicas: 0", "redis://cache:secret@"+server.Addr)) +
		"cache: { sweep: { rate: 1000/s }, l1: { warm_keys: 10 } }\nroutes: [{ cache: { key: { host: false }, collapse: { across_instances: true } } }]\n"
	a := start(t, config)
	a.body("/p", "uri-miss")
	a.body("/p", "detail=l1")
	a.eventually("what it depends on is known", func() bool {
		names, err := server.Client().Keys(t.Context(), "cacheproxy:dependents:*").Result()
		return err == nil && len(names) > 0 || len(denied(t, server)) > 0
	})
	b := start(t, config)
	b.body("/p", "detail=l2")
	purge := func(fields ...string) {
		t.Helper()
		r, _ := http.NewRequest("PURGE", b.url+"/p", nil)
		for i := 0; i < len(fields); i += 2 {
			r.Header.Set(fields[i], fields[i+1])
		}
		res, err := client.Do(r)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatal(res, err)
		}
		res.Body.Close()
	}
	purge("Surrogate-Key", "prices")
	purge()
	a.body("/p", "fwd=")
	a.stop() // which notes what is hot, and leaves the log
	if err := a.wait(); err != nil {
		t.Fatal(err)
	}
	if refused := denied(t, server); len(refused) > 0 {
		t.Errorf("Redis has refused %v", refused)
	}
}

// denied returns what Redis has refused since it was started, and to whom.
func denied(t *testing.T, server *redistest.Server) (refused []string) {
	t.Helper()
	entries, err := server.Client().ACLLog(t.Context(), 100).Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		refused = append(refused, e.Reason+" "+e.Object)
	}
	return refused
}
