package config_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/internal/config"
)

const plain = `
default_upstream: shop
listen: [{ address: ":9090" }, { address: ":9091" }]
admin: { address: "127.0.0.1:9081" }
cache: { default_ttl: 10s }
upstreams: { shop: { targets: [{ url: "http://127.0.0.1:3000" }] }, blog: { targets: [{ url: "http://127.0.0.1:3001" }] } }
log: { level: warn, format: text }
`

func write(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func env(names map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, ok := names[name]
		return value, ok
	}
}

func mustLoad(t *testing.T, o config.Options) (*config.Config, config.Warnings) {
	t.Helper()
	if o.Env == nil {
		o.Env = env(nil)
	}
	c, w, err := config.Load(o)
	if err != nil {
		t.Fatalf("Load(%+v): %v", o, err)
	}
	return c, w
}

// refused returns the message with which Load refuses.
func refused(t *testing.T, o config.Options) string {
	t.Helper()
	if o.Env == nil {
		o.Env = env(nil)
	}
	c, _, err := config.Load(o)
	if err == nil || c != nil {
		t.Fatalf("Load(%+v) = %v, %v; want nil and an error", o, c, err)
	}
	var e *config.Error
	if !errors.As(err, &e) || len(e.Errors) == 0 {
		t.Fatalf("Load(%+v): %T, want an *Error that is not empty", o, err)
	}
	return err.Error()
}

// TestNoFile: cacheproxy serve --upstream URL is a whole configuration, with the documented defaults.
func TestNoFile(t *testing.T) {
	c, w := mustLoad(t, config.Options{Flags: config.Flags{Upstream: "http://127.0.0.1:3000"}})
	if len(w) != 0 {
		t.Errorf("warnings: %v", w)
	}
	if c.DefaultUpstream != "cli" || c.Upstreams["cli"].Targets[0].URL != "http://127.0.0.1:3000" {
		t.Errorf("upstream is %q of %v, want cli", c.DefaultUpstream, c.Upstreams)
	}
	if len(c.Listen) != 1 || c.Listen[0].Address != ":8080" || c.Admin.Address != "127.0.0.1:8081" {
		t.Errorf("listens on %v and %v", c.Listen, c.Admin.Address)
	}
	if got := c.Cache.L1.MaxObjectBytes; got != 8<<20 {
		t.Errorf("l1.max_object_bytes is %d, want 8 MiB", got)
	}
	if got := c.Cache.MaxLifetime; got != 24*time.Hour {
		t.Errorf("max_lifetime is %v, want 24h", got)
	}
	if c.Table() == nil || len(c.Table().Routes()) != 1 {
		t.Error("there is no table with the default route")
	}
	if len(c.Files()) != 0 {
		t.Errorf("files: %v, want none", c.Files())
	}
}

// TestNoUpstream: without an upstream every request would get 404. Who serves is refused, who checks is warned.
func TestNoUpstream(t *testing.T) {
	for name, o := range map[string]config.Options{
		"no file":    {},
		"empty file": {File: write(t, "a.yaml", "")},
		"comments":   {File: write(t, "a.yaml", "# nothing\n---\n# here\n")},
		"other keys": {File: write(t, "a.yaml", "log: { level: debug }\n")},
	} {
		t.Run(name, func(t *testing.T) {
			if got := refused(t, o); !strings.Contains(got, "no upstream: ") {
				t.Errorf("refused with %q", got)
			}
			o.Check = true
			if _, w := mustLoad(t, o); len(w) != 1 || !strings.Contains(w.String(), "no upstream: ") {
				t.Errorf("warnings: %v", w)
			}
		})
	}
}

