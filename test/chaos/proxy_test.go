package chaos

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/test/process"
)

// A subject is a proxy in front of the five targets.
type subject struct {
	name string
	url  string
	// in tells for each target whether the proxy sends requests to it.
	in func() ([]bool, error)
}

// Both proxies wait as long, try as often, and check as often. HAProxy puts a
// server out by failed checks, or by five errors in a row (error-limit), and takes
// it in by a check; cacheproxy does likewise.
const (
	connectTimeout = time.Second
	headTimeout    = time.Second
	checkEvery     = 500 * time.Millisecond
)

const cacheproxyConfig = `
upstreams:
  shop:
    targets:
%s    timeout: { connect: %v, response_header: %v }
    retries: 2
    health: { path: /healthz, interval: %v, timeout: %v, unhealthy_after: 2, healthy_after: 1 }
    breaker: { failures: 5, open_for: 1s }
`

// startCacheproxy runs the built binary. checks says whether it has health checks.
func startCacheproxy(t *testing.T, addrs []string, checks bool) subject {
	var targets strings.Builder
	for _, a := range addrs {
		fmt.Fprintf(&targets, "      - url: http://%s\n", a)
	}
	text := fmt.Sprintf(cacheproxyConfig, &targets, connectTimeout, headTimeout, checkEvery, headTimeout)
	if !checks {
		text = strings.Replace(text, "path: /healthz, ", "", 1)
	}
	file := filepath.Join(t.TempDir(), "cacheproxy.yaml")
	if err := os.WriteFile(file, []byte(text+"log: { access: false }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := process.Serve(t, process.Options{}, "--config", file)
	t.Cleanup(func() { t.Logf("the end of its log:\n%s", p.Output()) })
	name := "cacheproxy"
	if !checks {
		name += " without checks"
	}
	return subject{name, p.URL, func() ([]bool, error) { return cacheproxyStates(p.Admin) }}
}

func cacheproxyStates(admin string) (in []bool, err error) {
	res, err := http.Get(admin + "/v1/upstreams")
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	var page struct {
		Items []struct{ Targets []struct{ State string } }
	}
	if err := json.NewDecoder(res.Body).Decode(&page); err != nil {
		return nil, err
	}
	if len(page.Items) != 1 {
		return nil, fmt.Errorf("%d upstreams, want 1", len(page.Items))
	}
	for _, target := range page.Items[0].Targets {
		in = append(in, target.State == "healthy")
	}
	return in, nil
}

const haproxyConfig = `
global
    maxconn 2000
defaults
    mode http
    timeout client 30s
    timeout connect %[1]dms
    timeout server %[2]dms
    timeout check %[2]dms
    timeout queue %[1]dms
    retries 2
    option redispatch 1
    retry-on conn-failure empty-response junk-response response-timeout 502 503 504
    http-reuse safe
frontend main
    bind %[3]s
    default_backend shop
frontend stats
    bind %[4]s
    stats enable
    stats uri /stats
backend shop
    balance roundrobin
    option httpchk GET /healthz
    option http-buffer-request
    http-request disable-l7-retry if METH_POST
    default-server check inter %[5]dms fall 2 rise 1 observe layer7 error-limit 5 on-error mark-down
%[6]s`

// startHAProxy runs Debian's HAProxy.
func startHAProxy(t *testing.T, addrs []string) subject {
	var servers strings.Builder
	for i, a := range addrs {
		fmt.Fprintf(&servers, "    server s%d %s\n", i, a)
	}
	at := process.FreeAddrs(t, 2)
	text := fmt.Sprintf(haproxyConfig, connectTimeout.Milliseconds(), headTimeout.Milliseconds(), at[0], at[1], checkEvery.Milliseconds(), &servers)
	file := filepath.Join(t.TempDir(), "haproxy.cfg")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("haproxy", "-db", "-f", file)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill() // it may have ended
		cmd.Wait()         // its error says that it was killed
		t.Logf("haproxy says:\n%s", &out)
	})
	stats := "http://" + at[1] + "/stats;csv"
	await(t, "HAProxy answers", func() bool { _, err := haproxyStates(stats); return err == nil })
	return subject{"HAProxy", "http://" + at[0], func() ([]bool, error) { return haproxyStates(stats) }}
}

func haproxyStates(url string) (in []bool, err error) {
	res, err := http.Get(url)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	rows, err := csv.NewReader(res.Body).ReadAll()
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		// pxname, svname, ..., status is the 18th
		if row[0] == "shop" && row[1] != "BACKEND" {
			in = append(in, strings.HasPrefix(row[17], "UP") || row[17] == "no check")
		}
	}
	return in, nil
}

// await polls until ok, and fails the test where that does not come.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}
