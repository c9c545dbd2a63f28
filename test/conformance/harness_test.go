package conformance

import (
	"strings"
	"testing"
)

func TestClassify(t *testing.T) {
	specs := []spec{
		{ID: "req", Kind: "required"},
		{ID: "opt", Kind: "optimal"},
		{ID: "ask", Kind: "check"},
		{ID: "after-opt", Kind: "required", DependsOn: []string{"opt"}},
		{ID: "after-after", Kind: "check", DependsOn: []string{"req", "after-opt"}},
		{ID: "browser", Kind: "required", BrowserOnly: true},
	}
	yes, assertion := result{ok: true}, result{name: "Assertion", message: "no"}
	tests := []struct {
		name    string
		results map[string]result
		want    map[string]answer
	}{
		{"all well", map[string]result{"req": yes, "opt": yes, "ask": yes, "after-opt": yes, "after-after": yes},
			map[string]answer{"req": "pass", "opt": "pass", "ask": "yes", "after-opt": "pass", "after-after": "yes"}},
		{"by kind", map[string]result{"req": assertion, "opt": assertion, "ask": assertion, "after-opt": yes, "after-after": yes},
			map[string]answer{"req": "fail", "opt": "suboptimal", "ask": "no", "after-opt": "dependency", "after-after": "dependency"}},
		{"faults of the run", map[string]result{"req": {name: "Setup", message: "retry"}, "opt": {name: "Setup", message: "status"}, "ask": {name: "AbortError"}, "after-opt": {}, "after-after": {name: "TypeError"}},
			map[string]answer{"req": "retry", "opt": "setup", "ask": "harness", "after-opt": "dependency", "after-after": "dependency"}},
		{"nothing reported", nil,
			map[string]answer{"req": "untested", "opt": "untested", "ask": "untested", "after-opt": "untested", "after-after": "untested"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := classify(specs, tt.results)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range specs {
				if got[s.ID] != tt.want[s.ID] {
					t.Errorf("%s: %q, want %q", s.ID, got[s.ID], tt.want[s.ID])
				}
			}
		})
	}
}

func TestClassifyRefuses(t *testing.T) {
	tests := []struct {
		name    string
		specs   []spec
		results map[string]result
		want    string
	}{
		{"a circle", []spec{{ID: "a", Kind: "check", DependsOn: []string{"b"}}, {ID: "b", Kind: "check", DependsOn: []string{"a"}}}, map[string]result{"a": {}, "b": {}}, "depends on itself"},
		{"a missing one", []spec{{ID: "a", Kind: "check", DependsOn: []string{"b"}}}, map[string]result{"a": {}}, "not in the suite"},
		{"a stray result", []spec{{ID: "a", Kind: "check"}}, map[string]result{"b": {}}, "no test of the suite"},
		{"a double", []spec{{ID: "a", Kind: "check"}, {ID: "a", Kind: "check"}}, nil, "two tests"},
		{"a kind", []spec{{ID: "a", Kind: "odd"}}, nil, "unknown kind"},
	}
	for _, tt := range tests {
		if _, err := classify(tt.specs, tt.results); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want an error with %q", tt.name, err, tt.want)
		}
	}
}

func TestDifferencesGoBothWays(t *testing.T) {
	specs := []spec{{ID: "a", Kind: "required"}, {ID: "b", Kind: "optimal"}, {ID: "c", Kind: "check"}}
	tests := []struct {
		file string
		want string // "" means none
	}{
		{"a  pass\nb  suboptimal  [RFC 9111, 4.3.2]\nc no", ""},
		{"a  fail  [why]\nb  suboptimal  [why]\nc  no", "a (required): pass, wanted fail"},
		{"a  pass\nb  pass\nc  no", "b (optimal): suboptimal, wanted pass  the message"},
		{"a  pass\nb  suboptimal\nc  no", "gives no reason"},
		{"a  pass\nb  suboptimal  [why]\n", "needs a line"},
		{"a  pass\nb  suboptimal  [why]\nc  no\nd  pass", "no such test"},
	}
	got := report{
		answers: map[string]answer{"a": "pass", "b": "suboptimal", "c": "no"},
		results: map[string]result{"b": {message: "the message"}},
	}
	for _, tt := range tests {
		want, err := parseExpected(strings.NewReader(tt.file))
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Join(differences(specs, got, want), "\n")
		if !strings.Contains(lines, tt.want) || tt.want == "" && lines != "" {
			t.Errorf("%q: %q, want %q", tt.file, lines, tt.want)
		}
	}
}

func TestOthersAreListed(t *testing.T) {
	specs := []spec{{ID: "d", Kind: "check"}, {ID: "b", Kind: "optimal"}, {ID: "a", Kind: "required"}, {ID: "c", Kind: "check"}, {ID: "browser", Kind: "required"}}
	got := report{
		answers: map[string]answer{"a": "pass", "b": "suboptimal", "c": "no", "d": "setup"},
		results: map[string]result{"b": {message: "the message"}},
	}
	want := "b (optimal): suboptimal  the message\nd (check): setup"
	if lines := strings.Join(others(specs, got), "\n"); lines != want {
		t.Errorf("listed:\n%s\nwant:\n%s", lines, want)
	}
}

func TestExpectedFile(t *testing.T) {
	for file, want := range map[string]string{
		"a passed":        "no answer",
		"a fail why":      "in [ ]",
		"a pass\na  pass": "a second time",
	} {
		if _, err := parseExpected(strings.NewReader(file)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want an error with %q", file, err, want)
		}
	}

	// Writing keeps the reason of an answer that stays, or goes from bad to bad.
	specs := []spec{{ID: "a", Kind: "required"}, {ID: "b", Kind: "required"}, {ID: "longer", Kind: "required"}}
	old := map[string]expectation{"a": {"fail", "moved"}, "b": {"fail", "kept"}, "longer": {"fail", "gone"}}
	got := formatExpected("two\nlines", specs, map[string]answer{"a": "setup", "longer": "pass", "b": "fail"}, old)
	if want := "# two\n# lines\n\na       setup       [moved]\nb       fail        [kept]\nlonger  pass\n"; got != want {
		t.Errorf("written:\n%s\nwant:\n%s", got, want)
	}
	if again, err := parseExpected(strings.NewReader(got)); err != nil || again["b"] != old["b"] || len(again) != 3 {
		t.Errorf("read again: %v, %v", again, err)
	}
}
