package metrics_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cacheproxy/cacheproxy/cache"
	"github.com/cacheproxy/cacheproxy/internal/metrics"
	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// sample is the report of a hit.
func sample() *cache.Report {
	return &cache.Report{
		Start: time.Date(2026, 11, 24, 10, 0, 0, 123456789, time.UTC), Duration: 1234567 * time.Nanosecond,
		Route: "products", Method: "GET", Host: "shop.example.com", Path: "/products/1", Status: 200,
		Result: cache.ResultHit, Tier: "l1", Key: rfc9111.NewKey([]byte("key")), Age: 3*time.Second + time.Millisecond, TTL: 57 * time.Second,
		Stored: true, Bytes: 4711,
	}
}

// lineOf returns what the log writes for a report.
func lineOf(t testing.TB, f metrics.Format, r *cache.Report) string {
	t.Helper()
	var b bytes.Buffer
	l := metrics.NewAccessLog(&b, f)
	l.Observe(r)
	l.Flush()
	return b.String()
}

func TestLines(t *testing.T) {
	hit := sample()
	pass := sample()
	pass.Result, pass.Reason, pass.Tier, pass.Stored, pass.Upstream = cache.ResultPass, rfc9111.ReasonNoStore, "", false, "shop"
	pass.Attempt = 2
	pass.Key, pass.Path, pass.Duration = rfc9111.Key{}, `/a b"c=d\`+"\x01\x7f\xff\u2028é", 250*time.Millisecond
	for _, tt := range []struct {
		name   string
		format metrics.Format
		report *cache.Report
		want   string
	}{
		{"a hit", metrics.JSON, hit, `{"time":"2026-11-24T10:00:00.124691356Z","level":"INFO","msg":"access","route":"products","method":"GET",` +
			`"host":"shop.example.com","path":"/products/1","status":200,"cache_status":"hit","tier":"l1","key":"` + fmt.Sprintf("%x", hit.Key.Hash) + `",` +
			`"ttl":57,"age":3,"bytes":4711,"duration_ms":1.234}` + "\n"},
		{"a hit as text", metrics.Text, hit, `time=2026-11-24T10:00:00.124Z level=INFO msg=access route=products method=GET host=shop.example.com ` +
			`path=/products/1 status=200 cache_status=hit tier=l1 key=` + fmt.Sprintf("%x", hit.Key.Hash) + ` ttl=57 age=3 bytes=4711 duration_ms=1.234` + "\n"},
		{"what passed", metrics.JSON, pass, `{"time":"2026-11-24T10:00:00.373456789Z","level":"INFO","msg":"access","route":"products","method":"GET",` +
			`"host":"shop.example.com","path":"/a b\"c=d\\\u0001` + "\x7f" + `\ufffd\u2028é","status":200,"cache_status":"pass","reason":"no-store",` +
			`"upstream":"shop","attempt":2,"bytes":4711,"duration_ms":250}` + "\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := lineOf(t, tt.format, tt.report); got != tt.want {
				t.Errorf("got  %swant %s", got, tt.want)
			}
		})
	}
}

// record is the same as log/slog writes it.
func record(f metrics.Format, r *cache.Report) string {
	var b bytes.Buffer
	var h slog.Handler = slog.NewJSONHandler(&b, nil)
	if f == metrics.Text {
		h = slog.NewTextHandler(&b, nil)
	}
	rec := slog.NewRecord(r.Start.Add(r.Duration), slog.LevelInfo, "access", 0)
	rec.Add("route", r.Route, "method", r.Method, "host", r.Host, "path", r.Path, "status", r.Status, "cache_status", r.Result.String())
	if r.Reason != rfc9111.ReasonNone {
		rec.Add("reason", r.Reason.String())
	}
	rec.Add("tier", r.Tier, "key", fmt.Sprintf("%x", r.Key.Hash), "ttl", int64(r.TTL/time.Second), "age", int64(r.Age/time.Second), "upstream", r.Upstream, "bytes", r.Bytes)
	ms := float64(r.Duration/time.Microsecond) / 1000
	if f == metrics.Text { // there slog changes to an exponent at a million
		rec.Add("duration_ms", strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.3f", ms), "0"), "."))
	} else {
		rec.Add("duration_ms", ms)
	}
	if err := h.Handle(context.Background(), rec); err != nil {
		panic(err)
	}
	return b.String()
}

// FuzzLines: whatever a client sends, a line is what log/slog would have written, and so one line, and JSON.
func FuzzLines(f *testing.F) {
	f.Add("products", "GET", "shop", "/a b=\"c\\\x00\x1f\x7f\xff\u2028\ufffd\u00a0é", int64(1234567), 200, uint8(4))
	f.Add("", "", "", "", int64(0), 0, uint8(0))
	f.Add("\n", "\r", "\t", "\b\f", int64(3_600_000_000_000), -1, uint8(200))
	f.Fuzz(func(t *testing.T, route, method, host, path string, ns int64, status int, reason uint8) {
		r := sample()
		r.Route, r.Method, r.Host, r.Path, r.Status = route, method, host, path, status
		r.Duration, r.Upstream, r.Tier = time.Duration(ns&(1<<50-1)), host, "l1"
		r.Reason = rfc9111.Reason(int(reason) % len(rfc9111.Reasons()))
		for _, format := range []metrics.Format{metrics.JSON, metrics.Text} {
			want := record(format, r)
			if host == "" {
				want = strings.Replace(strings.Replace(want, `,"upstream":""`, "", 1), ` upstream=""`, "", 1)
			}
			got := lineOf(t, format, r)
			if got != want {
				t.Errorf("got  %swant %s", got, want)
			}
			if format == metrics.JSON && !json.Valid([]byte(got)) || strings.Count(got, "\n") != 1 {
				t.Errorf("not one line of JSON: %q", got)
			}
		}
	})
}

func TestOff(t *testing.T) {
	var b bytes.Buffer
	l := metrics.NewAccessLog(&b, metrics.JSON)
	l.Enable(false)
	l.Observe(sample())
	l.Enable(true)
	l.Observe(sample())
	if l.Flush(); strings.Count(b.String(), "\n") != 1 {
		t.Errorf("wrote %q, want one line", b.String())
	}
}

func TestRunWritesSoonAndAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		l := metrics.NewAccessLog(&b, metrics.JSON)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- l.Run(ctx) }()
		l.Observe(sample())
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		if got := strings.Count(b.String(), "\n"); got != 1 {
			t.Errorf("%d lines after 100 ms, want 1", got)
		}
		l.Observe(sample())
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if got := strings.Count(b.String(), "\n"); got != 2 {
			t.Errorf("%d lines at the end, want 2", got)
		}
	})
}

func TestRunIsWokenByMuch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		l := metrics.NewAccessLog(&b, metrics.JSON)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- l.Run(ctx) }()
		for range 1000 {
			l.Observe(sample())
		}
		synctest.Wait() // no time passes
		if b.Len() == 0 {
			t.Error("nothing is written before its time, although much waits")
		}
		cancel()
		<-done
	})
}

// TestALogThatCannotBeWrittenLosesLinesAndNothingElse: a full disk must not stop the proxy.
func TestALogThatCannotBeWrittenLosesLinesAndNothingElse(t *testing.T) {
	l := metrics.NewAccessLog(badWriter{}, metrics.JSON)
	for range 3 {
		l.Observe(sample())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Run(ctx); err != nil || l.Lost() != 3 {
		t.Errorf("Run = %v, %d lines lost, want 3", err, l.Lost())
	}
}

type badWriter struct{}

func (badWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// TestFullLogDropsAndCounts: where nobody writes, lines are dropped, memory stays bounded, and nobody waits.
func TestFullLogDropsAndCounts(t *testing.T) {
	var b bytes.Buffer
	l := metrics.NewAccessLog(&b, metrics.JSON)
	const lines = 100_000
	for range lines {
		l.Observe(sample())
	}
	l.Flush()
	written := strings.Count(b.String(), "\n")
	if l.Lost() == 0 || written+int(l.Lost()) != lines {
		t.Errorf("%d written and %d lost of %d", written, l.Lost(), lines)
	}
	if most := 2 * runtime.GOMAXPROCS(0) * (metrics.LotBytes + 1024); b.Len() > most {
		t.Errorf("%d bytes waited, want at most %d", b.Len(), most)
	}
}

// TestLinesStayWhole: many at once, and none is torn, lost or doubled.
func TestLinesStayWhole(t *testing.T) {
	var b bytes.Buffer
	l := metrics.NewAccessLog(&b, metrics.JSON)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			r := sample()
			for i := range 500 {
				r.Path = fmt.Sprintf("/%d/%d", g, i)
				l.Observe(r)
			}
		})
	}
	wg.Wait()
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(b.String()) {
		var v struct{ Path string }
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		seen[v.Path] = true
	}
	if len(seen)+int(l.Lost()) != 8*500 {
		t.Errorf("%d different lines and %d lost, want %d", len(seen), l.Lost(), 8*500)
	}
}
