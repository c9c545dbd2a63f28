package rules

import (
	"reflect"
	"strings"
	"testing"
)

// Each key has a name and a description that ends like a sentence; both are read at run time.
func TestSpecTags(t *testing.T) {
	seen := map[reflect.Type]bool{}
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		for typ.Kind() == reflect.Pointer {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || seen[typ] {
			return
		}
		seen[typ] = true
		for i := range typ.NumField() {
			f := typ.Field(i)
			name, doc := f.Tag.Get("yaml"), f.Tag.Get("doc")
			if name == "" || name != strings.ToLower(name) {
				t.Errorf("%s.%s has the key %q", typ.Name(), f.Name, name)
			}
			if !strings.HasSuffix(doc, ".") || strings.Contains(doc, "\n") {
				t.Errorf("%s.%s has the description %q", typ.Name(), f.Name, doc)
			}
			for value := range strings.SplitSeq(strings.Trim(f.Tag.Get("default"), "[]"), ", ") {
				if values := f.Tag.Get("enum"); value != "" && values != "" && !strings.Contains(","+values+",", ","+value+",") {
					t.Errorf("%s.%s has the default %q, which is none of %s", typ.Name(), f.Name, value, values)
				}
			}
			walk(f.Type)
		}
	}
	walk(reflect.TypeFor[Spec]())
	if len(seen) != 14 {
		t.Errorf("%d types have descriptions", len(seen))
	}
}
