package config_test

import (
	"bytes"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"

	"github.com/cacheproxy/cacheproxy/internal/config"
)

const (
	schemaFile  = "../../config.schema.json"
	exampleFile = "../../config.example.yaml"
)

// TestSchemaIsCurrent: the schema in the repository is the one that the Go types give; make generate writes it.
func TestSchemaIsCurrent(t *testing.T) {
	got, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, config.Schema()) {
		t.Errorf("%s is not what the Go types give; run go generate ./internal/config", schemaFile)
	}
}

func compileSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(config.Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("config.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("config.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// jsonOf is a YAML text as a validator of JSON sees it.
func jsonOf(t *testing.T, text string) any {
	t.Helper()
	var v any
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return textKeys(v)
}

// textKeys makes texts of a mapping's keys, as JSON has them.
func textKeys(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			v[k] = textKeys(x)
		}
	case map[any]any:
		m := map[string]any{}
		for k, x := range v {
			m[strings.TrimSpace(stringOf(k))] = textKeys(x)
		}
		return m
	case []any:
		for i, x := range v {
			v[i] = textKeys(x)
		}
	}
	return v
}

func stringOf(v any) string {
	b, err := yaml.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// TestSchemaAgrees: editors, by the schema, and Load say the same about one value alone. Each value stands in a file that is
// otherwise right.
func TestSchemaAgrees(t *testing.T) {
	schema := compileSchema(t)
	for _, c := range []struct {
		text string
		ok   bool
	}{
		{`shutdown_timeout: 30s`, true},
		{`shutdown_timeout: 1d12h`, true},
		{`shutdown_timeout: "${UNSET:-1m}"`, true},
		{`shutdown_timeout: 30`, false},
		{`shutdown_timeout: soon`, false},
		{`shutdown_timeout: -1s`, false},
		{`shutdown_timeout: [30s]`, false},
		{`shutdown_timeout: null`, false},
		{`shutdown_timout: 30s`, false},
		{`redis: {}`, true},
		{`redis: { timeout: 100 }`, false},
		{`listen: [{ address: ":8080" }]`, true},
		{`listen: [{ address: "[::1]:8080" }]`, true},
		{`listen: [{}]`, false},
		{`listen: [{ address: "8080" }]`, false},
		{`listen: [":8080"]`, false},
		{`trusted_proxies: [10.0.0.0/8, "::1", "${UNSET:-10.0.0.1}"]`, true},
		{`trusted_proxies: [all]`, false},
		{`admin: { tokens: [{ name: a, token: 0123456789abcdef, scopes: [read, "${UNSET:-purge}"] }] }`, true},
		{`admin: { tokens: [{ name: a, token: 0123456789abcdef }] }`, false},
		{`admin: { tokens: [{ name: a, token: 0123456789abcdef, scopes: [root] }] }`, false},
		{`admin: { require_token: false }`, true},
		{`admin: { require_token: "false" }`, false},
		{`limits: { header_bytes: 64KiB, url_bytes: 4096, query_params: 0 }`, true},
		{`limits: { header_bytes: 64KB }`, false},
		{`limits: { url_bytes: -1 }`, false},
		{`limits: { query_params: -1 }`, false},
		{`limits: { query_params: "5" }`, false},
		{`limits: { query_params: "${UNSET:-5}" }`, true},
		{`limits: { query_params: 1.5 }`, false},
		{`cache: { name: edge-1, targeted_fields: [My-Control] }`, true},
		{`cache: { name: "edge 1" }`, false},
		{`cache: { targeted_fields: ["My Control"] }`, false},
		{`cache: { l1: { policy: lru } }`, true},
		{`cache: { l1: { policy: fifo } }`, false},
		{`cache: { max_variants: 0 }`, false},
		{`routes: [{ name: a }]`, true},
		{`routes: [{ name: 5, cache: { key: { version: 1.10 } } }]`, true},
		{`routes: [{ match: { headers: { X-A: b, X-C: [d, 5] } } }]`, true},
		{`routes: [{ match: { headers: { X-A: { b: c } } } }]`, false},
		{`routes: [{ match: { hosts: shop.example.com } }]`, false},
		{`routes: [{ cache: { status_ttl: { 404: 10s } } }]`, true},
		{`routes: [{ cache: { status_ttl: { gone: 10s } } }]`, false},
		{`routes: [{ cache: { pattern: audit } }]`, false},
		{`routes: [{ cache: null }]`, false},
		{`log: { level: debug, format: text, access: false }`, true},
		{`log: { level: trace }`, false},
	} {
		text := "upstreams: { shop: { targets: [{ url: 'http://127.0.0.1:3000' }] } }\n" + c.text + "\n"
		if err := schema.Validate(jsonOf(t, text)); (err == nil) != c.ok {
			t.Errorf("the schema on %s: %v", c.text, err)
		}
		if _, _, err := config.Load(config.Options{File: write(t, "a.yaml", text), Env: env(nil)}); (err == nil) != c.ok {
			t.Errorf("Load on %s: %v", c.text, err)
		}
	}
}

// TestSchemaDescribes: every key has a description, which is what an editor shows.
func TestSchemaDescribes(t *testing.T) {
	walkTypes(reflect.TypeFor[config.Config](), "", func(path string, f reflect.StructField) {
		if f.Tag.Get("doc") == "" {
			t.Errorf("%s has no doc tag", path)
		}
	})
}

// walkTypes calls visit for each key of the file, with its path: routes[].cache.ttl, upstreams.*.host.
func walkTypes(t reflect.Type, path string, visit func(path string, f reflect.StructField)) {
	for i := range t.NumField() {
		f := t.Field(i)
		name := f.Tag.Get("yaml")
		if name == "" {
			continue
		}
		at := strings.TrimPrefix(path+"."+name, ".")
		visit(at, f)
		inner, suffix := f.Type, ""
		for {
			switch inner.Kind() {
			case reflect.Pointer:
				inner = inner.Elem()
				continue
			case reflect.Slice:
				inner, suffix = inner.Elem(), suffix+"[]"
				continue
			case reflect.Map:
				inner, suffix = inner.Elem(), suffix+".*"
				continue
			}
			break
		}
		if inner.Kind() == reflect.Struct && inner.Field(0).Tag.Get("yaml") != "" {
			walkTypes(inner, at+suffix, visit)
		}
	}
}