// TestPrecedence: flag > environment > file > default.
func TestPrecedence(t *testing.T) {
	file := write(t, "a.yaml", plain)
	c, _ := mustLoad(t, config.Options{File: file})
	if c.Cache.DefaultTTL != 10*time.Second || c.Cache.HitForMiss != 30*time.Second || c.Log.Level != "warn" || !c.Log.Access {
		t.Errorf("file over default: %+v %+v", c.Cache, c.Log)
	}

	for value, want := range map[string]time.Duration{"90": 90 * time.Second, "1d": 24 * time.Hour, "": 10 * time.Second} {
		c, _ = mustLoad(t, config.Options{File: file, Env: env(map[string]string{"CACHE_DEFAULT_TTL": value})})
		if c.Cache.DefaultTTL != want {
			t.Errorf("CACHE_DEFAULT_TTL=%s: default_ttl is %v, want %v", value, c.Cache.DefaultTTL, want)
		}
	}

	c, _ = mustLoad(t, config.Options{File: file, Flags: config.Flags{
		Upstream: "http://127.0.0.1:4000", Listen: ":7070", Admin: "127.0.0.1:7071", LogLevel: "debug", LogFormat: "json",
	}})
	if len(c.Listen) != 1 || c.Listen[0].Address != ":7070" {
		t.Errorf("--listen replaces all listeners, got %v", c.Listen)
	}
	if c.DefaultUpstream != "cli" || len(c.Upstreams) != 3 {
		t.Errorf("--upstream adds cli and makes it the default, got %q of %v", c.DefaultUpstream, c.Upstreams)
	}
	if c.Admin.Address != "127.0.0.1:7071" || c.Log.Level != "debug" || c.Log.Format != "json" {
		t.Errorf("flags over file: %+v %+v", c.Admin, c.Log)
	}
}

func TestDefaultUpstream(t *testing.T) {
	one := `upstreams: { shop: { targets: [{ url: "http://127.0.0.1:1" }] } }`
	if c, _ := mustLoad(t, config.Options{File: write(t, "a.yaml", one)}); c.DefaultUpstream != "shop" {
		t.Errorf("the only upstream is the default, got %q", c.DefaultUpstream)
	}
	two := `upstreams: { a: { targets: [{ url: "http://127.0.0.1:1" }] }, b: { targets: [{ url: "http://127.0.0.1:2" }] } }`
	if c, _ := mustLoad(t, config.Options{File: write(t, "a.yaml", two)}); c.DefaultUpstream != "" {
		t.Errorf("several upstreams and none named: no default, got %q", c.DefaultUpstream)
	}
}

// TestBadFlags: a mistake on the command line or in the environment names its source.
func TestBadFlags(t *testing.T) {
	upstream := config.Flags{Upstream: "http://127.0.0.1:3000"}
	with := func(set func(*config.Flags)) config.Options {
		o := config.Options{Flags: upstream}
		set(&o.Flags)
		return o
	}
	for _, c := range []struct {
		o    config.Options
		want string
	}{
		{with(func(f *config.Flags) { f.Listen = "8080" }), `--listen: not an address, write :8080: "8080"`},
		{with(func(f *config.Flags) { f.Listen = ":8081" }), `--listen: listen[0].address: :8081 is taken by the administration listener, 127.0.0.1:8081`},
		{with(func(f *config.Flags) { f.Admin = "0.0.0.0:8081" }), `--admin: admin.address: 0.0.0.0:8081 is not a loopback address`},
		{with(func(f *config.Flags) { f.LogLevel = "trace" }), `--log-level: not one of debug, info, warn, error: "trace"`},
		{with(func(f *config.Flags) { f.LogFormat = "xml" }), `--log-format: not one of json, text: "xml"`},
		{with(func(f *config.Flags) { f.Upstream = "127.0.0.1:3000" }), `--upstream: upstreams.cli.targets[0].url: `},
		{config.Options{Flags: upstream, Env: env(map[string]string{"CACHE_DEFAULT_TTL": "soon"})}, `CACHE_DEFAULT_TTL: not a duration`},
		{config.Options{Flags: upstream, Env: env(map[string]string{"CACHEPROXY_ADMIN_TOKEN": "two words"})}, `CACHEPROXY_ADMIN_TOKEN: not a bearer token`},
		{config.Options{Flags: upstream, File: write(t, "a.yaml", "upstreams: { cli: { targets: [{ url: 'http://127.0.0.1:1' }] } }")}, `a.yaml:1:19: upstreams.cli: --upstream makes an upstream of this name`},
		{config.Options{File: filepath.Join(t.TempDir(), "absent.yaml")}, `absent.yaml: no such file or directory`},
		{config.Options{File: t.TempDir()}, `: is a directory`},
	} {
		if got := refused(t, c.o); !strings.Contains(got, c.want) || strings.Contains(got, "\n") || strings.Contains(got, "two words") {
			t.Errorf("Load(%+v)\n got %s\nwant %s", c.o.Flags, got, c.want)
		}
	}
}

