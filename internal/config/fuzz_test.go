package config

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// FuzzLoad: any file is read or refused with positions inside it, in bounded time, and never shows what a name of the
// environment stands for. What is read can be dumped and read again.
func FuzzLoad(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range append(files, "../../config.example.yaml") {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		start := time.Now()
		o := Options{Check: true, Env: envOf(map[string]string{"SECRET": "s3cr3t-0f-the-f1le"})}
		c, warnings, err := load(o, "f.yaml", text)
		if took := time.Since(start); took > 30*time.Second {
			t.Errorf("took %v", took)
		}
		if err == nil {
			again, _, err := load(o, "g.yaml", Dump(c))
			if err != nil && len(c.Admin.Tokens) < 2 { // masked tokens are equal
				t.Fatalf("the dump is refused: %v\n%s", err, Dump(c))
			}
			if err == nil && string(Dump(again)) != string(Dump(c)) {
				t.Fatalf("the dump reads as another configuration\n%s\n%s", Dump(c), Dump(again))
			}
			return
		}
		var e *Error
		if !errors.As(err, &e) || len(e.Errors) == 0 {
			t.Fatalf("%T is not an *Error with mistakes", err)
		}
		rows := 1 + strings.Count(lineBreaks.Replace(string(text)), "\n")
		for _, d := range slices.Concat(e.Errors, warnings) {
			if d.File == "f.yaml" && d.Line > rows || d.Line < 0 || d.Col < 0 || d.Msg == "" {
				t.Errorf("%+v in a file of %d lines", d, rows)
			}
		}
	})
}
