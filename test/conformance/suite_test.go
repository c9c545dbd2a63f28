package conformance

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// runLimit is for the whole suite. A run takes a minute; tests wait for whole
// seconds to go by.
const runLimit = 5 * time.Minute

// A suite is a checkout of the public HTTP cache test suite.
type suite struct {
	dir    string // holds tests/
	engine string // holds cli.mjs and server/, by version in dir or below it
	specs  []spec
}

// openSuite reads what the suite in dir tests.
func openSuite(t *testing.T, dir string) *suite {
	t.Helper()
	s := &suite{dir: dir, engine: dir}
	if newer := filepath.Join(dir, "test-engine"); isFile(filepath.Join(newer, "cli.mjs")) {
		s.engine = newer
	}
	if !isFile(filepath.Join(s.engine, "cli.mjs")) {
		t.Fatalf("%s is no checkout of the HTTP cache test suite: it has no cli.mjs", dir)
	}
	cmd := exec.Command("node", "--no-warnings", "list.mjs", dir)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("list the tests of %s: %v", dir, withStderr(err))
	}
	if err := json.Unmarshal(out, &s.specs); err != nil {
		t.Fatalf("list the tests of %s: %v", dir, err)
	}
	return s
}

// start starts the suite's origin server, which ends with the test, and returns
// its URL.
func (s *suite) start(t *testing.T) (url string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "node", "--no-warnings", mustAbs(t, "origin.mjs"), s.engine)
	cmd.Dir = s.dir
	cmd.Env = nodeEnv("npm_config_protocol=http", "npm_config_port=0", "npm_config_pidfile="+filepath.Join(t.TempDir(), "pid"))
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatalf("start the suite's origin: %v", err)
	}
	found := make(chan string, 1)
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		said := regexp.MustCompile(`^Listening on (http://127\.0\.0\.1:\d+)/`)
		scanner := bufio.NewScanner(stdout)
		for scanner.Scan() {
			if m := said.FindStringSubmatch(scanner.Text()); m != nil && len(found) == 0 {
				found <- m[1]
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-drained
		cmd.Wait() // killed, as it should be
	})
	select {
	case url = <-found:
		return url
	case <-drained:
		t.Fatal("the suite's origin ended before it listened")
	case <-time.After(30 * time.Second):
		t.Fatal("the suite's origin does not listen after 30s")
	}
	return ""
}

// run lets the suite's own client ask the proxy at base, and returns its report.
func (s *suite) run(t *testing.T, base string) map[string]result {
	t.Helper()
	if err := probe(base); err != nil {
		t.Fatalf("the proxy at %s does not show the suite's origin: %v", base, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), runLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "--no-warnings", filepath.Join(s.engine, "cli.mjs"))
	cmd.Dir = s.dir
	cmd.Env = nodeEnv("npm_config_base="+base, "npm_package_config_id=") // an empty id: all tests
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("the suite's client: %v", withStderr(err))
	}
	// The report is the last thing that the client prints.
	start := bytes.Index(append([]byte("\n"), out...), []byte("\n{"))
	if start < 0 {
		t.Fatalf("the suite's client printed no report:\n%s", out)
	}
	var results map[string]result
	if err := json.Unmarshal(out[start:], &results); err != nil {
		t.Fatalf("the report of the suite's client: %v", err)
	}
	return results
}

// probe asks through the proxy what every test of the suite builds on: a PUT,
// and a GET with the origin's own fields.
func probe(base string) error {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	id := fmt.Sprintf("probe-%d", time.Now().UnixNano())
	put, err := http.NewRequest(http.MethodPut, base+"/config/"+id, strings.NewReader(`[{"id":"probe"}]`))
	if err != nil {
		return err
	}
	put.Header.Set("Content-Type", "application/json")
	res, err := client.Do(put)
	if err != nil {
		return err
	}
	res.Body.Close()
	if res.StatusCode != http.StatusCreated {
		return fmt.Errorf("PUT: status %d, want 201", res.StatusCode)
	}
	get, err := http.NewRequest(http.MethodGet, base+"/test/"+id, nil)
	if err != nil {
		return err
	}
	get.Header.Set("Req-Num", "1")
	res, err = client.Do(get)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK || string(body) != id || res.Header.Get("Server-Request-Count") != "1" {
		return fmt.Errorf("GET: status %d, Server-Request-Count %q, body %q", res.StatusCode, res.Header.Get("Server-Request-Count"), body)
	}
	return nil
}

// nodeEnv is the environment without what would lead Node.js through another
// proxy or give the suite other settings.
func nodeEnv(more ...string) []string {
	var env []string
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(strings.ToLower(v), "=")
		if strings.HasPrefix(name, "npm_") || strings.HasPrefix(name, "node_") || strings.HasSuffix(name, "_proxy") {
			continue
		}
		env = append(env, v)
	}
	return append(env, more...)
}

func withStderr(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return fmt.Errorf("%w\n%s", err, exit.Stderr)
	}
	return err
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

func mustAbs(t *testing.T, path string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}
