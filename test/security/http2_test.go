package security

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/cacheproxy/cacheproxy/internal/badorigin"
)

// An attacker writes frames of HTTP/2, right or wrong.
type attacker struct {
	t     *testing.T
	conn  net.Conn
	frame *http2.Framer
	block bytes.Buffer
	hpack *hpack.Encoder
}

// newAttacker opens a connection with prior knowledge.
func newAttacker(t *testing.T, h *house, settings ...http2.Setting) *attacker {
	t.Helper()
	a := &attacker{t: t, conn: h.dial()}
	send(t, a.conn, http2.ClientPreface)
	a.frame = http2.NewFramer(a.conn, bufio.NewReader(a.conn))
	a.frame.AllowIllegalWrites = true
	a.frame.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	a.hpack = hpack.NewEncoder(&a.block)
	if err := a.frame.WriteSettings(settings...); err != nil {
		t.Fatal(err)
	}
	return a
}

// encode makes a header block of pairs of a name and a value.
func (a *attacker) encode(pairs ...string) []byte {
	a.block.Reset()
	for i := 0; i < len(pairs); i += 2 {
		if err := a.hpack.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]}); err != nil {
			a.t.Fatal(err)
		}
	}
	return a.block.Bytes()
}

func plain(path string, more ...string) []string {
	return append([]string{":method", "GET", ":scheme", "http", ":authority", "shop.example", ":path", path}, more...)
}

// await reads frames until one is the end of the stream, a reset of it or the end
// of the connection, and says which, with the status and the content that came.
func (a *attacker) await(stream uint32) (end, status, body string) {
	for {
		f, err := a.frame.ReadFrame()
		if err != nil {
			return "connection", status, body
		}
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			if f.StreamID == stream {
				status = f.PseudoValue("status")
			}
		case *http2.DataFrame:
			if f.StreamID == stream {
				body += string(f.Data())
			}
		case *http2.RSTStreamFrame:
			if f.StreamID == stream {
				return "reset", status, body
			}
			continue
		case *http2.GoAwayFrame:
			if f.ErrCode != http2.ErrCodeNo {
				return "connection", status, body
			}
			continue
		default:
			continue
		}
		if h := f.Header(); h.StreamID == stream && h.Flags.Has(http2.FlagDataEndStream) {
			return "stream", status, body
		}
	}
}

// figure reads a metric without labels.
func (h *house) figure(name string) float64 {
	h.t.Helper()
	res, err := http.Get(h.proxy.Admin + "/metrics")
	if err != nil {
		h.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			value, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			if err != nil {
				h.t.Fatal(err)
			}
			return value
		}
	}
	h.t.Fatalf("no metric %s", name)
	return 0
}

const residentMemory = "process_resident_memory_bytes"

// CVE-2023-44487: requests that are cancelled as soon as they are made, 10,000 of
// them. They must not become more fetches at once than are allowed.
func TestRapidReset(t *testing.T) {
	const allowed = 16
	h := newHouse(t, fmt.Sprintf("limits: { concurrent_fetches: %d }\n", allowed))
	var now, most atomic.Int64
	h.origin.SetHandler(func(c *badorigin.Conn, r *badorigin.Request) {
		n := now.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		time.Sleep(time.Millisecond)
		now.Add(-1)
		mirror(c, r)
	})
	h.innocent(get("/warm"))
	before := h.figure(residentMemory)

	a := newAttacker(t, h)
	go io.Copy(io.Discard, a.conn)
	sent := 0
	for ; sent < 10_000; sent++ {
		id := uint32(2*sent + 1)
		block := a.encode(plain(fmt.Sprintf("/reset/%d", sent))...)
		if a.frame.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndStream: true, EndHeaders: true}) != nil ||
			a.frame.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
			break // the proxy has had enough
		}
		if sent == 1000 {
			if a := h.innocent(get("/warm")); !a.hit() {
				t.Errorf("during the flood: %v", a)
			}
		}
	}
	h.innocent(get("/warm"))
	// What was sent is still being read, and its fetches may take all places. Whoever
	// comes back when told to, in a second, finds room soon.
	for tries := 0; tries < 5 && h.ask(get(fmt.Sprintf("/after/%d", tries))).status == http.StatusServiceUnavailable; tries++ {
		time.Sleep(time.Second)
	}
	a.conn.Close()
	for end := time.Now().Add(patience); h.figure("cacheproxy_fetches_in_flight") > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the fetches of the flood do not end")
		}
	}
	h.alive()
	t.Logf("%d streams were reset; the origin saw %d requests, at most %d at once", sent, h.origin.Count("")-2, most.Load())
	if most.Load() > allowed {
		t.Errorf("%d fetches at once, %d are allowed", most.Load(), allowed)
	}
	if grown := h.figure(residentMemory) - before; grown > 200<<20 {
		t.Errorf("memory has grown by %.0f MiB", grown/(1<<20))
	}
}

