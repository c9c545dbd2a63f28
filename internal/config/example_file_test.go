package config_test

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/cacheproxy/cacheproxy/internal/config"
)

// TestExampleLoads: what users copy from works as it stands, by Load and by the schema.
func TestExampleLoads(t *testing.T) {
	c, w := mustLoad(t, config.Options{File: exampleFile})
	if len(w) != 0 {
		t.Errorf("warnings: %v", w)
	}
	if len(c.Routes) == 0 || c.Routes[0].Cache == nil {
		t.Error("the example shows no route that caches")
	}
	text, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(text), "# yaml-language-server: $schema=./config.schema.json\n") {
		t.Error("the first line does not name the schema for editors")
	}
	if err := compileSchema(t).Validate(jsonOf(t, string(text))); err != nil {
		t.Error(err)
	}
}

// described is a key of the example with the comment above it.
type described struct {
	comment string
	value   *yaml.Node
}

// TestExampleShowsAll: every key stands in the example with a comment, and each default that a comment names is the real one.
func TestExampleShowsAll(t *testing.T) {
	text, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	shown := map[string]described{}
	collect(doc.Content[0], "", shown)
	named := regexp.MustCompile(`(?s)Default: (.*?)\.$`)
	walkTypes(reflect.TypeFor[config.Config](), "", func(path string, f reflect.StructField) {
		key, ok := shown[path]
		if !ok {
			t.Errorf("%s is not in the example", path)
			return
		}
		want, hasDefault := f.Tag.Lookup("default")
		m := named.FindStringSubmatch(key.comment)
		switch {
		case hasDefault && m == nil:
			t.Errorf("%s: the comment names no default; it is %s", path, want)
		case hasDefault && !sameYAML(m[1], want):
			t.Errorf("%s: the comment names the default %s; it is %s", path, m[1], want)
		case !hasDefault && m == nil && isLeaf(f.Type) && !strings.Contains(key.comment, "No default: "):
			t.Errorf("%s: the comment says nothing about a default", path)
		}
	})
}

// collect gathers the keys of a mapping. A comment on a list's first key hangs on the list's element.
func collect(n *yaml.Node, path string, into map[string]described) {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			comment := key.HeadComment
			if i == 0 && comment == "" {
				comment = n.HeadComment
			}
			at := strings.TrimPrefix(path+"."+key.Value, ".")
			into[at] = described{strings.ReplaceAll(strings.ReplaceAll(comment, "\n# ", " "), "# ", ""), value}
			if path == "upstreams" {
				at = "upstreams.*"
			}
			collect(value, at, into)
		}
	case yaml.SequenceNode:
		for _, item := range n.Content {
			collect(item, path+"[]", into)
		}
	}
}

// isLeaf reports whether a key holds a value of its own, or only further keys.
func isLeaf(t reflect.Type) bool {
	return t.Kind() != reflect.Struct || t.Field(0).Tag.Get("yaml") == ""
}

func sameYAML(a, b string) bool {
	var x, y any
	return yaml.Unmarshal([]byte(a), &x) == nil && yaml.Unmarshal([]byte(b), &y) == nil && reflect.DeepEqual(x, y)
}
