// Package logtest holds what every [invalidation.Log] must do, as one suite of
// tests.
package logtest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/invalidation"
)

// Test runs the suite. Open returns a new and empty log that keeps at least a
// thousand records.
func Test(t *testing.T, open func(t *testing.T) invalidation.Log) {
	for name, test := range map[string]func(*bench){
		"records get places without gaps":           places,
		"records come back as they were":            roundTrip,
		"many write at once":                        crowd,
		"a lease is for who is up to date":          lease,
		"a lease comes with what was missing":       leaseWithRecords,
		"who is of another epoch gets the log anew": otherEpoch,
		"who only reads is not registered":          reader,
		"the register":                              register,
		"a member that has reported is not forgot":  forget,
		"listeners are told":                        listen,
		"an answer in pages":                        pages,
	} {
		t.Run(name, func(t *testing.T) { test(&bench{T: t, log: open(t)}) })
	}
}

// patience bounds what should take no time.
const patience = 10 * time.Second

// bench is one test's view of a log.
type bench struct {
	*testing.T
	log invalidation.Log
}

func record(url string) invalidation.Record {
	return invalidation.Record{Selectors: []invalidation.Selector{{Kind: invalidation.KindURL, Value: url}}}
}

func (t *bench) append(r invalidation.Record) invalidation.Record {
	t.Helper()
	a, err := t.log.Append(t.Context(), r, false)
	if err != nil {
		t.Fatal(err)
	}
	return a.Record
}

