package app_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cacheproxy/cacheproxy/internal/admin"
	"github.com/cacheproxy/cacheproxy/internal/app"
)

const products = `
routes:
  - name: products
    match: { paths: ["/products/**"] }
    cache: { ttl: %s }
`

func TestReloadKeepsWhatIsCached(t *testing.T) {
	o := newOrigin(t, "hello")
	ttl := func(s string) string { return upstreams(o, strings.Replace(products, "%s", s, 1)) }
	i := start(t, ttl("60s"))
	for _, path := range []string{"/products/1", "/other"} {
		i.get(path)
		i.mustSay(path, "; hit")
	}
	i.write(ttl("30s"))
	if _, err := i.admin.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	i.mustSay("/other", "; hit")         // its rules are as they were
	i.mustSay("/products/1", "; stored") // fetched anew
	i.mustSay("/products/1", "; hit")
	if n := o.connections.Load(); n != 1 {
		t.Errorf("%d connections to the origin, want 1: its options did not change", n)
	}
}

func TestReloadThatIsRefusedChangesNothing(t *testing.T) {
	o := newOrigin(t, "hello")
	i := start(t, upstreams(o, "cache: { name: before }"))
	i.write(upstreams(o, "cache: { nmae: after }\nlog: { level: loud }\n"))
	_, err := i.admin.Reload(t.Context())
	var p *admin.Problem
	if !errors.As(err, &p) || p.Status != http.StatusUnprocessableEntity || len(p.Errors) != 2 {
		t.Fatalf("Reload = %v, want a problem with 2 mistakes", err)
	}
	if m := p.Errors[0]; m.File != i.file || m.Line != 2 || m.Column == 0 || !strings.Contains(m.Message, `"name"`) {
		t.Errorf("mistake %+v", m)
	}
	if res, _ := i.get("/x"); !strings.HasPrefix(res.Header.Get("Cache-Status"), "before") {
		t.Errorf("Cache-Status %q, want the name of before", res.Header.Get("Cache-Status"))
	}
	if h, err := i.admin.Ready(t.Context()); err != nil || h.Status != "ok" || h.Parts["configuration"].Status != "refused" {
		t.Errorf("Ready = %+v, %v", h, err)
	}
	i.write(upstreams(o, "cache: { name: after }"))
	if _, err := i.admin.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if res, _ := i.get("/x"); !strings.HasPrefix(res.Header.Get("Cache-Status"), "after") {
		t.Errorf("Cache-Status %q, want the name of after", res.Header.Get("Cache-Status"))
	}
	if h, err := i.admin.Ready(t.Context()); err != nil || h.Parts["configuration"].Status != "ok" {
		t.Errorf("Ready = %+v, %v", h, err)
	}
}

func TestReloadToAnotherOrigin(t *testing.T) {
	first, second := newOrigin(t, "first"), newOrigin(t, "second")
	i := start(t, upstreams(first, ""))
	i.get("/x")
	i.write(upstreams(second, ""))
	if _, err := i.admin.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, body := i.get("/y"); body != "second" {
		t.Errorf("the body is %q, want that of the second origin", body)
	}
}