// CVE-2023-45288: a header section without end. It must not be read for ever.
func TestContinuationFlood(t *testing.T) {
	h := newHouse(t, "")
	before := len(h.origin.Requests())
	a := newAttacker(t, h)
	go io.Copy(io.Discard, a.conn)
	block := a.encode(plain("/endless", "x", strings.Repeat("v", 8000))...)
	if err := a.frame.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block}); err != nil {
		t.Fatal(err)
	}
	sent := 0
	for deadline := time.Now().Add(patience); ; sent += len(block) {
		block = a.encode("x", strings.Repeat(string(rune('a'+sent%26)), 8000))
		if err := a.frame.WriteContinuation(1, false, block); err != nil {
			break
		}
		if sent > 64<<20 || time.Now().After(deadline) {
			t.Fatalf("after %d bytes the proxy still reads", sent)
		}
	}
	t.Logf("the connection was closed after some %d KiB", sent>>10)
	h.seen(before)
	h.alive()
}

// A client that opens no window takes nothing of what it asks for. The answers
// must not be kept for it.
func TestZeroWindow(t *testing.T) {
	h := newHouse(t, "")
	const size = 4 << 20
	h.origin.SetHandler(badorigin.OK(strings.Repeat("x", size), "Cache-Control: max-age=3600"))
	if a := h.ask(get("/big")); len(a.body) != size {
		t.Fatalf("%d bytes", len(a.body))
	}
	before := h.figure(residentMemory)
	for range 4 {
		a := newAttacker(t, h, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
		for i := range 200 {
			block := a.encode(plain("/big")...)
			if err := a.frame.WriteHeaders(http2.HeadersFrameParam{StreamID: uint32(2*i + 1), BlockFragment: block, EndStream: true, EndHeaders: true}); err != nil {
				t.Fatal(err)
			}
		}
		go io.Copy(io.Discard, a.conn)
	}
	for range 10 {
		if a := h.ask(get("/big")); len(a.body) != size || !a.hit() {
			t.Fatalf("the innocent client got %d bytes", len(a.body))
		}
	}
	if grown := h.figure(residentMemory) - before; grown > 100<<20 {
		t.Errorf("800 answers of 4 MiB that nobody takes: memory has grown by %.0f MiB", grown/(1<<20))
	}
	h.seen(0, "GET /big")
}

// CVE-2019-9512, 9515: frames that ask for an answer, from one who reads none.
func TestPingAndSettingsFlood(t *testing.T) {
	for name, write := range map[string]func(*http2.Framer) error{
		"ping":     func(f *http2.Framer) error { return f.WritePing(false, [8]byte{}) },
		"settings": func(f *http2.Framer) error { return f.WriteSettings() },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, "")
			h.alive()
			before := h.figure(residentMemory)
			a := newAttacker(t, h)
			a.conn.SetWriteDeadline(time.Now().Add(2 * time.Second))
			n := 0
			for ; n < 1_000_000 && write(a.frame) == nil; n++ {
			}
			h.alive()
			if grown := h.figure(residentMemory) - before; grown > 50<<20 {
				t.Errorf("after %d frames memory has grown by %.0f MiB", n, grown/(1<<20))
			}
		})
	}
}

