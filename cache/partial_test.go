package cache

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/rfc9111"
)

const whole = "0123456789"

// partOf is the bytes first to last of whole.
func partOf(first, last int, more ...string) response {
	return response{
		uri: uri, sent: start, status: 206, body: whole[first : last+1], part: Part{int64(first), 10},
		header: fields(append(more, "Cache-Control: max-age=60", fmt.Sprintf("Content-Range: bytes %d-%d/10", first, last))...),
	}
}

func unsized(r response) response {
	r.part.Complete = -1
	return r
}

func TestCombine(t *testing.T) {
	a, b, weak := `Etag: "a"`, `Etag: "b"`, `Etag: W/"a"`
	tests := []struct {
		name     string
		old, new response
		ok       bool
		body     string
		rng      string // Content-Range of the result; "" where it is complete
	}{
		{"one after the other make the whole (3.4)", partOf(0, 4, a), partOf(5, 9, a), true, whole, ""},
		{"in the other order", partOf(5, 9, a), partOf(0, 4, a), true, whole, ""},
		{"overlapping", partOf(0, 6, a), partOf(3, 9, a), true, whole, ""},
		{"a longer part", partOf(2, 4, a), partOf(5, 7, a), true, "234567", "bytes 2-7/10"},
		{"one within the other", partOf(2, 7, a), partOf(3, 4, a), true, "234567", "bytes 2-7/10"},
		{"a gap", partOf(0, 3, a), partOf(5, 9, a), false, "", ""},
		{"another entity tag", partOf(0, 4, a), partOf(5, 9, b), false, "", ""},
		{"weak entity tags", partOf(0, 4, weak), partOf(5, 9, weak), false, "", ""},
		{"no validators", partOf(0, 4), partOf(5, 9), false, "", ""},
		{"strong dates (RFC 9110, 8.8.2.2)", partOf(0, 4, modified), partOf(5, 9, modified), true, whole, ""},
		{"an unknown length becomes known", unsized(partOf(0, 4, a)), partOf(5, 9, a), true, whole, ""},
		{"an unknown length stays so", unsized(partOf(0, 4, a)), unsized(partOf(5, 9, a)), true, whole, "bytes 0-9/*"},
		{"another length", partOf(0, 4, a), func() response { r := partOf(5, 9, a); r.part.Complete = 11; return r }(), false, "", ""},
		{"more than there is", partOf(0, 4, a), func() response { r := partOf(5, 9, a); r.body += "x"; return r }(), false, "", ""},
		{"a part and a whole", partOf(0, 4, a), response{uri: uri, sent: start, body: whole, header: fields(a)}, false, "", ""},
		{"a whole and a part", response{uri: uri, sent: start, body: whole, header: fields(a)}, partOf(0, 4, a), false, "", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			test.old.header["Foo"], test.old.header["Bar"] = []string{"old"}, []string{"old"}
			test.new.header["Foo"] = []string{"new"}
			test.new.sent = start.Add(time.Second)
			old, p := w.Build(w.parts(test.old)), w.parts(test.new)
			joined, ok := old.Combine(p)
			if ok != test.ok {
				t.Fatalf("Combine = %v, want %v", ok, test.ok)
			}
			if !ok {
				return
			}
			if string(joined.Body) != test.body || joined.Header.Get("Content-Range") != test.rng {
				t.Errorf("%q, Content-Range %q, want %q, %q", joined.Body, joined.Header.Get("Content-Range"), test.body, test.rng)
			}
			status, partial := 206, true
			if test.rng == "" {
				status, partial = 200, false
			}
			if joined.Meta.Status != status || (joined.Meta.Flags&rfc9111.Partial != 0) != partial || !partial && joined.Part != (Part{}) {
				t.Errorf("status %d, flags %v, part %+v", joined.Meta.Status, joined.Meta.Flags, joined.Part)
			}
			if foo, bar := joined.Header.Get("Foo"), joined.Header.Get("Bar"); foo != "new" || bar != "old" {
				t.Errorf("Foo %q, Bar %q, want new and old", foo, bar)
			}
			if old.IsPartial() && (string(old.Body()) != test.old.body || p.Meta.Flags&rfc9111.Partial == 0 || p.Header.Get("Content-Range") == "") {
				t.Error("Combine changed what it was given")
			}
			w.Store(joined)
			q := w.query(uri, start.Add(time.Second))
			q.Range = "bytes=2-4"
			if d := w.Find(q).Decision; test.rng != "bytes 0-9/*" && d.Action != rfc9111.Serve {
				t.Errorf("a range of it: %+v", d)
			}
		})
	}
}

// FuzzJoin: what is laid together has each byte where the pieces have it, and b's where both have one.
func FuzzJoin(f *testing.F) {
	f.Add(uint8(0), []byte("abc"), uint8(3), []byte("de"))
	f.Add(uint8(2), []byte("abc"), uint8(0), []byte("xyz"))
	f.Add(uint8(0), []byte("a"), uint8(2), []byte("b"))
	f.Add(uint8(9), []byte(""), uint8(9), []byte("b"))
	f.Fuzz(func(t *testing.T, aFirst uint8, a []byte, bFirst uint8, b []byte) {
		first, joined, ok := join(int64(aFirst), a, int64(bFirst), b)
		var at [1024]int // the byte wanted at each place, plus one
		lay := func(first uint8, piece []byte) {
			for i, c := range piece {
				if int(first)+i < len(at) {
					at[int(first)+i] = int(c) + 1
				}
			}
		}
		lay(aFirst, a)
		lay(bFirst, b)
		if !ok {
			if int(bFirst) <= int(aFirst)+len(a) && int(aFirst) <= int(bFirst)+len(b) {
				t.Error("refused, though there is no gap")
			}
			return
		}
		for i, c := range joined {
			if place := int(first) + i; place < len(at) && at[place] != int(c)+1 {
				t.Errorf("byte %d is %d, want %d", place, c, at[place]-1)
			}
		}
	})
}

func TestMissing(t *testing.T) {
	w := newWorld(t)
	tests := []struct {
		name        string
		r           response
		first, last int64
		ok          bool
	}{
		{"the end", partOf(0, 3), 4, -1, true},
		{"the beginning", partOf(4, 9), 0, 3, true},
		{"both", partOf(4, 8), 0, 0, false},
		{"nothing", partOf(0, 9), 0, 0, false},
		{"perhaps nothing", unsized(partOf(0, 3)), 0, 0, false},
		{"a complete response", response{uri: uri, sent: start, body: whole}, 0, 0, false},
	}
	for _, test := range tests {
		first, last, ok := w.Build(w.parts(test.r)).Missing()
		if first != test.first || last != test.last || ok != test.ok {
			t.Errorf("%s: Missing = %d, %d, %v, want %d, %d, %v", test.name, first, last, ok, test.first, test.last, test.ok)
		}
	}
}

// TestWholePart: a 206 that holds everything is a complete response (RFC 9110, 15.3.7.3).
func TestWholePart(t *testing.T) {
	w := newWorld(t)
	p := w.parts(partOf(0, 9, `Etag: "a"`))
	if _, stored := w.Store(p); !stored {
		t.Fatal("not stored")
	}
	o := w.find(uri, start)
	if o.Decision.Action != rfc9111.Serve || o.Entry.Meta().Status != 200 || o.Entry.IsPartial() || bytes.Contains(o.Entry.Head(), []byte("Content-Range")) {
		t.Errorf("decision %+v, status %d, head %q", o.Decision, o.Entry.Meta().Status, o.Entry.Head())
	}
	if p.Header.Get("Content-Range") == "" {
		t.Error("Store changed the header that it was given")
	}
}
