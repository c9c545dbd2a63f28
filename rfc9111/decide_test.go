package rfc9111

import (
	"fmt"
	"testing"
	"time"
)

func TestDecide(t *testing.T) {
	const etag = `Etag: "a"`
	unsure := Constraint{Validate: true}
	soft, behind := Constraint{Stale: true}, Constraint{Refresh: true}
	cut := func(d time.Duration) Constraint { return Constraint{Until: now.Add(d)} }
	tests := []struct {
		section    string
		stored     []string // nil: nothing
		after      time.Duration
		request    string // of Cache-Control
		constraint Constraint
		want       string // action, forward, refresh, reason
	}{
		{"4", nil, 0, "", Constraint{}, "fetch vary-miss vary-miss"},
		{"4", []string{"Cache-Control: max-age=60"}, 59 * time.Second, "", Constraint{}, "serve none"},
		{"4.2", []string{"Cache-Control: max-age=60"}, time.Minute, "", Constraint{}, "fetch stale stale"},
		{"4.3", []string{"Cache-Control: max-age=60", etag}, time.Minute, "", Constraint{}, "validate stale stale"},
		{"4.3", []string{"Cache-Control: max-age=60", at("Last-Modified", 0)}, time.Minute, "", Constraint{}, "validate stale stale"},
		{"of no use any more", []string{"Cache-Control: max-age=60", etag}, time.Minute + Keep, "", Constraint{}, "fetch stale expired"},
		{"of no use from its expiry", []string{"Cache-Control: s-maxage=60"}, time.Minute, "", Constraint{}, "fetch stale expired"},
		{"4.2.4", []string{"Cache-Control: max-age=60, must-revalidate", etag}, time.Minute, "", Constraint{}, "validate stale must-revalidate"},

		{"5.2.2.4", []string{"Cache-Control: max-age=60, no-cache", etag}, 0, "", Constraint{}, "validate stale no-cache"},
		{"5.2.2.4, stale", []string{"Cache-Control: max-age=60, no-cache, stale-while-revalidate=60", etag}, 61 * time.Second, "max-stale", Constraint{}, "validate stale no-cache"},

		{"5.2.1.4", []string{"Cache-Control: max-age=60", etag}, 0, "no-cache", Constraint{}, "validate request request-no-cache"},
		{"5.2.1.4, no validator", []string{"Cache-Control: max-age=60"}, 0, "no-cache", Constraint{}, "fetch request request-no-cache"},
		{"5.2.1.5", []string{"Cache-Control: max-age=60", etag}, 0, "no-store", Constraint{}, "fetch request request-no-store"},
		{"5.2.1.5, nothing stored", nil, 0, "no-store", Constraint{}, "fetch vary-miss request-no-store"},
		{"5.2.1.1", []string{"Cache-Control: max-age=60"}, 2 * time.Second, "max-age=1", Constraint{}, "fetch request request-max-age"},
		{"5.2.1.1, within", []string{"Cache-Control: max-age=60"}, time.Second, "max-age=1", Constraint{}, "serve none"},
		{"5.2.1.1, Age counts", []string{"Cache-Control: max-age=3600", "Age: 1800"}, 0, "max-age=600", Constraint{}, "fetch request request-max-age"},
		{"5.2.1.1, reload", []string{"Cache-Control: max-age=60", etag}, time.Millisecond, "max-age=0", Constraint{}, "validate request request-max-age"},
		{"5.2.1.1, on a stale one", []string{"Cache-Control: max-age=60, stale-while-revalidate=60"}, 70 * time.Second, "max-age=65", Constraint{}, "fetch request request-max-age"},
		{"5.2.1.3", []string{"Cache-Control: max-age=1500"}, 0, "min-fresh=2000", Constraint{}, "fetch request request-min-fresh"},
		{"5.2.1.3, within", []string{"Cache-Control: max-age=1500"}, 0, "min-fresh=1500", Constraint{}, "serve none"},
		{"5.2.1.3, on a stale one", []string{"Cache-Control: max-age=60, stale-while-revalidate=60"}, 70 * time.Second, "min-fresh=1", Constraint{}, "fetch request request-min-fresh"},
		{"5.2.1.2", []string{"Cache-Control: max-age=60"}, 90 * time.Second, "max-stale=30", Constraint{}, "serve-stale max-stale"},
		{"5.2.1.2, any", []string{"Cache-Control: max-age=60"}, 90 * time.Second, "max-stale", Constraint{}, "serve-stale max-stale"},
		{"5.2.1.2, too stale", []string{"Cache-Control: max-age=60"}, 91 * time.Second, "max-stale=30", Constraint{}, "fetch stale stale"},
		{"5.2.1.2, forbidden", []string{"Cache-Control: s-maxage=60", etag}, 61 * time.Second, "max-stale", Constraint{}, "validate stale must-revalidate"},
		{"5.2.2.10, within the window", []string{"Cache-Control: s-maxage=60, stale-while-revalidate=10", etag}, 65 * time.Second, "", Constraint{}, "serve-stale refresh stale-while-revalidate"},
		{"5.2.2.10, after the window", []string{"Cache-Control: s-maxage=60, stale-while-revalidate=10", etag}, 71 * time.Second, "", Constraint{}, "validate stale must-revalidate"},
		{"5.2.1.2 with 5.2.1.1", []string{"Cache-Control: max-age=60"}, 90 * time.Second, "max-stale=60, max-age=70", Constraint{}, "serve-stale max-stale"},
		{"5.2.1.7", nil, 0, "only-if-cached", Constraint{}, "unsatisfiable only-if-cached"},
		{"5.2.1.7, fresh", []string{"Cache-Control: max-age=60"}, 0, "only-if-cached", Constraint{}, "serve none"},
		{"5.2.1.7, stale", []string{"Cache-Control: max-age=60", etag}, time.Minute, "only-if-cached", Constraint{}, "unsatisfiable only-if-cached"},
		{"5.2.1.7, usable stale", []string{"Cache-Control: max-age=60"}, time.Minute, "only-if-cached, max-stale", Constraint{}, "serve-stale max-stale"},
		{"5.2.1.7, contradiction", []string{"Cache-Control: max-age=60"}, 0, "only-if-cached, no-cache", Constraint{}, "unsatisfiable only-if-cached"},

		{"5861 3", []string{"Cache-Control: max-age=60, stale-while-revalidate=30"}, 89 * time.Second, "", Constraint{}, "serve-stale refresh stale-while-revalidate"},
		{"5861 3, at its end", []string{"Cache-Control: max-age=60, stale-while-revalidate=30", etag}, 90 * time.Second, "", Constraint{}, "validate stale stale"},
		{"5861 3, forbidden", []string{"Cache-Control: max-age=60, stale-while-revalidate=30, must-revalidate", etag}, 61 * time.Second, "", Constraint{}, "validate stale must-revalidate"},

		{"8246 2, reload", []string{"Cache-Control: max-age=60, immutable", etag}, time.Second, "max-age=0", Constraint{}, "serve immutable"},
		{"8246 2, forced reload", []string{"Cache-Control: max-age=60, immutable", etag}, time.Second, "no-cache", Constraint{}, "validate request request-no-cache"},
		{"8246 2, another max-age", []string{"Cache-Control: max-age=60, immutable", etag}, 2 * time.Second, "max-age=1", Constraint{}, "validate request request-max-age"},
		{"8246 2, stale", []string{"Cache-Control: max-age=60, immutable", etag}, time.Minute, "max-age=0", Constraint{}, "validate request request-max-age"},

		{"unsure", []string{"Cache-Control: max-age=60", etag}, 0, "", unsure, "validate stale unsure"},
		{"unsure, a strong date (9110 8.8.2.2)", []string{"Cache-Control: max-age=60", at("Date", 0), at("Last-Modified", -time.Second)}, 0, "", unsure, "validate stale unsure"},
		{"unsure, a weak date", []string{"Cache-Control: max-age=60", at("Date", 0), at("Last-Modified", 0)}, 0, "", unsure, "fetch stale unsure"},
		{"unsure, no validator", []string{"Cache-Control: max-age=60"}, 0, "", unsure, "fetch stale unsure"},
		{"unsure is never used stale", []string{"Cache-Control: max-age=60, stale-while-revalidate=60", etag}, 61 * time.Second, "max-stale", unsure, "validate stale unsure"},
		{"unsure, only-if-cached", []string{"Cache-Control: max-age=60", etag}, 0, "only-if-cached", unsure, "unsatisfiable only-if-cached"},
		{"unsure, but served", []string{"Cache-Control: max-age=60", etag}, 0, "", behind, "serve-stale refresh unsure"},
		{"unsure, but served; stale by itself", []string{"Cache-Control: max-age=60", etag}, time.Minute, "", behind, "validate stale stale"},
		{"unsure, but served; the request counts", []string{"Cache-Control: max-age=60", etag}, 0, "no-cache", behind, "validate request request-no-cache"},

		{"softened, without a window", []string{"Cache-Control: max-age=60", etag}, 0, "", soft, "validate stale softened"},
		{"softened, without a window or a validator", []string{"Cache-Control: max-age=60"}, 0, "", soft, "fetch stale softened"},
		{"softened, with a window", []string{"Cache-Control: max-age=60, stale-while-revalidate=30", etag}, 0, "", soft, "serve-stale refresh stale-while-revalidate"},
		{"softened, the window begins no later than the lifetime's end", []string{"Cache-Control: max-age=60, stale-while-revalidate=30", etag}, 90 * time.Second, "", soft, "validate stale softened"},
		{"softened, must-revalidate", []string{"Cache-Control: max-age=60, stale-while-revalidate=30, must-revalidate", etag}, 0, "", soft, "validate stale must-revalidate"},
		{"softened, max-stale", []string{"Cache-Control: max-age=60", etag}, 0, "max-stale=1", soft, "serve-stale max-stale"},
		{"softened, immutable", []string{"Cache-Control: max-age=60, immutable", etag}, 0, "max-age=0", soft, "validate stale softened"},
		{"softened, only-if-cached", []string{"Cache-Control: max-age=60", etag}, 0, "only-if-cached", soft, "unsatisfiable only-if-cached"},

		{"cut, before", []string{"Cache-Control: max-age=60", etag}, 9 * time.Second, "", cut(10 * time.Second), "serve none"},
		{"cut, at its end", []string{"Cache-Control: max-age=60", etag}, 10 * time.Second, "", cut(10 * time.Second), "validate stale stale"},
		{"cut, in the window behind it", []string{"Cache-Control: max-age=60, stale-while-revalidate=30", etag}, 39 * time.Second, "", cut(10 * time.Second), "serve-stale refresh stale-while-revalidate"},
		{"cut, after the window", []string{"Cache-Control: max-age=60, stale-while-revalidate=30", etag}, 40 * time.Second, "", cut(10 * time.Second), "validate stale stale"},
		{"cut to more than is left", []string{"Cache-Control: max-age=60", etag}, time.Minute, "", cut(time.Hour), "validate stale stale"},
		{"cut, min-fresh", []string{"Cache-Control: max-age=60", etag}, 0, "min-fresh=11", cut(10 * time.Second), "validate request request-min-fresh"},
	}
	for _, tt := range tests {
		var m *Meta
		if tt.stored != nil {
			m = received(tt.stored...)
		}
		req := fields()
		if tt.request != "" {
			req = fields("Cache-Control: " + tt.request)
		}
		d := Decide(req, m, ForwardVaryMiss, tt.constraint, now.Add(tt.after))
		if got := describe(d); got != tt.want {
			t.Errorf("%s: stored %q, %v later, request %q: %s, want %s", tt.section, tt.stored, tt.after, tt.request, got, tt.want)
		}
		bound := tt.constraint.Stale || !tt.constraint.Until.IsZero()
		if m != nil && (d.Age != m.Age(now.Add(tt.after)) || !bound && d.TTL != m.TTL(now.Add(tt.after)) || d.TTL > m.TTL(now.Add(tt.after))) {
			t.Errorf("%s: age %v, ttl %v", tt.section, d.Age, d.TTL)
		}
	}
}

