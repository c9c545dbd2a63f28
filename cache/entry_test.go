package cache

import (
	"bytes"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/rfc9111"
)

func TestHead(t *testing.T) {
	w := newWorld(t)
	tests := []struct {
		name   string
		header http.Header
		want   string
	}{
		{"none", http.Header{}, ""},
		{"sorted, lines of one name together and in order (RFC 9110, 5.3)",
			http.Header{"B": {"2", "1"}, "A": {"x"}}, "A: x\r\nB: 2\r\nB: 1\r\n"},
		{"what is made for each response stays out",
			http.Header{"Age": {"1"}, "Content-Length": {"3"}, "Content-Type": {"text/plain"}}, "Content-Type: text/plain\r\n"},
		{"CR, LF and NUL become spaces (RFC 9110, 5.5)",
			http.Header{"A": {"x\r\nSet-Cookie: evil", "\x00", "a\nb"}}, "A: x  Set-Cookie: evil\r\nA:  \r\nA: a b\r\n"},
		{"names that would break the form stay out",
			http.Header{"A\r\nB": {"1"}, "": {"2"}, "C:": {"3"}, "D E": {"4"}, "F": {"5"}}, "F: 5\r\n"},
		{"empty values stay", http.Header{"A": {""}}, "A: \r\n"},
		{"a name without values is none", http.Header{"A": nil}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e := w.Build(&Parts{Key: keyOf("http://h/"), Header: test.header})
			if got := string(e.Head()); got != test.want {
				t.Errorf("Head = %q, want %q", got, test.want)
			}
			var again strings.Builder
			for name, value := range e.Fields() {
				again.WriteString(name + ": " + value + "\r\n")
			}
			if again.String() != test.want {
				t.Errorf("Fields give %q, want %q", again.String(), test.want)
			}
		})
	}
}

// FuzzHead: whatever the fields are, the head is made of whole lines, and has a line for each value of a name that can be sent.
func FuzzHead(f *testing.F) {
	f.Add("Etag", `"x"`, "Cache-Control", "max-age=1")
	f.Add("A", "\r\nB: c", "A\r\n", "x")
	f.Add("", "", ":", ": \r\n")
	w := newWorld(f)
	f.Fuzz(func(t *testing.T, name1, value1, name2, value2 string) {
		h := http.Header{name1: {value1, value2}}
		h[name2] = append(h[name2], value2)
		want := map[string]int{}
		for name, values := range h {
			if kept(name) {
				want[name] = len(values)
			}
		}
		e := w.Build(&Parts{Key: keyOf("http://h/"), Header: h, Body: []byte("body")})
		got := map[string]int{}
		for name, value := range e.Fields() {
			if strings.ContainsAny(value, "\r\n\x00") {
				t.Errorf("value %q", value)
			}
			got[name]++
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("lines by name: %v, want %v", got, want)
		}
		if string(e.Body()) != "body" {
			t.Errorf("Body = %q", e.Body())
		}
	})
}

func TestEntryIsACopy(t *testing.T) {
	w := newWorld(t)
	p := w.parts(response{
		uri: "http://h/a", request: fields("Accept-Language: de"), sent: start, body: "body",
		header: fields("Cache-Control: max-age=60", "Vary: Accept-Language", `Etag: "x"`),
	})
	key := keyOf("http://h/a")
	p.Key.Text = bytes.Clone(p.Key.Text)
	e, _ := w.Store(p)

	clear(p.Key.Text)
	clear(p.URI)
	clear(p.Body)
	p.Header["Etag"][0] = "changed"
	p.Meta.Vary[0] = rfc9111.VaryField{Name: "Changed"}

	if !bytes.Equal(e.Key().Text, key.Text) || string(e.URI()) != "http://h/a" || string(e.Body()) != "body" ||
		e.Header().Get("Etag") != `"x"` || e.Meta().Vary[0] != (rfc9111.VaryField{Name: "Accept-Language", Value: "de", Present: true}) {
		t.Errorf("the entry changed with what it was made of: %+v, head %q", e, e.Head())
	}
	w.wantBody(w.find("http://h/a", start, "Accept-Language: de"), "body")

	// Slices of one block must not grow into each other.
	for name, part := range map[string][]byte{"Key": e.Key().Text, "URI": e.URI(), "Head": e.Head(), "Body": e.Body()} {
		if len(part) != cap(part) {
			t.Errorf("%s has room for %d bytes that are not its own", name, cap(part)-len(part))
		}
	}
}

func TestMarkIsACopy(t *testing.T) {
	w := newWorld(t)
	key := keyOf("http://h/a")
	key.Text = bytes.Clone(key.Text)
	w.MarkUncacheable(key, start.Add(time.Minute), rfc9111.ReasonNoStore)
	clear(key.Text)
	if o := w.find("http://h/a", start); !o.Uncacheable {
		t.Error("the mark was lost with the buffer of the key")
	}
}

func TestBodyIsCopiedUpToALimit(t *testing.T) {
	w := newWorld(t)
	for _, test := range []struct {
		size   int
		copied bool
	}{{0, true}, {1, true}, {inlineBody, true}, {inlineBody + 1, false}} {
		body := bytes.Repeat([]byte("x"), test.size)
		e := w.Build(&Parts{Key: keyOf("http://h/"), Header: http.Header{}, Body: body})
		if !bytes.Equal(e.Body(), body) {
			t.Errorf("%d bytes: another body", test.size)
		}
		clear(body)
		if copied := test.size == 0 || e.Body()[0] == 'x'; copied != test.copied {
			t.Errorf("%d bytes: copied = %v, want %v", test.size, copied, test.copied)
		}
	}
}

