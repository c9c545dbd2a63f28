package app_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cacheproxy/cacheproxy/internal/app"
	"github.com/cacheproxy/cacheproxy/internal/config"
)

// data_dir is made for this user only, when something needs it, and belongs to one instance at a time.
func TestDataDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	load := func(text string) (*app.App, error) {
		file := filepath.Join(t.TempDir(), "cacheproxy.yaml")
		writeFile(t, file, []byte("data_dir: "+dir+"\n"+text+"\n"+upstreamOf("http://127.0.0.1:1")))
		return app.New(app.Options{Stderr: &buffer{}, Config: config.Options{
			File: file, Flags: config.Flags{Admin: "127.0.0.1:0"}, Env: func(string) (string, bool) { return "", false },
		}})
	}
	a, err := load("listen: [{ address: '127.0.0.1:0' }]")
	if err != nil {
		t.Fatal(err)
	}
	a.Close()
	if _, err := os.Stat(dir); err == nil {
		t.Error("it was made though nothing needs it")
	}

	const needed = "listen: [{ address: '127.0.0.1:0', tls: { acme: { domains: [shop.example], directory: 'https://127.0.0.1:1/dir' } } }]"
	a, err = load(needed)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v; want 0700", info, err)
	}
	if b, err := load(needed); err == nil || !strings.Contains(err.Error(), "another instance uses it") {
		t.Errorf("a second instance: %v", err)
		if b != nil {
			b.Close()
		}
	}
	a.Close()
	a, err = load(needed)
	if err != nil {
		t.Fatalf("after the first has ended: %v", err)
	}
	a.Close()
}