func describe(d Decision) string {
	s := map[Action]string{Fetch: "fetch", Serve: "serve", ServeStale: "serve-stale", Validate: "validate", Unsatisfiable: "unsatisfiable"}[d.Action]
	if d.Forward != ForwardNone {
		s += " " + d.Forward.String()
	}
	if d.Refresh {
		s += " refresh"
	}
	return s + " " + d.Reason.String()
}

// TestDecideMiss: each kind of miss has the reason of its name.
func TestDecideMiss(t *testing.T) {
	for miss, want := range map[Forward]Reason{
		ForwardURIMiss: ReasonURIMiss, ForwardVaryMiss: ReasonVaryMiss, ForwardMiss: ReasonURIMiss, ForwardPartial: ReasonPartial,
		ForwardBypass: ReasonBypass, ForwardMethod: ReasonMethod,
	} {
		d := Decide(fields(), nil, miss, Constraint{}, now)
		if d.Action != Fetch || d.Forward != miss || d.Reason != want {
			t.Errorf("miss %v: %s, want reason %v", miss, describe(d), want)
		}
	}
}

func TestDecideOnError(t *testing.T) {
	const fresh, sie = "Cache-Control: max-age=60", "Cache-Control: max-age=60, stale-if-error=60"
	tests := []struct {
		section string
		stored  []string
		after   time.Duration
		request string
		failure Failure
		want    string
	}{
		{"4.2.4", []string{fresh}, 61 * time.Second, "", Disconnected, "serve-stale disconnected"},
		{"4.2.4, from its expiry", []string{fresh}, time.Minute, "", Disconnected, "serve-stale disconnected"},
		{"4.2.4, an answer is no disconnection", []string{fresh}, 61 * time.Second, "", ServerError, "fetch stale"},
		{"4.2.4, for a while", []string{fresh}, time.Minute + Keep - 1, "", Disconnected, "serve-stale disconnected"},
		{"4.2.4, not for ever", []string{fresh}, time.Minute + Keep, "", Disconnected, "fetch expired"},
		{"4.2.4, stale on arrival", []string{at("Date", 0), at("Expires", -time.Hour), at("Last-Modified", -24*time.Hour)}, time.Second, "", Disconnected, "serve-stale disconnected"},
		{"5.2.2.2", []string{fresh + ", must-revalidate"}, 61 * time.Second, "", Disconnected, "fetch must-revalidate"},
		{"5.2.2.8", []string{fresh + ", proxy-revalidate"}, 61 * time.Second, "", Disconnected, "fetch must-revalidate"},
		{"5.2.2.10", []string{"Cache-Control: s-maxage=60"}, 61 * time.Second, "", Disconnected, "fetch must-revalidate"},
		{"5.2.2.4", []string{fresh + ", no-cache", `Etag: "a"`}, time.Second, "", Disconnected, "fetch no-cache"},
		{"5861 4", []string{sie}, 119 * time.Second, "", ServerError, "serve-stale stale-if-error"},
		{"5861 4, disconnected", []string{sie}, 119 * time.Second, "", Disconnected, "serve-stale stale-if-error"},
		{"5861 4, at its end", []string{sie}, 120 * time.Second, "", ServerError, "fetch stale"},
		{"5861 4, of the request", []string{fresh}, 119 * time.Second, "stale-if-error=60", ServerError, "serve-stale stale-if-error"},
		{"5861 4, forbidden", []string{sie + ", must-revalidate"}, 61 * time.Second, "stale-if-error=60", ServerError, "fetch must-revalidate"},
		{"5861 4, no-cache asks for the origin", []string{sie}, 61 * time.Second, "no-cache", ServerError, "fetch request-no-cache"},
		{"no-store asks for the origin", []string{sie}, 61 * time.Second, "no-store", Disconnected, "fetch request-no-store"},
		{"5861 4, max-age is a wish", []string{sie}, 61 * time.Second, "max-age=0", ServerError, "serve-stale stale-if-error"},
		{"fresh, after a failed reload", []string{fresh}, time.Second, "max-age=0", ServerError, "serve upstream-error"},
		{"fresh, after a failed reload", []string{fresh + ", must-revalidate"}, time.Second, "max-age=0", Disconnected, "serve disconnected"},
	}
	for _, tt := range tests {
		m := received(tt.stored...)
		req := fields()
		if tt.request != "" {
			req = fields("Cache-Control: " + tt.request)
		}
		if got := describe(DecideOnError(req, m, Constraint{}, tt.failure, now.Add(tt.after))); got != tt.want {
			t.Errorf("%s: stored %q, %v later, request %q: %s, want %s", tt.section, tt.stored, tt.after, tt.request, got, tt.want)
		}
		if d := DecideOnError(req, m, Constraint{Validate: true}, tt.failure, now.Add(tt.after)); d.Action != Fetch {
			t.Errorf("%s: what is unsure was served: %s", tt.section, describe(d))
		}
	}
	for _, tt := range []struct {
		name, stored string
		c            Constraint
		failure      Failure
		want         string
	}{
		{"softened", fresh, Constraint{Stale: true}, Disconnected, "serve-stale disconnected"},
		{"softened", fresh, Constraint{Stale: true}, ServerError, "fetch stale"},
		{"softened", sie, Constraint{Stale: true}, ServerError, "serve-stale stale-if-error"},
		{"softened", fresh + ", must-revalidate", Constraint{Stale: true}, Disconnected, "fetch must-revalidate"},
		{"cut, in the window behind it", sie, Constraint{Until: now.Add(-59 * time.Second)}, ServerError, "serve-stale stale-if-error"},
		{"cut, after it", sie, Constraint{Until: now.Add(-60 * time.Second)}, ServerError, "fetch stale"},
	} {
		if got := describe(DecideOnError(fields(), received(tt.stored), tt.c, tt.failure, now)); got != tt.want {
			t.Errorf("%s, stored %q: %s, want %s", tt.name, tt.stored, got, tt.want)
		}
	}
	for f, want := range map[Failure]string{Disconnected: "fetch disconnected", ServerError: "fetch upstream-error"} {
		if got := describe(DecideOnError(fields(), nil, Constraint{}, f, now)); got != want {
			t.Errorf("nothing stored: %s, want %s", got, want)
		}
	}
}

