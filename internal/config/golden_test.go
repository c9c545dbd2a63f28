package config

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// goldenEnv is the environment in which the files of testdata are loaded.
var goldenEnv = map[string]string{
	"TTL":         "45s",
	"NUMBER":      "3000",
	"SECRET":      "hunter2",
	"EMPTY":       "",
	"STRUCTURE":   "10.0.0.0/8, 11.0.0.0/8]\nadmin: {",
	"BOTH":        "1d",
	"BOTH_FILE":   "testdata/expand.yaml",
	"ABSENT_FILE": "testdata/absent",
}

func envOf(names map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, ok := names[name]
		return value, ok
	}
}

// report is what a user reads: all mistakes, then all warnings.
func report(w Warnings, err error) string {
	var b strings.Builder
	if err != nil {
		b.WriteString(err.Error() + "\n")
	}
	for _, d := range w {
		b.WriteString("warning: " + d.String() + "\n")
	}
	return b.String()
}

// TestGolden holds what is said about each file of testdata against NAME.golden (when it is served) and, where that differs,
// NAME.check.golden. -update rewrites them.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			run := func(check bool) string {
				_, w, err := load(Options{Check: check, Env: envOf(goldenEnv)}, filepath.Base(file), text)
				return report(w, err)
			}
			served, checked := run(false), run(true)
			base := strings.TrimSuffix(file, ".yaml")
			golden(t, base+".golden", served)
			if checked != served {
				golden(t, base+".check.golden", checked)
			}
			if strings.Contains(served+checked, goldenEnv["SECRET"]) {
				t.Error("the report shows what a name in the environment stands for")
			}
		})
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs\n--- got\n%s--- want\n%s", file, got, want)
	}
}
