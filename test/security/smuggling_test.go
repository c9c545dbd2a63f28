package security

import (
	"bufio"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/internal/badorigin"
)

// hidden is the request that an attacker hides.
const hidden = "GET /hidden HTTP/1.1\r\nHost: shop.example\r\n\r\n"

// smuggled are messages that two recipients read in two ways. In each, one reading
// has a request for /hidden in it.
var smuggled = []struct{ name, text string }{
	{"length and coding", "POST /front HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden},
	{"coding and length", "POST /front HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 49\r\n\r\n0\r\n\r\n" + hidden},
	{"two lengths", "POST /front HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 44\r\n\r\n" + hidden},
	{"a length twice", "POST /front HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n" + hidden},
	{"a list of lengths", "POST /front HTTP/1.1\r\nHost: a\r\nContent-Length: 0, 47\r\n\r\n" + hidden},
	{"a length with a sign", "POST /front HTTP/1.1\r\nHost: a\r\nContent-Length: +0\r\n\r\n" + hidden},
	{"a hexadecimal length", "POST /front HTTP/1.1\r\nHost: a\r\nContent-Length: 0x0\r\n\r\n" + hidden},
	{"a length that overflows", "POST /front HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n" + hidden},
	{"a length on a folded line", "POST /front HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n 0\r\n\r\n" + hidden},
	{"a space before the colon", "POST /front HTTP/1.1\r\nHost: a\r\nContent-Length : 47\r\n\r\n" + hidden},
	{"a name with a control byte", "POST /front HTTP/1.1\r\nHost: a\r\n\x0bContent-Length: 44\r\n\r\n" + hidden},
	{"a NUL in the name", "POST /front HTTP/1.1\r\nHost: a\r\nContent-Length\x00: 47\r\n\r\n" + hidden},
	{"junk coding", "POST /front HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + hidden},
	{"junk before the coding", "POST /front HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x, chunked\r\n\r\n0\r\n\r\n" + hidden},
	{"junk after the coding", "POST /front HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, x\r\n\r\n0\r\n\r\n" + hidden},
	{"coding in quotes", "POST /front HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n" + hidden},
	{"coding after a vertical tab", "POST /front HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\vchunked\r\n\r\n0\r\n\r\n" + hidden},
	{"coding on a folded line", "POST /front HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + hidden},
	{"two codings", "POST /front HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + hidden},
	{"coding and an underscore", "POST /front HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + hidden},
	{"coding after a bare CR", "POST /front HTTP/1.1\r\nHost: a\r\nX: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden},
	{"coding after a bare LF", "POST /front HTTP/1.1\r\nHost: a\r\nX: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden},
	{"coding in HTTP/1.0", "POST /front HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden},
	{"bare LF everywhere", "GET /front HTTP/1.1\nHost: a\n\n" + strings.ReplaceAll(hidden, "\r", "")},
	{"a bare LF ends the head", "GET /front HTTP/1.1\r\nHost: a\r\n\n" + hidden},
	{"CR CR LF", "GET /front HTTP/1.1\r\nHost: a\r\r\n\r\n" + hidden},
	{"a target with a line end", "GET /front\nX: HTTP/1.1\r\nHost: a\r\n\r\n" + hidden},
	{"a chunk size with a bare LF", "POST /front HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\n\r\n" + hidden},
	{"an extension with a bare LF", "POST /front HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;\nxx\r\n4c\r\n0\r\n\r\n" + hidden},
	{"an extension with a bare CR", "POST /front HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0;a\r\n\r\r\n\r\n" + hidden},
	{"a chunk size of 64 bits and one", "POST /front HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\n\r\n" + hidden},
	{"a chunk size with 0x", "POST /front HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n" + hidden},
	{"a chunk size with an underscore", "POST /front HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0_2c\r\n\r\n" + hidden},
	{"a negative chunk", "POST /front HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n" + hidden},
	{"a chunk that goes on", "POST /front HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n0\r\n\r\n" + hidden},
	{"a chunk that ends with two other bytes", "POST /front HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxXX0\r\n\r\n" + hidden},
	{"an oversize extension", "POST /front HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;" + strings.Repeat("a", 8<<10) + "\r\nx\r\n0\r\n\r\n" + hidden},
	{"many extensions", "POST /front HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1;"+strings.Repeat("a", 900)+"\r\nx\r\n", 30) + "0\r\n\r\n" + hidden},
	{"a trailer that frames", "POST /front HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 44\r\n\r\n" + hidden},
	{"two Host", "GET /front HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" + hidden},
	{"no Host", "GET /front HTTP/1.1\r\nX: y\r\n\r\n" + hidden},
	{"two spaces", "GET /front  HTTP/1.1\r\nHost: a\r\n\r\n" + hidden},
	{"another version", "GET /front HTTP/1.9\r\nHost: a\r\n\r\n" + hidden},
	{"HTTP/0.9", "GET /front\r\n\r\n" + hidden},
	{"HTTP/2 without its preface", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n" + hidden},
}

// What two recipients read in two ways is refused, nothing that comes after it is
// read, and the origin does not see a whole request of it.
func TestSmuggling(t *testing.T) {
	h := newHouse(t, "")
	secure, dialSecure := newSecureHouse(t)
	for _, tt := range smuggled {
		t.Run(tt.name, func(t *testing.T) {
			attack(t, h, h.dial, tt.text)
			attack(t, secure, dialSecure, tt.text)
		})
	}
	h.alive()
}

func attack(t *testing.T, h *house, dial func() net.Conn, text string) {
	before := len(h.origin.Requests())
	c := dial()
	answers, closed := h.exchange(c, text, patience/4)
	if !closed {
		t.Error("the connection is kept open")
	}
	if len(answers) > 1 || len(answers) == 1 && answers[0].status < 400 {
		t.Errorf("answers: %v", answers)
	}
	h.seen(before)
	c = dial()
	send(t, c, get("/innocent"))
	if a, err := readAnswer(bufio.NewReader(c), "GET"); err != nil || !strings.HasPrefix(a.body, "GET /innocent\n") {
		t.Errorf("the innocent client got %v, %v", a, err)
	}
}

// What comes before a request that is refused is answered; what comes after it is
// not read, wherever the bytes are split.
func TestPipelinedAfterAnError(t *testing.T) {
	h := newHouse(t, "")
	bad := "POST /bad HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
	for _, size := range []int{1, 17, 1 << 20} {
		before := len(h.origin.Requests())
		c := h.dial()
		go func() {
			for rest := get("/first?"+unique(t)+string(rune('a'+size%26))) + bad + hidden; rest != ""; {
				part := rest[:min(size, len(rest))]
				if _, err := c.Write([]byte(part)); err != nil {
					return // refused meanwhile
				}
				rest = rest[len(part):]
				time.Sleep(time.Millisecond / 2)
			}
		}()
		answers, closed := h.exchange(c, "", patience)
		if !closed || len(answers) != 2 || answers[0].status != 200 || answers[1].status != 400 {
			t.Errorf("%d bytes at a time: closed %v, %v", size, closed, answers)
		}
		if seen := h.targets(before); len(seen) != 1 || !strings.HasPrefix(seen[0], "GET /first") {
			t.Errorf("%d bytes at a time: the origin saw %q", size, seen)
		}
	}

	// After an early answer of ours the content that was announced is not taken for requests.
	for _, head := range []string{
		"POST /a\\b HTTP/1.1\r\nHost: a\r\nContent-Length: 44\r\n\r\n",  // 400, from the target
		"POST /front HTTP/1.1\r\nHost: ?\r\nContent-Length: 44\r\n\r\n", // 400, from the host
		"PURGE /front HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer x\r\nContent-Length: 44\r\n\r\n",
		"TRACE /front HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\nContent-Length: 44\r\n\r\n",
		"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\nContent-Length: 44\r\n\r\n",
		"POST /front HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\nContent-Length: 44\r\n\r\n",
		"POST /a\\b HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 44\r\n\r\n",
		"GET /a\\b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2c\r\n" + hidden + "\r\n0\r\n\r\n",
	} {
		before := len(h.origin.Requests())
		if !strings.Contains(head, "chunked") {
			head += hidden
		}
		answers, _ := h.exchange(h.dial(), head, silence)
		if len(answers) != 1 || answers[0].status < 400 {
			t.Errorf("%q: %v", head, answers)
		}
		h.seen(before)
	}
	h.alive()
}

// An early answer of the origin does not make what is left of the content a request.
func TestPipelinedAfterAnEarlyAnswer(t *testing.T) {
	h := newHouse(t, "")
	h.origin.SetHandler(func(c *badorigin.Conn, r *badorigin.Request) {
		if r.Method == "POST" {
			c.Respond(403, "no", "Connection: close")
			c.Close()
			return
		}
		mirror(c, r)
	})
	before := len(h.origin.Requests())
	answers, _ := h.exchange(h.dial(), "POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 44\r\n\r\n"+hidden+get("/second"), silence)
	if len(answers) == 0 || answers[0].status != 403 {
		t.Errorf("%v", answers)
	}
	for _, target := range h.targets(before) {
		if strings.Contains(target, "hidden") {
			t.Errorf("the origin saw %q", target)
		}
	}
}

// What may be read in one way only is passed on in one form: the origin sees one
// request with one length.
func TestForwardedInOneForm(t *testing.T) {
	h := newHouse(t, "")
	for _, tt := range []struct{ name, text string }{
		{"length", "POST /form HTTP/1.1\r\nHost: A:80\r\ncOnTeNt-LeNgTh:   5  \r\n\r\nhello"},
		{"chunks", "POST /form HTTP/1.1\r\nHost: a\r\ntRaNsFeR-eNcOdInG: cHuNkEd\r\n\r\n1;x=\"\r\nh\r\n04\r\nello\r\n0\r\n\r\n"},
		{"absolute form", "POST http://a/form HTTP/1.1\r\nHost: b\r\nContent-Length: 5\r\n\r\nhello"},
		{"HTTP/1.0", "POST /form HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := len(h.origin.Requests())
			h.ask(tt.text)
			seen := h.origin.Requests()[before:]
			if len(seen) != 1 || string(seen[0].Body) != "hello" || seen[0].Target != "/form" {
				t.Fatalf("the origin saw %d requests: %v", len(seen), seen)
			}
			head := strings.ToLower(string(seen[0].Raw))
			framing := strings.Count(head, "\r\ncontent-length: 5\r\n") + strings.Count(head, "\r\ntransfer-encoding: chunked\r\n")
			if framing != 1 || strings.Count(head, "content-length") > 1 || strings.Count(head, "\r\nhost: a\r\n") != 1 || strings.Count(head, "host") > 2 {
				t.Errorf("the origin saw %q", seen[0].Raw)
			}
		})
	}
}