// FuzzDecide holds what no combination of directives may break: nothing stale is served that forbids it, nothing unsure is served at
// all, and only-if-cached never reaches the origin.
func FuzzDecide(f *testing.F) {
	f.Add("max-age=60", "max-stale", int64(70), false)
	f.Add("max-age=60, must-revalidate, stale-while-revalidate=9", "only-if-cached", int64(65), false)
	f.Add("s-maxage=1, stale-if-error=100", "max-stale=5, max-age=0", int64(3), true)
	f.Add("no-cache, max-age=5", "min-fresh=1", int64(0), false)
	f.Add("immutable, max-age=5", "max-age=0", int64(1), false)
	f.Fuzz(func(t *testing.T, response, request string, after int64, unsure bool) {
		m := received("Cache-Control: "+response, `Etag: "a"`)
		req := Header{"Cache-Control": {request}}
		later := now.Add(time.Duration(after%1e6) * time.Second)
		c := Constraint{Validate: unsure}
		decisions := map[string]Decision{"Decide": Decide(req, m, ForwardURIMiss, c, later)}
		for _, failure := range []Failure{Disconnected, ServerError} {
			decisions[fmt.Sprint("DecideOnError ", failure)] = DecideOnError(req, m, c, failure, later)
		}
		for by, d := range decisions {
			fresh := m.TTL(later) > 0
			switch d.Action {
			case Serve:
				if !fresh {
					t.Errorf("%s: served as fresh with ttl %v", by, m.TTL(later))
				}
			case ServeStale:
				if fresh || m.Flags&MustRevalidate != 0 || m.Flags&WindowOnly != 0 && -m.TTL(later) >= max(m.StaleWhileRevalidate, m.StaleIfError, requestDirectivesOf(req).staleIfError.value) || !later.Before(m.Retain) {
					t.Errorf("%s: served stale, flags %b, ttl %v, kept until %v", by, m.Flags, m.TTL(later), m.Retain)
				}
			case Fetch, Validate:
				if by == "Decide" && (d.Forward == ForwardNone || requestDirectivesOf(req).onlyIfCached) {
					t.Errorf("%s: %s", by, describe(d))
				}
			}
			if (d.Action == Serve || d.Action == ServeStale) && (unsure || m.Flags&NoCache != 0) {
				t.Errorf("%s: served though unsure (%t) or no-cache: %s", by, unsure, describe(d))
			}
		}
	})
}
