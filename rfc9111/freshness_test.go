package rfc9111

import (
	"regexp"
	"strconv"
	"testing"
	"time"
)

func TestLifetime(t *testing.T) {
	const day = 24 * time.Hour
	rule := func(change func(*Policy)) *Policy {
		p := &Policy{StaleWhileRevalidate: -1, StaleIfError: -1}
		change(p)
		return p
	}
	follow := rule(func(*Policy) {})
	ttl := rule(func(p *Policy) { p.HasTTL, p.TTL = true, time.Minute })
	defaults := rule(func(p *Policy) { p.DefaultTTL = time.Minute })
	status := rule(func(p *Policy) {
		p.StatusTTL = map[int]time.Duration{404: time.Minute, 400: time.Minute, 500: time.Minute}
	})
	ignore := rule(func(p *Policy) { p.IgnoreOrigin, p.DefaultTTL = true, time.Minute })
	capped := rule(func(p *Policy) { p.MaxLifetime = time.Hour })
	tests := []struct {
		section string
		policy  *Policy
		status  int
		lines   []string
		want    time.Duration
	}{
		{"4.2.1", follow, 200, []string{"Cache-Control: max-age=60"}, time.Minute},
		{"4.2.1, s-maxage first", follow, 200, []string{"Cache-Control: max-age=60, s-maxage=5"}, 5 * time.Second},
		{"4.2.1, s-maxage first", follow, 200, []string{"Cache-Control: s-maxage=60", "Cache-Control: max-age=0", at("Expires", -day)}, time.Minute},
		{"5.3, max-age before Expires", follow, 200, []string{"Cache-Control: max-age=60", at("Expires", -day)}, time.Minute},
		{"5.3, max-age before an invalid Expires", follow, 200, []string{"Cache-Control: max-age=60", "Expires: 0"}, time.Minute},
		{"5.3, max-age=0 before Expires", follow, 200, []string{"Cache-Control: max-age=0", at("Expires", day)}, 0},
		{"4.2.1, Expires less Date", follow, 200, []string{at("Date", -time.Hour), at("Expires", time.Hour)}, 2 * time.Hour},
		{"4.2.1, both ahead", follow, 200, []string{at("Date", 400*time.Second), at("Expires", 300*time.Second)}, 0},
		{"4.2.1, Expires without Date", follow, 200, []string{at("Expires", time.Hour)}, time.Hour},
		{"4.2.1, Expires with a bad Date", follow, 200, []string{"Date: foo", at("Expires", time.Hour)}, time.Hour},
		{"5.3, invalid", follow, 200, []string{"Expires: 0", at("Last-Modified", -day)}, 0},
		{"5.3, two lines", follow, 200, []string{at("Expires", time.Hour), at("Expires", time.Hour)}, 0},
		{"1.2.2, 32 bits", follow, 200, []string{at("Date", 0), "Expires: Tue, 19 Jan 2038 14:14:08 GMT"},
			time.Date(2038, 1, 19, 14, 14, 8, 0, time.UTC).Sub(now)},
		{"1.2.2, far ahead", follow, 200, []string{at("Date", 0), "Expires: Sun, 21 Nov 2286 04:46:39 GMT"}, maxDelta},
		{"1.2.2, year 9999", follow, 200, []string{at("Date", 0), "Expires: Fri, 31 Dec 9999 23:59:59 GMT"}, maxDelta},

		{"4.2.2", follow, 200, []string{at("Date", 0), at("Last-Modified", -time.Hour)}, 6 * time.Minute},
		{"4.2.2, without Date", follow, 200, []string{at("Last-Modified", -time.Hour)}, 6 * time.Minute},
		{"4.2.2, at most a day", follow, 200, []string{at("Last-Modified", -1000*day)}, day},
		{"4.2.2, modified ahead", follow, 200, []string{at("Last-Modified", time.Hour)}, 0},
		{"4.2.2, an explicit lifetime", follow, 200, []string{"Cache-Control: max-age=0", at("Last-Modified", -day)}, 0},
		{"4.2.2, no such status", follow, 302, []string{at("Last-Modified", -day)}, 0},
		{"4.2.2, public", follow, 599, []string{"Cache-Control: public", at("Last-Modified", -10*time.Hour)}, time.Hour},
		{"4.2.2, one that speaks of one request", follow, 400, []string{"Cache-Control: public", at("Last-Modified", -10*time.Hour)}, 0},
		{"4.2.2, 404", follow, 404, []string{at("Last-Modified", -10*time.Hour)}, time.Hour},

		{"ttl", ttl, 200, []string{"Cache-Control: max-age=0"}, time.Minute},
		{"ttl, redirect", ttl, 302, nil, time.Minute},
		{"ttl, s-maxage", ttl, 200, []string{"Cache-Control: s-maxage=5"}, time.Minute},
		{"ttl is not for errors", ttl, 404, []string{"Cache-Control: max-age=5"}, 5 * time.Second},
		{"ttl is not for 202", ttl, 202, []string{"Cache-Control: max-age=5"}, 5 * time.Second},
		{"default_ttl", defaults, 200, []string{at("Last-Modified", -day)}, time.Minute},
		{"default_ttl, the origin's word", defaults, 200, []string{"Cache-Control: max-age=0"}, 0},
		{"default_ttl is not for errors", defaults, 404, []string{at("Last-Modified", -10*time.Hour)}, time.Hour},
		{"default_ttl is not for 302", defaults, 302, nil, 0},
		{"status_ttl", status, 404, []string{"Cache-Control: max-age=5"}, time.Minute},
		{"status_ttl, another status", status, 200, []string{"Cache-Control: max-age=5"}, 5 * time.Second},
		{"status_ttl is not for 400", status, 400, []string{"Cache-Control: max-age=5"}, 5 * time.Second},
		{"respect_origin: false, the origin's lifetime", ignore, 200, []string{"Cache-Control: max-age=5, no-store"}, 5 * time.Second},
		{"respect_origin: false, none", ignore, 200, []string{"Cache-Control: max-age=0, no-cache"}, time.Minute},
		{"max_lifetime", capped, 200, []string{"Cache-Control: max-age=99999"}, time.Hour},
	}
	for _, tt := range tests {
		m := NewMeta(exchange(nil, tt.status, fields(tt.lines...)), tt.policy, now, now)
		if m.Lifetime != tt.want {
			t.Errorf("%s: lifetime of %d %q = %v, want %v", tt.section, tt.status, tt.lines, m.Lifetime, tt.want)
		}
	}
}

