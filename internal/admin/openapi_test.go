package admin

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/cacheproxy/cacheproxy/proxy"
)

// document is what the tests look at of the OpenAPI file.
type document struct {
	Paths map[string]map[string]struct {
		Summary    string
		Scope      string `yaml:"x-scope"`
		Parameters []struct{ Name string }
	}
	Components struct {
		Schemas map[string]struct{ Properties map[string]any }
	}
}

func readDocument(t *testing.T) (d document) {
	t.Helper()
	if err := yaml.Unmarshal(description, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// TestOpenAPIDescribesTheCalls: every call is described with its scope and its parameters, and nothing else is.
func TestOpenAPIDescribesTheCalls(t *testing.T) {
	d := readDocument(t)
	described := 0
	for _, methods := range d.Paths {
		described += len(methods)
	}
	if described != len(calls) {
		t.Errorf("%d calls are described, there are %d", described, len(calls))
	}
	for _, c := range calls {
		got, ok := d.Paths[c.path][strings.ToLower(c.method)]
		if !ok {
			t.Errorf("%s %s is not described", c.method, c.path)
			continue
		}
		if got.Summary != c.about || got.Scope != string(c.scope) {
			t.Errorf("%s %s is described as %q with scope %q, want %q with scope %q", c.method, c.path, got.Summary, got.Scope, c.about, c.scope)
		}
		var params []string
		for _, p := range got.Parameters {
			params = append(params, p.Name)
		}
		if !slices.Equal(params, c.params) {
			t.Errorf("%s %s is described with the parameters %q, want %q", c.method, c.path, params, c.params)
		}
	}
}

// TestOpenAPIDescribesTheTypes: a schema has the fields of the Go type that becomes it.
func TestOpenAPIDescribesTheTypes(t *testing.T) {
	types := map[string]reflect.Type{
		"Health": reflect.TypeFor[Health](), "PartHealth": reflect.TypeFor[PartHealth](),
		"Explanation": reflect.TypeFor[Explanation](), "Step": reflect.TypeFor[proxy.Step](),
		"LogLevel": reflect.TypeFor[LogLevel](), "Reloaded": reflect.TypeFor[Reloaded](), "Mistake": reflect.TypeFor[Mistake](),
		"RoutePage": reflect.TypeFor[Page[Route]](), "Route": reflect.TypeFor[Route](), "Problem": reflect.TypeFor[Problem](),
		"Order": reflect.TypeFor[Order](), "Receipt": reflect.TypeFor[Receipt](), "EntryPage": reflect.TypeFor[Page[Entry]](),
		"Entry": reflect.TypeFor[Entry](), "Graph": reflect.TypeFor[Graph](), "Edge": reflect.TypeFor[Edge](),
		"InstancePage": reflect.TypeFor[Page[Instance]](), "Instance": reflect.TypeFor[Instance](),
		"UpstreamPage": reflect.TypeFor[Page[Upstream]](), "Upstream": reflect.TypeFor[Upstream](), "UpstreamTarget": reflect.TypeFor[UpstreamTarget](),
	}
	schemas := readDocument(t).Components.Schemas
	if len(schemas) != len(types) {
		t.Errorf("%d schemas, want %d", len(schemas), len(types))
	}
	for name, typ := range types {
		var want []string
		for i := range typ.NumField() {
			field, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			want = append(want, field)
		}
		got := slices.Sorted(maps.Keys(schemas[name].Properties))
		if slices.Sort(want); !slices.Equal(got, want) {
			t.Errorf("%s is described with the fields %q, want %q", name, got, want)
		}
	}
}