// TestAdminToken: CACHEPROXY_ADMIN_TOKEN is one more token, with all scopes, and lets the administration listener leave loopback.
func TestAdminToken(t *testing.T) {
	text := plain + "purge: { allow: [] }\n"
	text = strings.Replace(text, `"127.0.0.1:9081"`, `":9081", tokens: [{ name: a, token: 0123456789abcdef, scopes: [read] }]`, 1)
	c, w := mustLoad(t, config.Options{File: write(t, "a.yaml", text), Env: env(map[string]string{"CACHEPROXY_ADMIN_TOKEN": "fedcba9876543210"})})
	if len(w) != 0 {
		t.Errorf("warnings: %v", w)
	}
	want := []config.Token{
		{Name: "a", Token: "0123456789abcdef", Scopes: []string{"read"}},
		{Name: "CACHEPROXY_ADMIN_TOKEN", Token: "fedcba9876543210", Scopes: []string{"read", "purge", "admin"}},
	}
	if !slices.EqualFunc(c.Admin.Tokens, want, func(a, b config.Token) bool {
		return a.Name == b.Name && a.Token == b.Token && slices.Equal(a.Scopes, b.Scopes)
	}) {
		t.Errorf("tokens: %v, want %v", c.Admin.Tokens, want)
	}

	o := config.Options{Flags: config.Flags{Upstream: "http://127.0.0.1:3000", Admin: ":8081"}, Env: env(map[string]string{"CACHEPROXY_ADMIN_TOKEN": "short"})}
	if _, w := mustLoad(t, o); !strings.HasPrefix(w.String(), "CACHEPROXY_ADMIN_TOKEN: admin.tokens[0].token: shorter than 16") {
		t.Errorf("warnings: %v, want one about a short token", w)
	}
	o.Env = env(map[string]string{"CACHEPROXY_ADMIN_TOKEN": ""})
	if got := refused(t, o); !strings.Contains(got, "a token is needed") {
		t.Errorf("an empty token is none; refused with %s", got)
	}
	o.Check = true
	if _, w := mustLoad(t, o); !strings.Contains(w.String(), "a token is needed") {
		t.Errorf("check warns, got %v", w)
	}
}

// TestAddresses: which addresses can stand side by side, and which are of this machine alone.
func TestAddresses(t *testing.T) {
	for _, c := range []struct{ listen, admin, want string }{
		{":8080", "127.0.0.1:8081", ""},
		{":0", "127.0.0.1:0", ""}, // another port each time
		{"127.0.0.2:8081", "127.0.0.1:8081", ""},
		{"[::1]:8081", "127.0.0.1:8081", ""},
		{":8080", "localhost:8081", ""},
		{":8080", "[::1]:8081", ""},
		{":8080", "127.9.9.9:8081", ""},
		{":8080", "[::ffff:127.0.0.1]:8081", ""},
		{":8081", "127.0.0.1:8081", "is taken by"},
		{"127.0.0.1:8081", "127.0.0.1:8081", "is taken by"},
		{"[::]:8081", "[::1]:8081", "is taken by"},
		{":8080", "0.0.0.0:8081", "a token is needed"},
		{":8080", "[::]:8081", "a token is needed"},
		{":8080", "10.0.0.1:8081", "a token is needed"},
		{":8080", "localhost.example.com:8081", "a token is needed"},
	} {
		_, _, err := config.Load(config.Options{Env: env(nil), Flags: config.Flags{Upstream: "http://127.0.0.1:3000", Listen: c.listen, Admin: c.admin}})
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("--listen %s --admin %s: %v, want %q", c.listen, c.admin, err, c.want)
		}
	}
}

