//go:build linux

package bench

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cacheproxy/cacheproxy/test/bench/load"
	"github.com/cacheproxy/cacheproxy/test/redistest"
)

// startRedis gives the site a Redis, on the processor of the server before it: what both need together is what counts.
func (s *site) startRedis(t testing.TB) {
	s.redis = redistest.Start(t, "--maxmemory", "1gb")
	core, _ := cores(t)
	var set unix.CPUSet
	set.Set(core)
	if err := unix.SchedSetaffinity(s.redisPID(t), &set); err != nil {
		t.Fatal(err)
	}
}

// redisPID returns the process of the site's Redis.
func (s *site) redisPID(t testing.TB) int {
	text, _ := s.redis.Do("INFO", "server").(string)
	for line := range strings.Lines(text) {
		if id, ok := strings.CutPrefix(strings.TrimSpace(line), "process_id:"); ok {
			if pid, err := strconv.Atoi(id); err == nil {
				return pid
			}
		}
	}
	t.Fatal("redis does not tell its process")
	return 0
}

// awaitRedis waits until what the scenario has prepared lies in Redis: it is written behind the answers.
func (s *site) awaitRedis(t testing.TB, sc *scenario) {
	if s.redis == nil {
		return
	}
	deadline := time.Now().Add(30 * time.Second)
	for n := int64(0); n < int64(sc.prepare.Requests)*99/100; n, _ = s.redis.Do("DBSIZE").(int64) {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d responses are in Redis", n, sc.prepare.Requests)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// usage is what the site's Redis has done so far.
type usage struct {
	cpu   time.Duration
	reads int
}

func (s *site) redisUsage(t testing.TB) *usage {
	if s.redis == nil {
		return nil
	}
	used, err := load.Used(s.redisPID(t))
	if err != nil {
		t.Fatal(err)
	}
	return &usage{cpu: used.CPU, reads: s.redis.Commands()["hmget"]}
}

// addRedis counts what Redis did for the requests of res, and those before it in warming up. It fails where they were not answered from
// there.
func (f *figure) addRedis(before, after *usage, res *load.Result) error {
	if before == nil {
		return nil
	}
	if reads := after.reads - before.reads; reads < res.Asked*9/10 {
		return fmt.Errorf("redis was read %d times for %d requests: they were answered from elsewhere", reads, res.Asked)
	}
	f.behind = float64((after.cpu - before.cpu).Microseconds()) / float64(res.Asked)
	f.cpu += f.behind
	return nil
}
