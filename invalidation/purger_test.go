package invalidation

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestPurgeRefusesWhatSelectsNothing(t *testing.T) {
	tests := []struct {
		name      string
		selectors []Selector
		want      []error
		says      string
	}{
		{"no list", nil, []error{ErrEmpty}, "at least one selector"},
		{"an empty list", []Selector{}, []error{ErrEmpty}, "at least one selector"},
		{"an empty URL", []Selector{{KindURL, ""}}, []error{ErrEmpty}, "the URL is empty"},
		{"an empty URL beside a good one", []Selector{{KindURL, "//a/"}, {KindURL, ""}}, []error{ErrEmpty}, "selector 2 of kind url"},
		{"a path", []Selector{{KindURL, "/x"}}, []error{ErrSelector}, `"/x" does not begin with`},
		{"a path with two slashes", []Selector{{KindURL, "/x//y"}}, []error{ErrSelector}, "does not begin with"},
		{"a host", []Selector{{KindURL, "host/x"}}, []error{ErrSelector}, "does not begin with"},
		{"no scheme but its colon", []Selector{{KindURL, "://host/x"}}, []error{ErrSelector}, "does not begin with"},
		{"all with a value", []Selector{{KindAll, "http://a/"}}, []error{ErrSelector}, "takes no value"},
		{"a key that is none", []Selector{{KindKey, "0123"}}, []error{ErrSelector}, "32 hexadecimal digits"},
		{"an empty tag", []Selector{{KindTag, ""}}, []error{ErrEmpty}, "the tag is empty"},
		{"a group without origin", []Selector{{KindGroup, "g"}}, []error{ErrSelector}, "not an origin, a space and the group"},
		{"a group without name", []Selector{Group("https://a", "")}, []error{ErrSelector}, "not an origin"},
		{"a pattern with a scheme", []Selector{{KindPattern, "http://a/*"}}, []error{ErrSelector}, `write "a/*"`},
		{"a pattern with a port", []Selector{{KindPattern, "a:80/*"}}, []error{ErrSelector}, `write "a/*"`},
		{"a pattern of a host", []Selector{{KindPattern, "a.example"}}, []error{ErrSelector}, `write "a.example/**"`},
		{"no regular expression", []Selector{{KindPattern, "re:("}}, []error{ErrSelector}, "missing closing"},
		{"an empty regular expression", []Selector{{KindPattern, "re:"}}, []error{ErrEmpty}, "empty"},
		{"an empty ban", []Selector{Ban{}.Selector()}, []error{ErrEmpty}, "the ban is empty"},
		{"a ban that is no expression", []Selector{Ban{Host: "["}.Selector()}, []error{ErrSelector}, "missing closing"},
		{"a value too long", []Selector{{KindTag, strings.Repeat("x", MaxValue+1)}}, []error{ErrSelector}, "bytes"},
		{"too many selectors", make([]Selector, MaxSelectors+1), []error{ErrSelector}, "at most 10000"},
		{"an unknown kind", []Selector{{Kind(9), "x"}}, []error{ErrSelector}, "the kind is unknown"},
		{"two mistakes", []Selector{{KindURL, ""}, {KindURL, "x"}}, []error{ErrEmpty, ErrSelector}, "selector 2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := NewState(10)
			p := NewPurger(NewMemLog(), s, func(Record) int { t.Error("onApply was called"); return 0 })
			r, err := p.Purge(t.Context(), Purge{Selectors: tt.selectors})
			for _, want := range tt.want {
				if !errors.Is(err, want) {
					t.Errorf("the error %v is not %v", err, want)
				}
			}
			if err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("the error %q does not say %q", err, tt.says)
			}
			if r != (Receipt{}) || s.Applied().Seq != 0 {
				t.Errorf("something was done: receipt %+v, applied %v", r, s.Applied())
			}
		})
	}
}

func TestPurgeRefusesStrategies(t *testing.T) {
	for _, p := range []Purge{{Strategy: 77}, {Strategy: TTL, TTL: -1}, {Strategy: Soft, TTL: 1}} {
		p.Selectors = []Selector{{Kind: KindAll}}
		if _, err := NewPurger(NewMemLog(), NewState(10), nil).Purge(t.Context(), p); !errors.Is(err, ErrStrategy) {
			t.Errorf("%+v: %v", p, err)
		}
	}
	for _, text := range []string{"hard", "ttl", "ttl=", "ttl=-1s", "ttl=5", "Soft", " soft"} {
		if s, _, err := ParseStrategy(text); !errors.Is(err, ErrStrategy) {
			t.Errorf("ParseStrategy(%q) is %v, %v", text, s, err)
		}
	}
	for _, name := range strategyNames {
		s, ttl, err := ParseStrategy(strings.Replace(name, "ttl", "ttl=90s", 1))
		if err != nil || s.String() != name || s == TTL != (ttl == 90*time.Second) {
			t.Errorf("ParseStrategy of %s is %v, %v, %v", name, s, ttl, err)
		}
	}
	for _, text := range []string{"", "all", "local", "none"} {
		if w, err := ParseWait(text); err != nil || text != "" && w.String() != text {
			t.Errorf("ParseWait(%q) is %v, %v", text, w, err)
		}
	}
	if _, err := ParseWait("some"); !errors.Is(err, ErrWait) {
		t.Errorf("ParseWait(some): %v", err)
	}
}

