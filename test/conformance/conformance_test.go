// Package conformance asks the built binary what the public HTTP cache test
// suite asks, and compares each answer with the one that is wanted.
//
// The wanted answers of the version that npm has stand in the files expected
// and expected-liberal. With -update they are written anew: reasons stay where
// their answers do, new ones are yours to give. To measure with a checkout of
// another version, set CACHE_TESTS_DIR to it: its answers are counted and those
// that are not the suite's own are listed, and nothing is compared.
//
// The other tests of the package ask, over real sockets, what that version of
// the suite lacks or looks away from.
package conformance

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/cacheproxy/cacheproxy/test/process"
)

var update = flag.Bool("update", false, "write the answers to the files of wanted answers, keeping the reasons")

func TestMain(m *testing.M) {
	flag.Parse()
	process.Main(m)
}

// installed is where `make` puts the suite of test/conformance/package.json.
const installed = "../../.tools/conformance/node_modules/http-cache-tests"

func TestSuite(t *testing.T) {
	dir, judge := installed, compare
	if other := os.Getenv("CACHE_TESTS_DIR"); other != "" {
		dir, judge = other, list
	} else if testing.Short() {
		t.Skip("-short: the suite takes three minutes")
	} else if !isFile(filepath.Join(dir, "cli.mjs")) {
		t.Fatal("the public HTTP cache test suite is not installed: run `make conformance` (or `make test`), which installs it with npm into .tools/, or `go test -short ./...` without it")
	}
	s := openSuite(t, mustAbs(t, dir))
	t.Run("default", func(t *testing.T) { judge(t, s, ask(t, s, serve), "expected") })
	t.Run("without the fast lane", func(t *testing.T) { judge(t, s, ask(t, s, serveSlowly), "expected") })
	t.Run("liberal", func(t *testing.T) {
		judge(t, s, ask(t, s, serve, "--config", mustAbs(t, "liberal.yaml")), "expected-liberal")
	})
}

// A report is what the suite's client reports, and the answers in it.
type report struct {
	results map[string]result
	answers map[string]answer
}

// A server starts a cacheproxy with the arguments.
type server func(t *testing.T, args ...string) *process.Process

// serve leaves the listener as it is by default.
func serve(t *testing.T, args ...string) *process.Process {
	t.Helper()
	return process.Serve(t, process.Options{}, args...)
}

// serveSlowly turns the fast lane off, so that Go's server answers everything.
func serveSlowly(t *testing.T, args ...string) *process.Process {
	t.Helper()
	addr := process.FreeAddrs(t, 1)[0]
	config := filepath.Join(t.TempDir(), "slow.yaml")
	if err := os.WriteFile(config, []byte("listen:\n  - address: "+addr+"\n    fast_lane: false\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := process.Serve(t, process.Options{Configured: true}, append([]string{"--config", config}, args...)...)
	p.URL = "http://" + addr
	return p
}

// ask runs the suite against a cacheproxy of its own, started with the
// arguments.
func ask(t *testing.T, s *suite, serve server, args ...string) report {
	t.Helper()
	origin := s.start(t)
	p := serve(t, append([]string{"--upstream", origin}, args...)...)
	results := s.run(t, p.URL)
	p.Stop()
	answers, err := classify(s.specs, results)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(summary(s.specs, answers))
	return report{results, answers}
}

// list logs which answers are not the suite's own.
func list(t *testing.T, s *suite, r report, _ string) {
	for _, line := range others(s.specs, r) {
		t.Log(line)
	}
}

// compare holds the answers against the file of wanted answers.
func compare(t *testing.T, s *suite, r report, file string) {
	want, head, err := readExpected(file)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(file, []byte(formatExpected(head, s.specs, r.answers, want)), 0o644); err != nil {
			t.Fatal(err)
		}
		if want, _, err = readExpected(file); err != nil {
			t.Fatal(err)
		}
	}
	for _, line := range differences(s.specs, r, want) {
		t.Error(line)
	}
	if t.Failed() && !*update {
		t.Logf("each line above differs from test/conformance/%s, for better or worse; where the new answer is right, write it there with its reason (go test ./test/conformance -run TestSuite -update)", file)
	}
}