func TestHeaderOfEntry(t *testing.T) {
	w := newWorld(t)
	tests := []struct {
		name   string
		status int
		flags  rfc9111.Flags
		body   string
		want   string
	}{
		{"a complete response", 200, 0, "abc", "3"},
		{"an empty one", 200, 0, "", "0"},
		{"204 has no Content-Length (RFC 9110, 8.6)", 204, 0, "", ""},
		{"a part's would be that of the part", 206, rfc9111.Partial, "abc", ""},
	}
	for _, test := range tests {
		e := w.Build(&Parts{
			Key: keyOf("http://h/"), Header: fields("A: 1", "A: 2"), Body: []byte(test.body), Part: Part{Complete: 10},
			Meta: rfc9111.Meta{Status: test.status, Flags: test.flags},
		})
		h := e.Header()
		if got := h.Get("Content-Length"); got != test.want {
			t.Errorf("%s: Content-Length %q, want %q", test.name, got, test.want)
		}
		if got := fmt.Sprint(h["A"]); got != "[1 2]" {
			t.Errorf("%s: A = %s", test.name, got)
		}
	}
}

// TestCostIsHonest compares what the entries claim with what the heap grows by. Too little would break the memory's bound, much too
// much would waste what the operator gave.
func TestCostIsHonest(t *testing.T) {
	const n = 20_000
	shapes := []struct {
		name     string
		variants int
		vary     bool
		body     int
		header   []string
	}{
		{"1 KiB each", 1, false, 1024, nil},
		{"empty", 1, false, 0, nil},
		{"1 KiB in 8 variants", 8, true, 1024, nil},
		{"larger than is copied", 1, false, inlineBody + 100, nil},
		{"with validators that are not in the head", 1, false, 100, []string{`Cache-Control: max-age=60, no-cache="etag"`}},
	}
	for _, shape := range shapes {
		t.Run(shape.name, func(t *testing.T) {
			n := n / 4
			switch {
			case shape.body > inlineBody:
				n = 500
			case shape.body == 1024 && shape.variants == 1:
				n *= 4
			}
			w := newWorldOf(t, Options{MaxBytes: 1 << 30, MaxVariants: 32})
			before := heap()
			for i := range n {
				header := append([]string{
					"Cache-Control: max-age=600", "Content-Type: text/html; charset=utf-8", fmt.Sprintf(`Etag: "%032d"`, i),
					"Date: Tue, 24 Nov 2026 12:00:00 GMT", "Server: origin/1.0",
				}, shape.header...)
				request := fmt.Sprintf("X-Variant: %d", i%shape.variants)
				if shape.vary {
					header = append(header, "Vary: X-Variant")
				}
				w.keep(response{
					uri: fmt.Sprintf("http://www.example.com/products/%d", i/shape.variants), request: fields(request), sent: start,
					header: fields(header...), body: strings.Repeat("x", shape.body),
				})
			}
			grown := heap() - before
			claimed := w.Stats().Memory.Bytes
			runtime.KeepAlive(w)
			ratio := float64(grown) / float64(claimed)
			t.Logf("the heap grew by %d bytes per entry, %d are claimed: %.2f", grown/int64(n), claimed/int64(n), ratio)
			if ratio > 1.15 || ratio < 0.8 { // the memory tier's tables double, so it can only reckon with their mean
				t.Errorf("the heap grew by %.2f of what is claimed, want 0.8 to 1.15", ratio)
			}
		})
	}
}

// TestOriginsMemoryIsLetGo: HTTP libraries cut field values out of larger strings. None of that may live as long as the entry does.
func TestOriginsMemoryIsLetGo(t *testing.T) {
	const n, large = 200, 256 << 10
	w := newWorld(t)
	before := heap()
	for i := range n {
		lines := []string{
			fmt.Sprintf(`"%d"`, i), "Tue, 24 Nov 2026 11:00:00 GMT", "X-Odd", "german", `max-age=60, no-cache="Last-Modified, Etag"`,
		}
		section := strings.Join(append(lines, strings.Repeat("x", large)), "\n")
		values := strings.Split(section, "\n")
		w.keep(response{
			uri: fmt.Sprintf("http://h/%d", i), request: http.Header{"X-Odd": {values[3]}}, sent: start, body: "x",
			header: http.Header{"Etag": {values[0]}, "Last-Modified": {values[1]}, "Vary": {values[2]}, "Cache-Control": {values[4]}},
		})
	}
	if grown := heap() - before; grown > n*large/8 {
		t.Errorf("the heap grew by %d bytes per entry, though an entry is small", grown/n)
	}
	runtime.KeepAlive(w)
}

// TestRemovedMemoryIsLetGo: what stays under a key must not hold the memory of what went.
func TestRemovedMemoryIsLetGo(t *testing.T) {
	const n, large = 200, inlineBody
	w := newWorld(t)
	before := heap()
	for i := range n {
		uri := fmt.Sprintf("http://h/%d", i)
		h := fields("Cache-Control: max-age=60", "Vary: X")
		if i%2 == 0 {
			w.keep(response{uri: uri, request: fields("X: 1"), sent: start, header: h, body: "x"})
		}
		e := w.keep(response{uri: uri, request: fields("X: 2"), sent: start, header: h, body: strings.Repeat("x", large)})
		w.MarkUncacheable(keyOf(uri), start.Add(time.Minute), rfc9111.ReasonNoStore)
		w.Remove(e)
	}
	if grown := heap() - before; grown > n*large/8 {
		t.Errorf("the heap grew by %d bytes per key, though little is stored", grown/n)
	}
	runtime.KeepAlive(w)
}
