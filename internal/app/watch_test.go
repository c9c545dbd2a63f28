package app

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/cacheproxy/cacheproxy/internal/config"
)

// TestChangeWhileLoadingIsNoticed: a file that is written after it was read, but before the loading has ended, is another one than
// what was loaded. The environment is asked in between, so it can do the writing.
func TestChangeWhileLoadingIsNoticed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.yaml")
	text := "upstreams: { shop: { targets: [{ url: 'http://127.0.0.1:1' }] } }\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	changes := true
	a := &App{files: []string{file}, o: Options{Config: config.Options{File: file, Env: func(string) (string, bool) {
		if changes {
			changes = false
			if err := os.WriteFile(file, []byte(text+"log: { access: false }\n"), 0o600); err != nil {
				t.Error(err)
			}
		}
		return "", false
	}}}}
	for _, want := range []bool{true, false} {
		if _, _, err := a.read(); err != nil {
			t.Fatal(err)
		}
		if got := a.filesChanged(); got != want {
			t.Errorf("changed = %v, want %v", got, want)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if a.filesChanged() {
		t.Error("a file that is gone for a moment is a change")
	}
}
