package rules

import (
	"reflect"
	"strings"
	"testing"

	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// Routes inherit what they do not say; the default route has all of it.
func TestEncodingIsInherited(t *testing.T) {
	o := testOptions
	o.Encode = EncodeSpec{Algorithms: []string{"br", "gzip"}, MinBytes: ptr(int64(100)), Types: []string{"Text/*"}}
	all := &rfc9111.Encoding{Codings: []rfc9111.Coding{rfc9111.Brotli, rfc9111.Gzip}, MinBytes: 100, Types: []string{"text/*"}}
	tests := []struct {
		name string
		spec *CacheSpec
		want *rfc9111.Encoding
	}{
		{"no cache block", nil, all},
		{"an empty one", &CacheSpec{}, all},
		{"its own order", &CacheSpec{Encode: EncodeSpec{Algorithms: []string{"gzip", "zstd"}}},
			&rfc9111.Encoding{Codings: []rfc9111.Coding{rfc9111.Gzip, rfc9111.Zstd}, MinBytes: 100, Types: []string{"text/*"}}},
		{"its own size and types", &CacheSpec{Encode: EncodeSpec{MinBytes: ptr(int64(0)), Types: []string{"application/json"}}},
			&rfc9111.Encoding{Codings: all.Codings, Types: []string{"application/json"}}},
		{"no algorithm", &CacheSpec{Encode: EncodeSpec{Algorithms: []string{}}}, nil},
		{"no type", &CacheSpec{Encode: EncodeSpec{Types: []string{}}}, nil},
		{"nothing is cached", &CacheSpec{Pattern: "off"}, nil},
	}
	for _, tt := range tests {
		table, _, errs := Compile([]Spec{{Upstream: "shop", Cache: tt.spec}}, o)
		if errs != nil {
			t.Fatalf("%s: %v", tt.name, errs)
		}
		if got := table.Routes()[0].Policy.Encode; !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
		if got := table.Routes()[1].Policy.Encode; !reflect.DeepEqual(got, all) {
			t.Errorf("%s: the default route has %+v", tt.name, got)
		}
	}
}

func TestEncodingMistakes(t *testing.T) {
	for _, tt := range []struct {
		spec EncodeSpec
		want string
	}{
		{EncodeSpec{Algorithms: []string{"brotli"}}, `cache.encode.algorithms[0]: "brotli" is no algorithm; write br, zstd or gzip`},
		{EncodeSpec{Algorithms: []string{"identity"}}, `"identity" is no algorithm`},
		{EncodeSpec{Algorithms: []string{"br", "br"}}, "cache.encode.algorithms[1]: br is named twice"},
		{EncodeSpec{Types: []string{"text/html", "html"}}, `cache.encode.types[1]: "html" is no media type`},
		{EncodeSpec{Types: []string{"text/html; charset=utf-8"}}, "is no media type"},
		{EncodeSpec{Types: []string{"*/*x*"}}, "is no media type"},
		{EncodeSpec{MinBytes: ptr(int64(-1))}, "cache.encode.min_bytes: is negative"},
	} {
		_, _, errs := Compile([]Spec{{Upstream: "shop", Cache: &CacheSpec{Encode: tt.spec}}}, testOptions)
		if len(errs) != 1 || !strings.Contains(errs[0].Error(), tt.want) {
			t.Errorf("%+v: %v, want %s", tt.spec, errs, tt.want)
		}
	}
}

// A key by Accept-Encoding would make as many copies of one response.
func TestEncodingAndTheKey(t *testing.T) {
	spec := Spec{Upstream: "shop", Cache: &CacheSpec{Key: KeySpec{Headers: []string{"accept-encoding", "X"}}}}
	o := testOptions
	for _, encodes := range []bool{false, true} {
		if encodes {
			o.Encode = EncodeSpec{Algorithms: []string{"br"}, Types: []string{"text/*"}}
		}
		table, warnings, errs := Compile([]Spec{spec}, o)
		if errs != nil {
			t.Fatal(errs)
		}
		if got := len(table.Routes()[0].key.headers); (got == 1) != encodes || (len(warnings) == 1) != encodes {
			t.Errorf("encodes: %v: %v, warnings %v", encodes, table.Routes()[0].key.headers, warnings)
		}
	}
}