func TestInitialAge(t *testing.T) {
	tests := []struct {
		section string
		delay   time.Duration
		lines   []string
		want    time.Duration
	}{
		{"4.2.3, new", 0, []string{at("Date", 0)}, 0},
		{"4.2.3, age_value", 0, []string{at("Date", 0), "Age: 30"}, 30 * time.Second},
		{"4.2.3, apparent_age", 0, []string{at("Date", -time.Hour)}, time.Hour},
		{"4.2.3, the larger", 0, []string{at("Date", -time.Hour), "Age: 7200"}, 2 * time.Hour},
		{"4.2.3, response_delay", 2 * time.Second, []string{"Age: 30"}, 32 * time.Second},
		{"4.2.3, Date ahead", 0, []string{at("Date", time.Hour)}, 0},
		{"4.2.3, no Date", 0, nil, 0},
		{"4.2.3, clock set back meanwhile", -time.Hour, []string{"Age: 30"}, 30 * time.Second},
		{"4.2.3, ancient", 0, []string{"Date: Sun, 06 Nov 0001 08:49:37 GMT"}, maxDelta},
	}
	for _, tt := range tests {
		m := NewMeta(exchange(nil, 200, fields(tt.lines...)), originPolicy(), now.Add(-tt.delay), now)
		if m.InitialAge != tt.want {
			t.Errorf("%s: initial age of %q = %v, want %v", tt.section, tt.lines, m.InitialAge, tt.want)
		}
	}
	// Date has whole seconds; the rest of the second in which the response came is no age.
	late := now.Add(900 * time.Millisecond)
	m := NewMeta(exchange(nil, 200, fields(at("Date", 0), "Cache-Control: max-age=1")), originPolicy(), late, late)
	if m.InitialAge != 0 || !m.Date.Equal(now) {
		t.Errorf("initial age of a response within its second = %v, Date %v", m.InitialAge, m.Date)
	}
}

func TestAgeAndTTL(t *testing.T) {
	m := received("Cache-Control: max-age=60", "Age: 10")
	for _, tt := range []struct{ after, age, ttl time.Duration }{
		{0, 10 * time.Second, 50 * time.Second},
		{50 * time.Second, time.Minute, 0},
		{60 * time.Second, 70 * time.Second, -10 * time.Second},
		{-time.Hour, 10 * time.Second, 50 * time.Second}, // the clock was set back
	} {
		if age, ttl := m.Age(now.Add(tt.after)), m.TTL(now.Add(tt.after)); age != tt.age || ttl != tt.ttl {
			t.Errorf("after %v: age %v, ttl %v, want %v, %v", tt.after, age, ttl, tt.age, tt.ttl)
		}
	}
}