func TestRequireToken(t *testing.T) {
	file := write(t, "a.yaml", strings.Replace(plain, `"127.0.0.1:9081"`, `localhost:9081, require_token: true`, 1))
	if got := refused(t, config.Options{File: file}); !strings.Contains(got, "admin.require_token: a token is required, but there is none") {
		t.Errorf("refused with %s", got)
	}
	mustLoad(t, config.Options{File: file, Env: env(map[string]string{"CACHEPROXY_ADMIN_TOKEN": "0123456789abcdef"})})
}

// TestNameFile: for every name, NAME_FILE gives a file whose content is read instead.
func TestNameFile(t *testing.T) {
	token := write(t, "token", "from-a-file-0123456789\n")
	ttl := write(t, "ttl", "2m\r\n\n")
	port := write(t, "port", "3000")
	file := write(t, "a.yaml", `upstreams: { shop: { targets: [{ url: "http://127.0.0.1:${PORT}" }], max_connections: "${PORT}" } }`)
	c, _ := mustLoad(t, config.Options{File: file, Env: env(map[string]string{
		"CACHEPROXY_ADMIN_TOKEN_FILE": token, "CACHE_DEFAULT_TTL_FILE": ttl, "PORT_FILE": port,
	})})
	if got := c.Admin.Tokens[0].Token; got != "from-a-file-0123456789" {
		t.Errorf("token is %q", string(got))
	}
	if c.Cache.DefaultTTL != 2*time.Minute || c.Upstreams["shop"].Targets[0].URL != "http://127.0.0.1:3000" || c.Upstreams["shop"].MaxConnections != 3000 {
		t.Errorf("default_ttl %v, upstream %+v", c.Cache.DefaultTTL, c.Upstreams["shop"])
	}
	if want := []string{file, port, ttl, token}; !slices.Equal(c.Files(), want) {
		t.Errorf("files: %v, want %v", c.Files(), want)
	}
}

func TestBadNameFile(t *testing.T) {
	flags := config.Flags{Upstream: "http://127.0.0.1:3000", Admin: ":8081"}
	absent := filepath.Join(t.TempDir(), "absent")
	for _, c := range []struct {
		env  map[string]string
		want string
	}{
		{map[string]string{"CACHEPROXY_ADMIN_TOKEN_FILE": absent}, "CACHEPROXY_ADMIN_TOKEN: CACHEPROXY_ADMIN_TOKEN_FILE names the file " + absent + ", which does not exist"},
		{map[string]string{"CACHEPROXY_ADMIN_TOKEN_FILE": write(t, "a", "\n")}, "CACHEPROXY_ADMIN_TOKEN: the file that CACHEPROXY_ADMIN_TOKEN_FILE names is empty"},
		{map[string]string{"CACHEPROXY_ADMIN_TOKEN_FILE": write(t, "a", strings.Repeat("a", 64<<10+1))}, "is larger than 64KiB"},
		{map[string]string{"CACHEPROXY_ADMIN_TOKEN_FILE": absent, "CACHEPROXY_ADMIN_TOKEN": "x"}, "are both set; unset one"},
	} {
		got := refused(t, config.Options{Flags: flags, Env: env(c.env)})
		if !strings.Contains(got, c.want) || strings.Contains(got, "\n") {
			t.Errorf("%v\n got %s\nwant %s", c.env, got, c.want)
		}
	}
	o := config.Options{Flags: flags, Check: true, Env: env(map[string]string{"CACHEPROXY_ADMIN_TOKEN_FILE": absent})}
	if _, w := mustLoad(t, o); len(w) != 1 || !strings.Contains(w.String(), "does not exist") {
		t.Errorf("check warns of absent files, and of nothing that hangs on them; got %v", w)
	}
}