func (t *bench) sync(r invalidation.Report) invalidation.Synced {
	t.Helper()
	s, err := t.log.Sync(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (t *bench) members() []string {
	t.Helper()
	members, _, err := t.log.Members(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, m := range members {
		ids = append(ids, m.ID)
	}
	return ids
}

func places(t *bench) {
	head := t.sync(invalidation.Report{}).Head
	if head.Epoch == 0 || head.Seq != 0 {
		t.Fatalf("an empty log stands at %v", head)
	}
	for want := head.Seq + 1; want < 20; want++ {
		r := t.append(record("//h/x"))
		if (r.Position != invalidation.Position{Epoch: head.Epoch, Seq: want}) {
			t.Errorf("the record is at %v, want %v of the same epoch", r.Position, want)
		}
		if d := time.Since(r.At); d < -time.Second || d > patience {
			t.Errorf("the record was logged %v ago", d)
		}
	}
}

func roundTrip(t *bench) {
	records := []invalidation.Record{
		{Selectors: []invalidation.Selector{{Kind: invalidation.KindAll}}},
		{
			Selectors: []invalidation.Selector{
				{Kind: invalidation.KindURL, Value: "//h/x?a b&\"{}\\\xc3\xa9"}, {Kind: invalidation.KindKey, Value: "0123456789abcdef0123456789abcdef"},
				{Kind: invalidation.KindTag, Value: "a b"}, invalidation.Group("https://h", "g g"),
				{Kind: invalidation.KindPattern, Value: "/x/**"}, invalidation.Ban{URL: "^/x\n", Tags: "t"}.Selector(),
			},
			Strategy: invalidation.TTL, TTL: 1500 * time.Millisecond, Dependents: true, Origin: "me", Waits: true,
		},
		{Selectors: []invalidation.Selector{{Kind: invalidation.KindTag, Value: "t"}}, Strategy: invalidation.Smart},
	}
	for i, r := range records {
		records[i] = t.append(r)
	}
	got := t.sync(invalidation.Report{}).Records
	if len(got) != len(records) {
		t.Fatalf("%d records came back, want %d", len(got), len(records))
	}
	for i, want := range records {
		if g := got[i]; !g.At.Truncate(time.Millisecond).Equal(want.At.Truncate(time.Millisecond)) {
			t.Errorf("record %d is of %v, want %v", i, g.At, want.At)
		}
		got[i].At = want.At
		if fmt.Sprintf("%+v", got[i]) != fmt.Sprintf("%+v", want) {
			t.Errorf("got  %+v\nwant %+v", got[i], want)
		}
	}
}

func crowd(t *bench) {
	const writers, each = 4, 50
	var mu sync.Mutex
	var seqs []invalidation.Seq
	var work sync.WaitGroup
	for range writers {
		work.Go(func() {
			for range each {
				a, err := t.log.Append(t.Context(), record("//h/x"), false)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				seqs = append(seqs, a.Record.Seq)
				mu.Unlock()
			}
		})
	}
	work.Wait()
	slices.Sort(seqs)
	for i, seq := range seqs {
		if seq != invalidation.Seq(i+1) {
			t.Fatalf("place %d is %d", i+1, seq)
		}
	}
}

func lease(t *bench) {
	head := t.sync(invalidation.Report{}).Head
	me := invalidation.Report{ID: "a", Applied: head, Lease: time.Minute}
	if s := t.sync(me); !s.Granted || len(s.Records) != 0 {
		t.Errorf("who is up to date gets %+v", s)
	}
	me.Applied = t.append(record("//h/x")).Position
	if s := t.sync(me); !s.Granted || s.Head != me.Applied {
		t.Errorf("who has applied the last record gets %+v", s)
	}
	me.Applied.Seq++ // a position that there is not
	if s := t.sync(me); s.Granted {
		t.Errorf("who is ahead of the log gets %+v", s)
	}
}

func leaseWithRecords(t *bench) {
	head := t.sync(invalidation.Report{}).Head
	for range 3 {
		t.append(record("//h/x"))
	}
	s := t.sync(invalidation.Report{ID: "a", Applied: head, Lease: time.Minute})
	if len(s.Records) != 3 || !s.Granted || s.Head.Seq != 3 {
		t.Errorf("who is three behind gets %+v", s)
	}
	members, _, err := t.log.Members(t.Context())
	if err != nil || len(members) != 1 || members[0].Applied != head {
		t.Errorf("the register says %+v (%v): more than was reported", members, err)
	}
}

func otherEpoch(t *bench) {
	t.append(record("//h/x"))
	last := t.append(record("//h/y"))
	s := t.sync(invalidation.Report{ID: "a", Applied: invalidation.Position{Epoch: last.Epoch + 1, Seq: 1}, Lease: time.Minute})
	if s.Granted || len(s.Records) != 2 || s.Head != last.Position || s.Floor != 0 {
		t.Errorf("who is of another epoch gets %+v", s)
	}
	if ids := t.members(); len(ids) != 0 {
		t.Errorf("and is registered: %v", ids)
	}
}

func reader(t *bench) {
	t.append(record("//h/x"))
	s := t.sync(invalidation.Report{Applied: t.sync(invalidation.Report{}).Head})
	if s.Granted || len(s.Records) != 0 || len(t.members()) != 0 {
		t.Errorf("who only reads gets %+v, and the register is %v", s, t.members())
	}
}

func register(t *bench) {
	head := t.sync(invalidation.Report{}).Head
	for _, id := range []string{"b", "a"} {
		t.sync(invalidation.Report{ID: id, Applied: head, Lease: 1500 * time.Millisecond})
	}
	a, err := t.log.Append(t.Context(), record("//h/x"), true)
	if err != nil || len(a.Members) != 2 || !a.Replicated {
		t.Fatalf("%+v, %v", a, err)
	}
	for i, m := range a.Members {
		if m.ID != []string{"a", "b"}[i] || m.Applied != head || m.Lease != 1500*time.Millisecond || m.Idle < 0 || m.Idle > patience {
			t.Errorf("member %d is %+v", i, m)
		}
	}
	if err := t.log.Leave(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if ids := t.members(); !slices.Equal(ids, []string{"b"}) {
		t.Errorf("the register is %v", ids)
	}
}

func forget(t *bench) {
	head := t.sync(invalidation.Report{}).Head
	for _, id := range []string{"a", "b"} {
		t.sync(invalidation.Report{ID: id, Applied: head, Lease: time.Minute})
	}
	members, _, err := t.log.Members(t.Context())
	if err != nil || len(members) != 2 {
		t.Fatal(members, err)
	}
	time.Sleep(2 * time.Millisecond) // reports are told apart by their time
	t.sync(invalidation.Report{ID: "b", Applied: head, Lease: time.Minute})
	for _, m := range members {
		if err := t.log.Forget(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	if ids := t.members(); !slices.Equal(ids, []string{"b"}) {
		t.Errorf("the register is %v, want b, which has reported since", ids)
	}
}

func listen(t *bench) {
	ctx, cancel := context.WithCancel(t.Context())
	messages := make(chan invalidation.Message, 100)
	var listening sync.WaitGroup
	listening.Go(func() {
		if err := t.log.Listen(ctx, "me", func(m invalidation.Message) { messages <- m }); err != nil {
			t.Errorf("Listen: %v", err)
		}
	})
	defer listening.Wait()
	defer cancel()
	next := func(want func(invalidation.Message) bool) invalidation.Message {
		t.Helper()
		for {
			select {
			case m := <-messages:
				if want(m) {
					return m
				}
			case <-time.After(patience):
				t.Fatal("nothing was told")
			}
		}
	}
	next(func(m invalidation.Message) bool { return m == invalidation.Message{} })
	head := t.sync(invalidation.Report{}).Head
	r := t.append(record("//h/x y"))
	for told := false; !told; { // the first message may come before all is subscribed
		select {
		case m := <-messages:
			told = m.Record != nil && m.Record.Position == r.Position && m.Record.Selectors[0] == r.Selectors[0]
		case <-time.After(200 * time.Millisecond):
			r = t.append(record("//h/x y"))
		}
	}
	for _, who := range []string{"me", "another"} {
		t.sync(invalidation.Report{ID: "b" + who, Applied: r.Position, Lease: time.Minute, Tell: []string{who}})
	}
	m := next(func(m invalidation.Message) bool { return m.Report != nil })
	if m.Report.ID != "bme" || m.Report.Applied != r.Position {
		t.Errorf("%+v was told, at %v", m.Report, head)
	}
}

func pages(t *bench) {
	const records = 2500
	want := 0
	for want < records {
		t.append(record("//h/x"))
		want++
	}
	at := invalidation.Position{}
	rounds := 0
	for {
		rounds++
		s := t.sync(invalidation.Report{ID: "a", Applied: at, Lease: time.Minute})
		if at.Epoch != s.Head.Epoch {
			at = invalidation.Position{Epoch: s.Head.Epoch, Seq: s.Floor}
		}
		for _, r := range s.Records {
			if r.Seq != at.Seq+1 {
				t.Fatalf("record %d behind %d", r.Seq, at.Seq)
			}
			at.Seq = r.Seq
		}
		if s.Granted != (at == s.Head && rounds > 1) {
			t.Errorf("round %d: granted is %v at %v of %v", rounds, s.Granted, at, s.Head)
		}
		if at == s.Head {
			break
		}
	}
	if rounds < 2 {
		t.Errorf("all came in one answer")
	}
}
