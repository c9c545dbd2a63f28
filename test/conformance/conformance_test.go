// Package conformance asks the built binary what the public HTTP cache test
// suite asks, and compares each answer with the one that is wanted.
//
// The wanted answers of the version that npm has stand in the files expected
// and expected-liberal. To measure with a checkout of another version, set
// CACHE_TESTS_DIR; its answers stand in expected-newest and
// expected-newest-liberal. With -update the files are written anew: reasons stay
// where their answers do, new ones are yours to give.
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
	dir, name := installed, "expected"
	if newest := os.Getenv("CACHE_TESTS_DIR"); newest != "" {
		dir, name = newest, "expected-newest"
	} else if testing.Short() {
		t.Skip("-short: the suite takes two minutes")
	} else if !isFile(filepath.Join(dir, "cli.mjs")) {
		t.Fatal("the public HTTP cache test suite is not installed: run `make conformance` (or `make test`), which installs it with npm into .tools/, or `go test -short ./...` without it")
	}
	s := openSuite(t, mustAbs(t, dir))
	t.Run("default", func(t *testing.T) { check(t, s, name) })
	t.Run("liberal", func(t *testing.T) { check(t, s, name+"-liberal", "--config", mustAbs(t, "liberal.yaml")) })
}

// check runs the suite against a cacheproxy of its own, started with the
// arguments, and compares with the file of wanted answers.
func check(t *testing.T, s *suite, file string, args ...string) {
	origin := s.start(t)
	p := process.Serve(t, process.Options{}, append([]string{"--upstream", origin}, args...)...)
	results := s.run(t, p.URL)
	p.Stop()
	got, err := classify(s.specs, results)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(summary(s.specs, got))

	want, head, err := readExpected(file)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(file, []byte(formatExpected(head, s.specs, got, want)), 0o644); err != nil {
			t.Fatal(err)
		}
		if want, _, err = readExpected(file); err != nil {
			t.Fatal(err)
		}
	}
	for _, line := range differences(s.specs, got, results, want) {
		t.Error(line)
	}
	if t.Failed() && !*update {
		t.Logf("each line above differs from test/conformance/%s, for better or worse; where the new answer is right, write it there with its reason (go test ./test/conformance -run TestSuite -update)", file)
	}
}