func TestAgeField(t *testing.T) {
	tests := []struct {
		section string
		lines   []string
		want    time.Duration
	}{
		{"5.1", []string{"Age: 7200"}, 2 * time.Hour},
		{"5.1, absent", nil, 0},
		{"5.1, no number", []string{"Age: abc"}, 0},
		{"5.1, negative", []string{"Age: -7200"}, 0},
		{"5.1, decimal", []string{"Age: 7200.0"}, 0},
		{"5.1, parameter", []string{"Age: 7200;foo=bar"}, 0},
		{"5.1, the first of a list", []string{"Age: 7200, 0"}, 2 * time.Hour},
		{"5.1, the first of a list", []string{"Age: 0, 7200"}, 0},
		{"5.1, the first line", []string{"Age: 7200", "Age: 0"}, 2 * time.Hour},
		{"5.1, the first line", []string{"Age: 0", "Age: 7200"}, 0},
		{"1.2.2", []string{"Age: 2147483648"}, maxDelta},
		{"1.2.2", []string{"Age: 99999999999999999999"}, maxDelta},
	}
	for _, tt := range tests {
		if got := ageField(fields(tt.lines...)); got != tt.want {
			t.Errorf("%s: age of %q = %v, want %v", tt.section, tt.lines, got, tt.want)
		}
	}
}

// FuzzAge compares with the rule as a regular expression.
func FuzzAge(f *testing.F) {
	rule := regexp.MustCompile(`^[ \t,]*([0-9]+)[ \t]*(,|$)`)
	for _, seed := range []string{"1", "0, 1", " ,\t7 ,", "-1", "1.0", "99999999999", "\"1\""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want := time.Duration(0)
		if m := rule.FindStringSubmatch(s); m != nil {
			n, err := strconv.ParseInt(m[1], 10, 64)
			if err != nil || n > 1<<31 {
				n = 1 << 31
			}
			want = time.Duration(n) * time.Second
		}
		if got := ageField(Header{"Age": {s}}); got != want {
			t.Errorf("age of %q = %v, want %v", s, got, want)
		}
	})
}

func TestRetain(t *testing.T) {
	const etag = `Etag: "a"`
	unbounded := &Policy{StaleWhileRevalidate: -1, StaleIfError: -1}
	bounded := &Policy{StaleWhileRevalidate: -1, StaleIfError: -1, MaxLifetime: 2 * time.Minute}
	tests := []struct {
		name   string
		policy *Policy
		lines  []string
		want   time.Duration // after now
	}{
		{"stale use where the origin is away (4.2.4)", unbounded, []string{"Cache-Control: max-age=60"}, time.Minute + Keep},
		{"not beyond the end where that is forbidden", unbounded, []string{"Cache-Control: max-age=60, must-revalidate"}, time.Minute},
		{"validation is not", unbounded, []string{"Cache-Control: max-age=60, must-revalidate", etag}, time.Minute + Keep},
		{"stale-if-error", unbounded, []string{"Cache-Control: max-age=60, stale-if-error=3600"}, time.Minute + time.Hour},
		{"stale-while-revalidate", unbounded, []string{"Cache-Control: max-age=0, stale-while-revalidate=30"}, 30 * time.Second},
		{"nothing", unbounded, []string{"Cache-Control: max-age=0"}, 0},
		{"a validator alone", unbounded, []string{etag}, Keep},
		{"no-cache with a validator", unbounded, []string{"Cache-Control: max-age=60, no-cache", etag}, time.Minute + Keep},
		{"stale on arrival, with a validator", unbounded, []string{"Cache-Control: max-age=60", "Age: 7200", etag}, Keep},
		{"stale on arrival", unbounded, []string{"Cache-Control: max-age=60", "Age: 120"}, Keep - time.Minute},
		{"long stale on arrival", unbounded, []string{"Cache-Control: max-age=60", "Age: 7200"}, 0},
		{"max_lifetime", bounded, []string{"Cache-Control: max-age=60", etag}, 2 * time.Minute},
	}
	for _, tt := range tests {
		m := NewMeta(exchange(nil, 200, fields(tt.lines...)), tt.policy, now, now)
		if got := m.Retain.Sub(now); got != tt.want {
			t.Errorf("%s: %q is kept for %v, want %v", tt.name, tt.lines, got, tt.want)
		}
	}
}

