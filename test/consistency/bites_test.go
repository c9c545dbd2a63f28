package consistency

import (
	"encoding/json"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/test/process"
)

var bitesFlag = flag.Bool("bites", false, "TestBites takes out each rule, and not the first only")

// bite is a rule of the product that is taken out before it is built.
type bite struct {
	name  string
	edits []edit
	// kinds are the faults that bring it to light; none: there need be none.
	kinds []string
}

// edit replaces old, which stands once in a file, by new.
type edit struct{ file, old, new string }

var bites = []bite{
	{
		name: "Born is not compared",
		edits: []edit{{"invalidation/check.go", `	standing, _ := s.look(st, of)
	return standing
`, `	return Valid
`}},
	},
	{
		name: "Born is taken when the response comes",
		edits: []edit{{"proxy/admit.go", `	now := time.Now()
	header := f.header.Clone()
`, `	now := time.Now()
	header := f.header.Clone()
	f.born = f.p.cache.State().Birth()
	f.stamp = f.p.cache.State().Stamp(f.born, f.key.Hash, f.uri)
`}},
	},
	{
		// Either alone is enough: who has joined is let go when the head has come, and
		// with it the tags.
		name: "a fetch is joined that a purge has overtaken, and its response shared",
		edits: []edit{{"proxy/admit.go", "	case f.p.cache.State().Check(&f.stamp, f) == invalidation.Invalid:\n", "	case false && f.p.cache.State().Check(&f.stamp, f) == invalidation.Invalid:\n"}, {"invalidation/check.go", `	checked := st.checked.Load()
	if checked > s.tick.Load() {
		return true
	}
	q := question{st: st}
`, `	checked := st.checked.Load()
	if checked >= 0 {
		return true
	}
	q := question{st: st}
`}},
	},
	{
		name:  "the lease is not looked at",
		edits: []edit{{"invalidation/lease.go", "	return l == nil || ", "	return true || l == nil || "}},
		kinds: []string{"instance stopped and continued", "link silent", "link cut"},
	},
	{
		name:  "the lease counts from its answer",
		edits: []edit{{"invalidation/follower.go", "f.state.lend(sent.Add(f.o.Lease))", "f.state.lend(time.Now().Add(f.o.Lease))"}},
		kinds: []string{"link slow, then silent"},
	},
	{
		name:  "the register is believed in a young epoch",
		edits: []edit{{"invalidation/wait.go", "	w.young = f.o.Lease > 0 && ", "	w.young = false && "}},
		kinds: []string{"link silent while Redis is emptied"},
	},
	{
		name: "the epoch does not tell one process of Redis from another",
		edits: []edit{
			{"invalidation/redis_head.lua", "local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or ''", "local run = ''"},
			{"invalidation/redis_head.lua", "local replication = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)') or ''", "local replication = ''"},
		},
		kinds: []string{"Redis restarted with the data of a moment ago", "a replica that lagged takes over"},
	},
	{
		name:  "a write purges nothing",
		edits: []edit{{"proxy/write.go", "	if len(n.purge.Selectors) == 0 {\n", "	if true || len(n.purge.Selectors) == 0 {\n"}},
	},
}

// TestBites: without any one of its rules, the product is found to break its
// promise, by both checkers.
func TestBites(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds the binary anew")
	}
	for i, b := range bites {
		if i > 0 && !*bitesFlag {
			break
		}
		t.Run(b.name, func(t *testing.T) {
			begin := time.Now()
			d := &deck{rng: rand.New(rand.NewPCG(rand.Uint64(), 0)), kinds: faults()}
			if len(b.kinds) > 0 {
				d.kinds = slices.DeleteFunc(d.kinds, func(f fault) bool { return !slices.Contains(b.kinds, f.name) })
			}
			r := run(t, plan{settings: settings{lease: lease, timeout: timeout, binary: b.build(t)}, rates: usual, deck: d, faults: 1000, limit: time.Minute})
			if len(r.violations) == 0 || len(r.verdict.illegal) == 0 {
				t.Fatalf("the plain look finds %d violations and porcupine %d pieces illegal, want some\n%s", len(r.violations), len(r.verdict.illegal), r)
			}
			t.Logf("found after %v, %d operations and %d faults: %d violations, %d pieces illegal; the first: %v",
				time.Since(begin).Round(time.Second), r.load.history.operations(), len(r.had), len(r.violations), len(r.verdict.illegal), r.violations[0])
		})
	}
}

// build builds the product without the rule. The source stays as it is: the
// compiler is shown other files in the place of some.
func (b *bite) build(t *testing.T) (path string) {
	t.Helper()
	root, dir := process.Root(t), t.TempDir()
	texts := map[string]string{}
	for _, e := range b.edits {
		if texts[e.file] == "" {
			text, err := os.ReadFile(filepath.Join(root, e.file))
			if err != nil {
				t.Fatal(err)
			}
			texts[e.file] = string(text)
		}
		if n := strings.Count(texts[e.file], e.old); n != 1 {
			t.Fatalf("%s has %d times what is to be replaced, want once; the rule has changed its place:\n%s", e.file, n, e.old)
		}
		texts[e.file] = strings.Replace(texts[e.file], e.old, e.new, 1)
	}
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	for file, text := range texts {
		other := filepath.Join(dir, filepath.Base(file))
		overlay.Replace[filepath.Join(root, file)] = other
		if err := os.WriteFile(other, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	list, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, list, 0o600); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(dir, "cacheproxy")
	if err := process.Build(path, "-overlay", file); err != nil {
		t.Fatal(err)
	}
	return path
}
