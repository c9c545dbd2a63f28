package security

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/internal/badorigin"
)

// RFC 9110, 13.1.5: a part is of the representation whose other parts the client
// has, or the client gets the whole. It never gets parts of two.
func TestIfRangeAgainstAChangedObject(t *testing.T) {
	const first, second = "aaaaaaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbbbbbb"
	h := newHouse(t, "")
	version := func(body, tag, modified string) badorigin.Handler {
		return func(c *badorigin.Conn, r *badorigin.Request) {
			if r.Header.Get("If-None-Match") == tag {
				c.Respond(304, "", "ETag: "+tag, "Cache-Control: max-age=1")
				return
			}
			c.Respond(200, body, "ETag: "+tag, "Last-Modified: "+modified, "Cache-Control: max-age=1")
		}
	}
	h.origin.SetHandler(version(first, `"1"`, "Mon, 01 Jan 2024 00:00:00 GMT"))
	if a := h.ask(get("/changed")); a.body != first {
		t.Fatal(a)
	}
	h.origin.SetHandler(version(second, `"2"`, "Tue, 02 Jan 2024 00:00:00 GMT"))
	for round, fresh := range []bool{true, false} {
		if !fresh {
			time.Sleep(2100 * time.Millisecond) // lifetimes are whole seconds
		}
		for _, tt := range []struct{ validator, old string }{
			{`"1"`, first}, {`"2"`, second}, {`W/"1"`, ""}, {`W/"2"`, ""}, {"Mon, 01 Jan 2024 00:00:00 GMT", first}, {"Tue, 02 Jan 2024 00:00:00 GMT", second},
			{`"3"`, ""}, {"Mon, 01 Jan 2024 00:00:01 GMT", ""}, {"evil", ""},
		} {
			a := h.ask(get("/changed", "Range: bytes=5-9", "If-Range: "+tt.validator))
			switch a.status {
			case 206:
				if tt.old == "" || a.body != tt.old[5:10] || a.header.Get("Content-Range") != "bytes 5-9/20" {
					t.Errorf("round %d, If-Range %s: a part of another representation: %v", round, tt.validator, a)
				}
			case 200:
				if a.body != first && a.body != second || !fresh && a.body != second {
					t.Errorf("round %d, If-Range %s: %v", round, tt.validator, a)
				}
			default:
				t.Errorf("round %d, If-Range %s: %v", round, tt.validator, a)
			}
		}
	}
}

// A Range field costs no more than the object: however many ranges it asks for, and
// whatever its numbers are.
func TestRangeAbuse(t *testing.T) {
	const size = 100_000
	object := strings.Repeat("0123456789", size/10)
	h := newHouse(t, "")
	h.origin.SetHandler(func(c *badorigin.Conn, r *badorigin.Request) {
		if v := r.Header.Get("Range"); v != "" {
			t.Errorf("the origin was asked for %q", v)
		}
		c.Respond(200, object, "Cache-Control: max-age=3600", `ETag: "a"`)
	})
	list := func(n int, f func(i int) string) string {
		ranges := make([]string, n)
		for i := range ranges {
			ranges[i] = f(i)
		}
		return strings.Join(ranges, ",")
	}
	for name, ranges := range map[string]string{
		"a thousand of one byte":       list(1000, func(i int) string { return fmt.Sprintf("%d-%d", 2*i, 2*i) }),
		"a thousand times all":         list(1000, func(int) string { return "0-" }),
		"a thousand overlapping":       list(1000, func(i int) string { return fmt.Sprintf("%d-", i) }),
		"a thousand suffixes":          list(1000, func(i int) string { return fmt.Sprintf("-%d", size-i) }),
		"backwards":                    list(1000, func(i int) string { return fmt.Sprintf("%d-%d", size-2*i-1, size-2*i-1) }),
		"empty members":                strings.Repeat(",", 5000) + "0-0",
		"the end is 2^63":              "0-9223372036854775808",
		"the start is 2^63-1":          "9223372036854775807-",
		"the start is 2^64":            "18446744073709551616-18446744073709551617",
		"start and end overflow":       "18446744073709551615-18446744073709551616",
		"a suffix of 2^63":             "-9223372036854775808",
		"a suffix of 2^64+1":           "-18446744073709551617",
		"a suffix of 0":                "-0",
		"a negative start":             "--1",
		"a sign":                       "+1-+2",
		"the end before the start":     "5-4",
		"behind the end":               strconv.Itoa(size) + "-",
		"a length that wraps to small": "1-18446744073709551617",
		"hexadecimal":                  "0x1-0x2",
		"white space":                  " 0 - 1 ",
	} {
		t.Run(name, func(t *testing.T) {
			h.t = t
			for range 2 {
				a := h.ask(get("/object", "Range: bytes="+ranges))
				switch {
				case len(a.body) > size+size/10:
					t.Errorf("%d bytes of an object of %d", len(a.body), size)
				case a.status == 200 && a.body != object:
					t.Errorf("200 with %d bytes", len(a.body))
				case a.status == 206 && !strings.HasPrefix(a.header.Get("Content-Type"), "multipart/byteranges"):
					var from, to, of int
					if _, err := fmt.Sscanf(a.header.Get("Content-Range"), "bytes %d-%d/%d", &from, &to, &of); err != nil || of != size || to < from || to >= size || a.body != object[from:to+1] {
						t.Errorf("%v with %d bytes", a.header, len(a.body))
					}
				case a.status != 200 && a.status != 206 && a.status != 416:
					t.Errorf("%v", a)
				}
			}
			if a := h.ask(get("/object")); a.status != 200 || a.body != object || !a.hit() {
				t.Errorf("the innocent client got %d, %d bytes, %v", a.status, len(a.body), a.header)
			}
		})
	}
	h.seen(0, "GET /object")
}