// TestReloadChangesWhoMay: tokens are judged by the configuration in force.
func TestReloadChangesWhoMay(t *testing.T) {
	o := newOrigin(t, "hello")
	token := func(s string) string {
		return upstreams(o, "admin: { require_token: true, tokens: [{ name: ops, token: "+s+", scopes: [read, purge, admin] }] }")
	}
	i := start(t, token("the-first-token-0123"))
	purge := func(token string) int {
		r, err := http.NewRequest("PURGE", i.url+"/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
	if _, err := i.admin.Reload(t.Context()); err == nil {
		t.Error("reloaded without a token")
	}
	i.admin.Token = "the-first-token-0123"
	if got := purge("the-first-token-0123"); got != 200 {
		t.Errorf("PURGE with the token: %d, want 200", got)
	}
	i.write(token("the-second-token-012"))
	if _, err := i.admin.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := i.admin.Reload(t.Context()); err == nil {
		t.Error("reloaded with the token of before")
	}
	if got := purge("the-first-token-0123"); got != 403 {
		t.Errorf("PURGE with the token of before: %d, want 403", got)
	}
}

func TestReloadWarnsOfWhatNeedsARestart(t *testing.T) {
	o := newOrigin(t, "hello")
	i := start(t, upstreams(o, ""))
	i.write(upstreams(o, "cache: { l1: { max_bytes: 64MiB }, max_variants: 5 }\nlimits: { idle_timeout: 1m }\n"))
	r, err := i.admin.Reload(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, w := range r.Warnings {
		paths = append(paths, w.Path)
	}
	if got := strings.Join(paths, " "); got != "limits.idle_timeout cache.l1.max_bytes cache.max_variants" {
		t.Errorf("warned of %q", got)
	}
}

func TestReloadSetsTheLog(t *testing.T) {
	o := newOrigin(t, "hello")
	i := start(t, upstreams(o, ""))
	i.write(upstreams(o, "log: { access: false, level: debug }"))
	if _, err := i.admin.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	i.get("/quiet")
	i.get("/a%00") // refused with a line at the level debug
	i.stop()
	if err := i.wait(); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(i.log.String(), `"/quiet"`) {
		t.Errorf("the access log is not off:\n%s", i.log)
	}
	if !strings.Contains(i.log.String(), `"DEBUG"`) {
		t.Errorf("no line at the level debug:\n%s", i.log)
	}
}

func (i *instance) isNamed(name string) func() bool {
	return func() bool {
		res, _ := i.get("/x")
		return strings.HasPrefix(res.Header.Get("Cache-Status"), name+";")
	}
}

func TestFileThatIsReplacedIsReloaded(t *testing.T) {
	o := newOrigin(t, "hello")
	i := start(t, upstreams(o, "cache: { name: one }"))
	i.replace(upstreams(o, "cache: { name: two }"))
	i.eventually("the replaced file", i.isNamed("two"))
	i.write(upstreams(o, "cache: { name: three }"))
	i.eventually("the file that was written in place", i.isNamed("three"))
	i.replace("nonsense: true\n")
	i.eventually("the refusal", func() bool { return strings.Contains(i.log.String(), "reload refused") })
	i.replace(upstreams(o, "cache: { name: four }"))
	i.eventually("the file after a bad one", i.isNamed("four"))
}

// TestFileBehindLinksIsReloaded: Kubernetes has the file behind two symbolic links, of which it moves the inner one.
func TestFileBehindLinksIsReloaded(t *testing.T) {
	o := newOrigin(t, "hello")
	dir := t.TempDir()
	put := func(version, name string) {
		t.Helper()
		if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, version, "c.yaml"), []byte(upstreams(o, "cache: { name: "+name+" }")), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(version, filepath.Join(dir, "..next")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "..next"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	put("..1", "one")
	if err := os.Symlink("..data/c.yaml", filepath.Join(dir, "c.yaml")); err != nil {
		t.Fatal(err)
	}
	i := start(t, "", withFile(filepath.Join(dir, "c.yaml")))
	i.eventually("the first version", i.isNamed("one"))
	put("..2", "two")
	i.eventually("the second version", i.isNamed("two"))
	put("..3", "three")
	i.eventually("the third version", i.isNamed("three"))
}

func withFile(name string) func(*app.Options) {
	return func(o *app.Options) { o.Config.File = name }
}

// TestSecretFileIsReloaded: what a NAME_FILE name leads to is part of the configuration.
func TestSecretFileIsReloaded(t *testing.T) {
	o := newOrigin(t, "hello")
	secret := filepath.Join(t.TempDir(), "name")
	if err := os.WriteFile(secret, []byte("one\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	i := start(t, upstreams(o, `cache: { name: "${CACHE_NAME}" }`), func(o *app.Options) {
		o.Config.Env = func(name string) (string, bool) {
			if name == "CACHE_NAME_FILE" {
				return secret, true
			}
			return "", false
		}
	})
	i.eventually("the first", i.isNamed("one"))
	if err := os.WriteFile(secret, []byte("two\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	i.eventually("the second", i.isNamed("two"))
}

// TestFileBehindALinkIsReloaded: what is written in place, in another directory than the one that is named.
func TestFileBehindALinkIsReloaded(t *testing.T) {
	o := newOrigin(t, "hello")
	target, link := filepath.Join(t.TempDir(), "real.yaml"), filepath.Join(t.TempDir(), "c.yaml")
	write := func(name string) {
		t.Helper()
		if err := os.WriteFile(target, []byte(upstreams(o, "cache: { name: "+name+" }")), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("one")
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	i := start(t, "", withFile(link))
	write("two")
	i.eventually("the second, which the first look may find", i.isNamed("two"))
	write("three")
	i.eventually("the third, which needs an event", i.isNamed("three"))
}
