package rules

import (
	"slices"
	"strings"
	"testing"
)

func compileOne(t *testing.T, spec Spec) (*Route, []*Warning, []*Error) {
	t.Helper()
	spec.Name, spec.Upstream = "test", "shop"
	table, warnings, errs := Compile([]Spec{spec}, testOptions)
	if table == nil {
		return nil, warnings, errs
	}
	return table.Routes()[0], warnings, errs
}

func TestTags(t *testing.T) {
	for _, tt := range []struct {
		tags string
		req  *request
		want string
	}{
		{"products product:{path.1}", get("http://a/products/7"), "products product:7"},
		{"{path.0} {path.1} {path.2}", get("http://a/x/"), "x"}, // an empty segment is absent
		{"{path.0}", get("http://a/"), ""},
		{"p:{path.0}:{path.1}", get("http://a/x"), ""},
		{"{path.0}", get("http://a/a%20b%2Cc%2Fd"), "a%20b%2Cc/d"},
		{"{query.id} q:{query.a+b}", get("http://a/?x=1&id=4+5&id=6&a%2Bb=7"), "4%205 q:7"},
		{"{query.id}", get("http://a/?id"), ""},
		{"{query.id}", get("http://a/?id=%0d%0ax"), "%0D%0Ax"},
		{"{host} {route}", get("http://shop.example:81/"), "shop.example test"},
		{"l:{header.x-lang} m:{header.X-None}", get("http://a/", "X-Lang: a, b"), "l:a%2C%20b"},
		{"a a:{path.0} a", get("http://a/x"), "a a:x"},
	} {
		spec := Spec{Cache: &CacheSpec{Tags: slices.Compact(strings.Fields(strings.TrimSuffix(tt.tags, " a")))}}
		route, _, errs := compileOne(t, spec)
		if errs != nil {
			t.Fatalf("%s: %v", tt.tags, errs)
		}
		if got := strings.Join(route.AppendTags(nil, tt.req), " "); got != tt.want {
			t.Errorf("%s of %s: %q, want %q", tt.tags, tt.req.Target(), got, tt.want)
		}
		for _, tag := range route.AppendTags(nil, tt.req) {
			if !route.Provides(tag) {
				t.Errorf("%s gives %q, but Provides denies it", tt.tags, tag)
			}
		}
	}
}

func TestProvides(t *testing.T) {
	for _, tt := range []struct {
		tag, template string
		want          bool
	}{
		{"a", "a", true}, {"ab", "a", false}, {"product:1", "product:{path.1}", true}, {"product:", "product:{path.1}", false},
		{"x", "product:{path.1}", false}, {"a-b-c", "{path.0}-c", true}, {"-c", "{path.0}-c", false}, {"a1b2", "a{path.0}b{path.1}", true},
		{"ab2", "a{path.0}b{path.1}", false}, {"abb2", "a{path.0}b{path.1}", true}, {"anything", "{host}", true},
	} {
		route, _, errs := compileOne(t, Spec{Cache: &CacheSpec{Tags: []string{tt.template}}})
		if errs != nil {
			t.Fatal(errs)
		}
		if got := route.Provides(tt.tag); got != tt.want {
			t.Errorf("%s provides %q: %v, want %v", tt.template, tt.tag, got, tt.want)
		}
	}
}

func TestInvalidation(t *testing.T) {
	route, _, errs := compileOne(t, Spec{Write: WriteSpec{Wait: "all", Invalidate: InvalidateSpec{
		Tags: []string{"product:{path.1}"}, URLs: []string{"/catalog/{path.1}?q={query.q}", "https://b/{header.X}"}, Patterns: []string{"/x/**", "re:^a"},
	}}})
	if errs != nil {
		t.Fatal(errs)
	}
	req := get("http://a/products/7%2F8?q=a+b%26", "X: a/b")
	if got := route.InvalidatedTags(req); !slices.Equal(got, []string{"product:7/8"}) {
		t.Errorf("tags %q", got)
	}
	if got := route.InvalidatedURLs(req); !slices.Equal(got, []string{"/catalog/7%2F8?q=a+b%26", "https://b/a%2Fb"}) {
		t.Errorf("URLs %q", got)
	}
	if !route.Invalidates.WaitAll || len(route.Invalidates.Patterns) != 2 || route.Invalidates.IsEmpty() {
		t.Errorf("%+v", route.Invalidates)
	}
}

func TestTagMistakes(t *testing.T) {
	for _, tt := range []struct {
		spec Spec
		want string
	}{
		{Spec{Cache: &CacheSpec{Tags: []string{"a b"}}}, "separated"},
		{Spec{Cache: &CacheSpec{Tags: []string{""}}}, "is empty"},
		{Spec{Cache: &CacheSpec{Tags: []string{"{path.x}"}}}, "nothing that a request has"},
		{Spec{Cache: &CacheSpec{Tags: []string{"{path.-1}"}}}, "nothing that a request has"},
		{Spec{Cache: &CacheSpec{Tags: []string{"{query.}"}}}, "nothing that a request has"},
		{Spec{Cache: &CacheSpec{Tags: []string{"{header.a b}"}}}, "separated"},
		{Spec{Cache: &CacheSpec{Tags: []string{"{host"}}}, "no closing one"},
		{Spec{Cache: &CacheSpec{Tags: []string{"a", "a"}}}, "named twice"},
		{Spec{Cache: &CacheSpec{DependsOn: []string{"prices"}}}, "neither tag:NAME nor url:URL"},
		{Spec{Cache: &CacheSpec{DependsOn: []string{"tag:"}}}, "names nothing"},
		{Spec{Cache: &CacheSpec{DependsOn: []string{"tag:a b"}}}, "is no tag"},
		{Spec{Cache: &CacheSpec{DependsOn: []string{"url:catalog"}}}, "is no URL"},
		{Spec{Cache: &CacheSpec{DependsOn: []string{"url:/a\\b"}}}, "is no URL"},
		{Spec{Write: WriteSpec{Wait: "none"}}, "is no distance"},
		{Spec{Write: WriteSpec{Invalidate: InvalidateSpec{URLs: []string{"catalog"}}}}, "begins neither"},
		{Spec{Write: WriteSpec{Invalidate: InvalidateSpec{Patterns: []string{"re:("}}}}, "no regular expression"},
		{Spec{Write: WriteSpec{Invalidate: InvalidateSpec{Patterns: []string{""}}}}, "is empty"},
	} {
		_, _, errs := compileOne(t, tt.spec)
		if len(errs) == 0 || !strings.Contains(errs[0].Error(), tt.want) {
			t.Errorf("%+v: %v, want %q", tt.spec, errs, tt.want)
		}
	}
}

// TestTagsOfUnkeyedParts: a client must not choose the tags of what others get without anybody being warned.
func TestTagsOfUnkeyedParts(t *testing.T) {
	no := false
	_, warnings, _ := compileOne(t, Spec{Cache: &CacheSpec{
		Tags: []string{"{header.X}", "{query.utm_x}", "{host}", "{header.Y}", "{query.q}"},
		Key:  KeySpec{Host: &no, Headers: []string{"Y"}, Query: QuerySpec{Mode: "ignore", Names: []string{"utm_*"}}},
	}})
	if len(warnings) != 3 {
		t.Errorf("%v, want three warnings", warnings)
	}
}

func FuzzParseDependency(f *testing.F) {
	for _, s := range []string{"tag:a", "url:/a", "url:http://a/b", "url://a", "tag:", "x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d, wrong := ParseDependency(s); wrong == "" && d.String() != s {
			t.Errorf("%q becomes %q", s, d)
		}
	})
}