func TestStaleTimes(t *testing.T) {
	const lines = "Cache-Control: max-age=60, stale-while-revalidate=10, stale-if-error=20"
	tests := []struct {
		name         string
		policy       Policy
		wantW, wantE time.Duration
	}{
		{"the origin's (5861)", Policy{StaleWhileRevalidate: -1, StaleIfError: -1}, 10 * time.Second, 20 * time.Second},
		{"the rule's", Policy{StaleWhileRevalidate: time.Second, StaleIfError: 2 * time.Second}, time.Second, 2 * time.Second},
		{"the rule's none", Policy{}, 0, 0},
		{"max_lifetime bounds the sum", Policy{StaleWhileRevalidate: -1, StaleIfError: -1, MaxLifetime: 75 * time.Second}, 10 * time.Second, 15 * time.Second},
		{"max_lifetime below the lifetime", Policy{StaleWhileRevalidate: -1, StaleIfError: -1, MaxLifetime: 30 * time.Second}, 0, 0},
	}
	for _, tt := range tests {
		m := NewMeta(exchange(nil, 200, fields(lines)), &tt.policy, now, now)
		if m.StaleWhileRevalidate != tt.wantW || m.StaleIfError != tt.wantE {
			t.Errorf("%s: %v, %v, want %v, %v", tt.name, m.StaleWhileRevalidate, m.StaleIfError, tt.wantW, tt.wantE)
		}
	}
}

func TestFlags(t *testing.T) {
	follow := originPolicy()
	ignore := &Policy{StaleWhileRevalidate: -1, StaleIfError: -1, IgnoreOrigin: true}
	ttl := &Policy{StaleWhileRevalidate: -1, StaleIfError: -1, HasTTL: true, TTL: time.Minute}
	stale := &Policy{StaleWhileRevalidate: time.Minute, StaleIfError: -1}
	tests := []struct {
		section string
		policy  *Policy
		status  int
		lines   []string
		want    Flags
	}{
		{"none", follow, 200, []string{"Cache-Control: max-age=1, public"}, 0},
		{"5.2.2.2", follow, 200, []string{"Cache-Control: max-age=1, must-revalidate"}, MustRevalidate},
		{"5.2.2.8", follow, 200, []string{"Cache-Control: max-age=1, proxy-revalidate"}, MustRevalidate},
		{"5.2.2.10", follow, 200, []string{"Cache-Control: s-maxage=1"}, WindowOnly},
		{"5.2.2.10, not where the rule gives the lifetime", ttl, 200, []string{"Cache-Control: s-maxage=1"}, 0},
		{"5.2.2.10, within the rule's stale times", stale, 200, []string{"Cache-Control: s-maxage=1"}, WindowOnly},
		{"5.2.2.2 wins over the rule's", stale, 200, []string{"Cache-Control: s-maxage=1, must-revalidate"}, MustRevalidate | WindowOnly},
		{"5.2.2.2 wins over the rule's", ttl, 200, []string{"Cache-Control: must-revalidate, no-cache"}, MustRevalidate | NoCache},
		{"5.2.2.4", follow, 200, []string{"Cache-Control: no-cache"}, NoCache},
		{"5.2.2.4, qualified", follow, 200, []string{`Cache-Control: max-age=1, no-cache="a"`}, 0},
		{"5.4, in a response", follow, 200, []string{"Cache-Control: max-age=1", "Pragma: no-cache"}, 0},
		{"respect_origin: false", ignore, 200, []string{"Cache-Control: max-age=1, no-cache, must-revalidate, proxy-revalidate"}, 0},
		{"8246", follow, 200, []string{"Cache-Control: max-age=1, immutable"}, Immutable},
		{"4.2.2", follow, 200, []string{at("Last-Modified", -time.Hour)}, HeuristicLifetime},
		{"3.3", follow, 206, []string{"Cache-Control: max-age=1"}, Partial},
	}
	for _, tt := range tests {
		m := NewMeta(exchange(nil, tt.status, fields(tt.lines...)), tt.policy, now, now)
		if m.Flags != tt.want {
			t.Errorf("%s: flags of %q = %b, want %b", tt.section, tt.lines, m.Flags, tt.want)
		}
	}
}

func TestValidatorsOf(t *testing.T) {
	m := received(`Etag: W/"a"`, at("Last-Modified", 0))
	if want := (Validators{`W/"a"`, now.Format("Mon, 02 Jan 2006 15:04:05 GMT")}); m.Validators != want {
		t.Errorf("validators %q, want %q", m.Validators, want)
	}
	if m := received(`Etag: "a"`, `Etag: "b"`); !m.Validators.None() {
		t.Errorf("two lines of ETag make the validator %q", m.Validators)
	}
}