// A request of HTTP/2 that would say something else in HTTP/1 does not get there.
func TestHTTP2Downgrade(t *testing.T) {
	h := newHouse(t, "")
	post := func(more ...string) []string {
		return append([]string{":method", "POST", ":scheme", "http", ":authority", "shop.example", ":path", "/front"}, more...)
	}
	with := func(name, value string) []string { // another pseudo-header field
		pairs := post()
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				pairs[i+1] = value
			}
		}
		return pairs
	}
	for _, tt := range []struct {
		name  string
		pairs []string
		body  string
	}{
		{"a length that is shorter than the content", post("content-length", "0"), hidden},
		{"a length that is longer", post("content-length", "100"), "x"},
		{"two lengths", post("content-length", "44", "content-length", "0"), hidden},
		{"transfer coding", post("transfer-encoding", "chunked"), "0\r\n\r\n" + hidden},
		{"connection", post("connection", "transfer-encoding"), hidden},
		{"a line end in a value", post("x", "y\r\nTransfer-Encoding: chunked"), "0\r\n\r\n" + hidden},
		{"a bare LF in a value", post("x", "y\nTransfer-Encoding: chunked"), "0\r\n\r\n" + hidden},
		{"a line end in a name", post("x: y\r\ntransfer-encoding", "chunked"), "0\r\n\r\n" + hidden},
		{"a colon in a name", post("transfer-encoding: chunked\r\nx", "y"), "0\r\n\r\n" + hidden},
		{"a name in upper case", post("Transfer-Encoding", "chunked"), "0\r\n\r\n" + hidden},
		{"a line end in the path", with(":path", "/front HTTP/1.1\r\nHost: a\r\n\r\n"+hidden), ""},
		{"a space in the path", with(":path", "/front HTTP/1.1"), ""},
		{"a line end in the method", with(":method", "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\nPOST"), ""},
		{"a line end in the authority", with(":authority", "a\r\nTransfer-Encoding: chunked"), "0\r\n\r\n" + hidden},
		{"a path in the authority", with(":authority", "a/hidden?"), ""},
		{"a line end in the scheme", with(":scheme", "http://a/hidden HTTP/1.1\r\nX: "), ""},
		{"two paths", post(":path", "/hidden"), ""},
		{"a pseudo field after others", append(post("x", "y"), ":path", "/hidden"), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := len(h.origin.Requests())
			a := newAttacker(t, h)
			block := a.encode(tt.pairs...)
			if err := a.frame.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block, EndStream: tt.body == "", EndHeaders: true}); err != nil {
				t.Fatal(err)
			}
			if tt.body != "" {
				if err := a.frame.WriteData(1, true, []byte(tt.body)); err != nil {
					t.Fatal(err)
				}
			}
			end, status, body := a.await(1)
			for _, r := range h.origin.Requests()[before:] {
				if r.Path != "/front" && r.Path != "/front%20HTTP/1.1" || strings.Contains(string(r.Raw), "hidden") || r.Header.Get("Transfer-Encoding") != "" && r.Header.Get("Content-Length") != "" {
					t.Errorf("%s %s %q: the origin saw %q", end, status, body, r.Raw)
				}
			}
			h.innocent(get("/innocent"), "hidden")
		})
	}

	// Of two names of the host one counts, for the key and for the origin.
	a := newAttacker(t, h)
	block := a.encode(plain("/two-hosts", "host", "evil.example")...)
	if err := a.frame.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block, EndStream: true, EndHeaders: true}); err != nil {
		t.Fatal(err)
	}
	if _, _, body := a.await(1); strings.Contains(body, "evil") {
		t.Errorf("the origin saw %q", body)
	}
	h.innocent(get("/two-hosts"), "evil")
}
