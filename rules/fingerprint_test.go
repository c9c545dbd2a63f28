package rules

import (
	"testing"
	"time"
)

// What changes what is stored or for how long changes the fingerprint; nothing else does.
func TestFingerprint(t *testing.T) {
	rule := func(change func(*Spec), options func(*Options)) uint64 {
		o := testOptions
		spec := Spec{Name: "a", Upstream: "shop", Match: MatchSpec{Paths: []string{"/a"}}, Cache: &CacheSpec{}}
		if change != nil {
			change(&spec)
		}
		if options != nil {
			options(&o)
		}
		table, _, errs := Compile([]Spec{spec}, o)
		if errs != nil {
			t.Fatal(errs)
		}
		return table.Routes()[0].Rule
	}
	plain := rule(nil, nil)
	if plain != 0xecd62caba52ff75c {
		t.Errorf("fingerprint %#x: it differs from that of other processes, whose entries would be fetched anew", plain)
	}
	for name, change := range map[string]func(*Spec){
		"no cache block":   func(s *Spec) { s.Cache = nil },
		"name":             func(s *Spec) { s.Name = "b" },
		"match":            func(s *Spec) { s.Match.Paths = []string{"/b"} },
		"response headers": func(s *Spec) { s.Headers.Response.Set = map[string]string{"X": "1"} },
		"write":            func(s *Spec) { s.Write.Invalidate.Tags = []string{"a"} },
		"bypass":           func(s *Spec) { s.Cache.Bypass = "true" },
		"collapse":         func(s *Spec) { s.Cache.Collapse.Wait = ptr(time.Second) },
		"defaults in words": func(s *Spec) {
			s.Cache.Pattern, s.Cache.Key.Host, s.Cache.Key.Query.Sort, s.Cache.RespectOrigin = "cache-aside", ptr(true), ptr(true), ptr(true)
		},
		"empty lists": func(s *Spec) {
			s.Cache.StatusTTL, s.Cache.Key.Headers, s.Headers.Request.Set = map[int]time.Duration{}, []string{}, map[string]string{}
		},
		"encode of nothing":  func(s *Spec) { s.Cache.Encode = EncodeSpec{Algorithms: []string{}, MinBytes: ptr(int64(9))} },
		"default upstream":   func(s *Spec) { s.Upstream = "" },
		"rewrite of nothing": func(s *Spec) { s.Rewrite.AddPrefix = "/" },
	} {
		if rule(change, nil) != plain {
			t.Errorf("%s changes the fingerprint", name)
		}
	}
	seen := map[uint64]string{plain: "plain"}
	for name, change := range map[string]func(*Spec){
		"upstream":               func(s *Spec) { s.Upstream = "api" },
		"strip":                  func(s *Spec) { s.Rewrite.StripPrefix = "/a" },
		"add":                    func(s *Spec) { s.Rewrite.AddPrefix = "/a" },
		"request header":         func(s *Spec) { s.Headers.Request.Set = map[string]string{"X": "1"} },
		"other request header":   func(s *Spec) { s.Headers.Request.Set = map[string]string{"X": "2"} },
		"removed header":         func(s *Spec) { s.Headers.Request.Remove = []string{"X"} },
		"off":                    func(s *Spec) { s.Cache.Pattern = "off" },
		"ttl":                    func(s *Spec) { s.Cache.TTL = ptr(time.Second) },
		"ttl 0":                  func(s *Spec) { s.Cache.TTL = ptr(time.Duration(0)) },
		"respect_origin":         func(s *Spec) { s.Cache.RespectOrigin = ptr(false) },
		"set_cookie":             func(s *Spec) { s.Cache.Store.SetCookie = true },
		"stale_while_revalidate": func(s *Spec) { s.Cache.StaleWhileRevalidate = ptr(time.Second) },
		"stale_if_error":         func(s *Spec) { s.Cache.StaleIfError = ptr(time.Second) },
		"status_ttl":             func(s *Spec) { s.Cache.StatusTTL = map[int]time.Duration{404: 1} },
		"when":                   func(s *Spec) { s.Cache.When = "true" },
		"max_object_bytes":       func(s *Spec) { s.Cache.MaxObjectBytes = ptr(int64(1)) },
		"key.host":               func(s *Spec) { s.Cache.Key.Host = ptr(false) },
		"key.route":              func(s *Spec) { s.Cache.Key.Route = ptr(false) },
		"key.query":              func(s *Spec) { s.Cache.Key.Query.Mode = "none" },
		"key.query.names":        func(s *Spec) { s.Cache.Key.Query = QuerySpec{Mode: "allow", Names: []string{"a"}} },
		"key.query.sort":         func(s *Spec) { s.Cache.Key.Query.Sort = ptr(false) },
		"key.query.forward":      func(s *Spec) { s.Cache.Key.Query.Forward = true },
		"key.headers":            func(s *Spec) { s.Cache.Key.Headers = []string{"X"} },
		"key.cookies":            func(s *Spec) { s.Cache.Key.Cookies = []string{"X"} },
		"key.version":            func(s *Spec) { s.Cache.Key.Version = "1" },
		"vary.normalize":         func(s *Spec) { s.Cache.Vary.Normalize = map[string][]string{"X": {"1"}} },
		"tags":                   func(s *Spec) { s.Cache.Tags = []string{"a"} },
		"depends_on":             func(s *Spec) { s.Cache.DependsOn = []string{"tag:a"} },
		"vary.sort":              func(s *Spec) { s.Cache.Vary.Sort = []string{"X"} },
		"encode":                 func(s *Spec) { s.Cache.Encode = EncodeSpec{Algorithms: []string{"br"}, Types: []string{"text/*"}} },
		"encode.algorithms":      func(s *Spec) { s.Cache.Encode = EncodeSpec{Algorithms: []string{"gzip"}, Types: []string{"text/*"}} },
		"encode.types":           func(s *Spec) { s.Cache.Encode = EncodeSpec{Algorithms: []string{"br"}, Types: []string{"text/html"}} },
		"encode.min_bytes": func(s *Spec) {
			s.Cache.Encode = EncodeSpec{Algorithms: []string{"br"}, Types: []string{"text/*"}, MinBytes: ptr(int64(9))}
		},
	} {
		got := rule(change, nil)
		if other := seen[got]; other != "" {
			t.Errorf("%s has the fingerprint of %s", name, other)
		}
		seen[got] = name
	}
	for name, change := range map[string]func(*Options){
		"default_ttl":      func(o *Options) { o.DefaultTTL = 1 },
		"max_lifetime":     func(o *Options) { o.MaxLifetime = 1 },
		"targeted_fields":  func(o *Options) { o.TargetedFields = []string{"CDN-Cache-Control"} },
		"max_object_bytes": func(o *Options) { o.MaxObjectBytes = 2 },
		"tag_headers":      func(o *Options) { o.TagHeaders = []string{"X-Tags"} },
	} {
		if other := seen[rule(nil, change)]; other != "" {
			t.Errorf("%s has the fingerprint of %s", name, other)
		}
	}
}