func TestPurgeAcceptsAbsoluteURLs(t *testing.T) {
	for _, v := range []string{"http://a/x?q", "https://a/", "//a/x", "http:///x", "///x", "http://a//x", "http://[::1]:8080/"} {
		p := NewPurger(NewMemLog(), NewState(10), nil)
		if _, err := p.Purge(t.Context(), Purge{Selectors: []Selector{{KindURL, v}}}); err != nil {
			t.Errorf("Purge of %q: %v", v, err)
		}
	}
}

func TestPurgeAnswersWithAReceipt(t *testing.T) {
	log, s := NewMemLog(), NewState(10)
	var dropped []Record
	p := NewPurger(log, s, func(r Record) int {
		if s.Applied() != r.Position {
			t.Errorf("onApply of %v before it was applied", r.Position)
		}
		dropped = append(dropped, r)
		return 3
	})
	begin := time.Now()
	selectors := []Selector{{KindURL, "http://a/x"}, {Kind: KindAll}}
	for seq := Seq(1); seq <= 2; seq++ {
		r, err := p.Purge(t.Context(), Purge{Selectors: selectors})
		if err != nil {
			t.Fatal(err)
		}
		if r.Elapsed <= 0 || r.Elapsed > time.Since(begin) {
			t.Errorf("elapsed is %v, want it between 0 and %v", r.Elapsed, time.Since(begin))
		}
		if r.Applied != s.Birth() {
			t.Errorf("what is requested next is born at %+v, want %+v", r.Applied, s.Birth())
		}
		r.Elapsed, r.Applied = 0, Birth{}
		want := Receipt{Position: Position{log.Head().Epoch, seq}, Instances: 1, Acknowledged: 1, Complete: true, Reached: true, Freed: 3}
		if r != want {
			t.Errorf("the receipt is %+v, want %+v", r, want)
		}
	}
	if len(dropped) != 2 || !slices.Equal(dropped[1].Selectors, selectors) || dropped[1].At.Before(begin) {
		t.Errorf("onApply got %+v", dropped)
	}
	want := []Count{{KindURL, Immediate, 2}, {KindAll, Immediate, 2}}
	got := slices.DeleteFunc(p.Stats(), func(c Count) bool { return c.Total == 0 })
	if !slices.Equal(got, want) {
		t.Errorf("Stats is %v, want %v", got, want)
	}
}

// The client of a write may have gone by the time the origin has accepted it.
func TestPurgeHoldsForAClientWhoHasGone(t *testing.T) {
	s := NewState(10)
	p := NewPurger(NewMemLog(), s, nil)
	st := s.thing(s.Birth(), "http://a/x")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Purge(ctx, Purge{Selectors: []Selector{{KindURL, "http://a/x"}}}); err != nil {
		t.Fatal(err)
	}
	if got := s.check(st); got != Invalid {
		t.Errorf("Check is %v, want invalid", got)
	}
}

func TestPurgesAtOnceAreAppliedInOrder(t *testing.T) {
	const purges = 3000
	s := NewState(10)
	var mu sync.Mutex
	seen := map[Seq]int{}
	p := NewPurger(NewMemLog(), s, func(r Record) int {
		mu.Lock()
		defer mu.Unlock()
		seen[r.Seq]++
		return 0
	})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range purges {
				r, err := p.Purge(t.Context(), Purge{Selectors: []Selector{{KindURL, "//a/x"}}})
				if err != nil || s.Applied().Seq < r.Seq {
					t.Errorf("purge %d returned (%v) before it was applied (%d)", r.Seq, err, s.Applied().Seq)
				}
			}
		})
	}
	wg.Wait()
	for seq := Seq(1); seq <= 4*purges; seq++ {
		if seen[seq] != 1 {
			t.Errorf("record %d reached onApply %d times, want once", seq, seen[seq])
		}
	}
	if s.floor != 0 { // a record that comes late is a gap before
		t.Errorf("the floor is %d: the state has seen a gap", s.floor)
	}
}

func TestReceiptJSON(t *testing.T) {
	r := Receipt{
		Position: Position{0xfedcba9876543210, 42}, Instances: 3, Acknowledged: 2, ExpiredLeases: 1,
		Complete: true, Freed: 12, Elapsed: 1200 * time.Microsecond,
	}
	got, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"epoch":"fedcba9876543210","seq":42,"pending":false,"instances":3,"acknowledged":2,"expired_leases":1,"complete":true,"freed":12,"elapsed_ms":1.2}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestNames(t *testing.T) {
	tests := []struct{ got, want string }{
		{KindURL.String(), "url"},
		{KindAll.String(), "all"},
		{Kind(9).String(), "kind(9)"},
		{KindBan.String(), "ban"},
		{Smart.String(), "smart"},
		{Immediate.String(), "immediate"},
		{Strategy(9).String(), "strategy(9)"},
		{Valid.String(), "valid"},
		{Unsure.String(), "unsure"},
		{Invalid.String(), "invalid"},
		{Standing(9).String(), "standing(9)"},
		{Epoch(0xab).String(), "00000000000000ab"},
	}
	for _, tt := range tests {
		if tt.got != tt.want {
			t.Errorf("got %q, want %q", tt.got, tt.want)
		}
	}
}

func TestLogsHaveEpochsOfTheirOwn(t *testing.T) {
	a, b := NewMemLog().Head(), NewMemLog().Head()
	if a.Epoch == b.Epoch || a.Epoch == 0 || a.Seq != 0 {
		t.Errorf("two logs begin at %v and %v", a, b)
	}
}
