package front_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/test/process"
)

// TestEncodedByDefault: without any configuration pages are encoded, a client that shares no code with us reads them, and the
// figures tell of it.
func TestEncodedByDefault(t *testing.T) {
	var page strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&page, "<li>item %d of a long list</li>\n", i)
	}
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Accept-Encoding"); got != "identity" {
			t.Errorf("the origin was asked for %q", got)
		}
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Cache-Control", "max-age=60")
		io.WriteString(w, page.String())
	}))
	defer origin.Close()
	p := process.Serve(t, process.Options{}, "--upstream", origin.URL)
	const size = "%{size_download}"
	curl := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("curl", append([]string{"-sS", "--max-time", "10", p.URL + "/"}, args...)...).Output()
		if err != nil {
			t.Fatalf("curl %v: %v", args, err)
		}
		return string(out)
	}
	if got := curl("--compressed"); got != page.String() {
		t.Errorf("the miss: %.80q", got)
	}
	curl("-H", "Accept-Encoding: gzip")
	for end := time.Now().Add(20 * time.Second); !strings.Contains(metric(t, p, "gzip", "stored"), " 1"); {
		if time.Now().After(end) {
			t.Fatalf("no form was made: %s", metric(t, p, "gzip", "stored"))
		}
		time.Sleep(10 * time.Millisecond)
	}
	if got := curl("--compressed", "-H", "Accept-Encoding: gzip"); got != page.String() {
		t.Errorf("decoded by curl: %.80q", got)
	}
	var n int
	if _, err := fmt.Sscan(curl("-o", "/dev/null", "-w", size, "-H", "Accept-Encoding: gzip"), &n); err != nil || n == 0 || n > page.Len()/4 {
		t.Errorf("%d bytes came over the wire of %d: %v", n, page.Len(), err)
	}
	p.Stop()
}

// metric returns the line of cacheproxy_encodings_total with the labels.
func metric(t *testing.T, p *process.Process, coding, result string) string {
	t.Helper()
	resp, err := http.Get(p.Admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), fmt.Sprintf("cacheproxy_encodings_total{coding=%q,result=%q}", coding, result)) {
			return lines.Text()
		}
	}
	return ""
}