// TestRedisFromTheEnvironment: the environment goes before the file, and the flag before both.
func TestRedisFromTheEnvironment(t *testing.T) {
	type names = map[string]string
	file := write(t, "redis.yaml", plain+"redis: { mode: sentinel, addresses: ['10.0.0.9:26379'], master_name: m, timeout: 50ms }\n")
	for _, c := range []struct {
		env  names
		flag string
		want string
	}{
		{names{}, "", "sentinel  [10.0.0.9:26379] 0 \"\" false msgpack zstd cacheproxy"},
		{names{"REDIS_URL": "redis://:pw@10.0.0.1/2", "REDIS_HOST": "unused"}, "", "single redis://:pw@10.0.0.1/2 [] 0 \"\" false msgpack zstd cacheproxy"},
		{names{"REDIS_HOST": "r", "REDIS_PORT": "7000", "REDIS_DB": "3", "REDIS_PASSWORD": "two words", "REDIS_SSL": "true"}, "",
			"single  [r:7000] 3 \"two words\" true msgpack zstd cacheproxy"},
		{names{"REDIS_HOST": "::1"}, "", "single  [[::1]:6379] 0 \"\" false msgpack zstd cacheproxy"},
		{names{"REDIS_URL": "redis://10.0.0.1"}, "redis://10.0.0.2", "single redis://10.0.0.2 [] 0 \"\" false msgpack zstd cacheproxy"},
		{names{"CACHE_SERIALIZER": "json", "CACHE_COMPRESSION": "false", "CACHE_KEY_PREFIX": "shop"}, "",
			"sentinel  [10.0.0.9:26379] 0 \"\" false json none shop"},
		{names{"CACHE_COMPRESSION": "gzip", "REDIS_SSL": "no"}, "", "REDIS_SSL: neither true nor false, write false: \"no\""},
		{names{"REDIS_URL": "http://:hunter2@x"}, "", "REDIS_URL: not a URL of Redis, such as redis://127.0.0.1:6379/0"},
	} {
		cfg, _, err := config.Load(config.Options{File: file, Env: env(c.env), Flags: config.Flags{Redis: c.flag}})
		got := fmt.Sprint(err)
		if err == nil {
			r, l2 := cfg.Redis, cfg.Cache.L2
			got = fmt.Sprintf("%s %s %v %d %q %v %s %s %s", r.Mode, string(r.URL), r.Addresses, r.DB, string(r.Password), r.TLS != nil,
				l2.Serializer, l2.Compression.Algorithm, cfg.Cache.KeyPrefix)
			if strings.Contains(string(config.Dump(cfg)), "pw") || strings.Contains(string(config.Dump(cfg)), "two words") {
				t.Errorf("the dump shows the password: %s", config.Dump(cfg))
			}
		}
		if got != c.want {
			t.Errorf("%v %s\n got %s\nwant %s", c.env, c.flag, got, c.want)
		}
	}
}

// TestRouteWarnings: what routes may do but should not is told with its position.
func TestRouteWarnings(t *testing.T) {
	file := write(t, "a.yaml", plain+"routes:\n  - name: a\n    cache:\n      store: { set_cookie: true }\n")
	_, w := mustLoad(t, config.Options{File: file})
	if len(w) != 1 || w[0].Line != 11 || w[0].Col != 28 || w[0].Path != "routes[0].cache.store.set_cookie" {
		t.Errorf("warnings: %+v", w)
	}
}

// TestRouteErrors: a mistake that only the compiler of routes finds has the position of the value.
func TestRouteErrors(t *testing.T) {
	file := write(t, "a.yaml", plain+"routes:\n  - name: a\n    match:\n      when: request.method ==\n")
	got := refused(t, config.Options{File: file})
	if !strings.HasPrefix(got, file+":11:13: routes[0].match.when: ") {
		t.Errorf("refused with %s", got)
	}
}

// TestInherited: a route without its own limit has that of the memory tier.
func TestInherited(t *testing.T) {
	text := plain + "routes: [{ name: a, cache: {} }, { name: b, cache: { max_object_bytes: 1KiB } }]\n"
	text = strings.Replace(text, "default_ttl: 10s", "l1: { max_object_bytes: 2MiB }", 1)
	c, _ := mustLoad(t, config.Options{File: write(t, "a.yaml", text)})
	routes := c.Table().Routes()
	if routes[0].MaxObjectBytes != 2<<20 || routes[1].MaxObjectBytes != 1<<10 {
		t.Errorf("max_object_bytes are %d and %d, want 2 MiB and 1 KiB", routes[0].MaxObjectBytes, routes[1].MaxObjectBytes)
	}
}
