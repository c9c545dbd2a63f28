package rules

import "time"

// Spec is one route as it stands in the configuration file.
//
// The struct tags of Spec and of the types below are read at run time: yaml is the key, doc the description in the
// JSON Schema and the example, default the value that holds where the key is absent, enum the values that are allowed,
// unit the kind of number.
type Spec struct {
	Name     string     `yaml:"name" doc:"Name of the route in logs, metrics, explain and keys. Default: a short hash of match and upstream. The name default is reserved."`
	Match    MatchSpec  `yaml:"match" doc:"Which requests take this route; the first route that matches wins. Empty: all."`
	Upstream string     `yaml:"upstream" doc:"Name of the upstream. Default: default_upstream."`
	Rewrite  Rewrite    `yaml:"rewrite" doc:"How the path is changed for the upstream."`
	Headers  HeaderSpec `yaml:"headers" doc:"Header fields that are set or removed on the way."`
	Cache    *CacheSpec `yaml:"cache" doc:"How responses are cached. Absent: the route follows the origin."` // nil where absent
	Write    WriteSpec  `yaml:"write" doc:"What requests with unsafe methods, such as POST and DELETE, invalidate."`
}

// MatchSpec says which requests take a route. All conditions that are given must hold; of several values any may match.
type MatchSpec struct {
	Hosts   []string             `yaml:"hosts" doc:"Globs over the host, in lower case and without port; * stops at a dot."`
	Paths   []string             `yaml:"paths" doc:"Globs over the path; * stops at a slash, ** does not, and /x/** also matches /x."`
	Methods []string             `yaml:"methods" doc:"Request methods. Empty: any. GET includes HEAD."`
	Headers map[string]OneOrMany `yaml:"headers" doc:"Globs over the values of request header fields; a lone * is presence."`
	Query   map[string]OneOrMany `yaml:"query" doc:"Globs over the decoded values of query parameters; a lone * is presence."`
	When    string               `yaml:"when" doc:"CEL condition over the request; an error while evaluating counts as false."`
}

// OneOrMany is a scalar or a list of scalars.
type OneOrMany []string

// Rewrite changes the path for the upstream, in whole segments: first the prefix is stripped, then the other is added.
type Rewrite struct {
	StripPrefix string `yaml:"strip_prefix" doc:"Whole leading segments that the upstream does not see: /api strips /api and /api/x, not /apix."`
	AddPrefix   string `yaml:"add_prefix" doc:"Leading segments that only the upstream sees."`
}

// HeaderSpec holds the header rules of both directions.
type HeaderSpec struct {
	Request  HeaderRules `yaml:"request" doc:"Fields of requests to the upstream."`
	Response HeaderRules `yaml:"response" doc:"Fields of responses to clients; applied when a response is served, not when it is stored."`
}

// HeaderRules sets and removes header fields.
type HeaderRules struct {
	Set    map[string]string `yaml:"set" doc:"Fields that are set, in place of any that are there."`
	Remove []string          `yaml:"remove" doc:"Fields that are removed."`
}

// CacheSpec says how a route caches. Pointers are nil where the key is absent.
type CacheSpec struct {
	Pattern              string                `yaml:"pattern" doc:"cache-aside caches, off passes everything through." default:"cache-aside" enum:"cache-aside,off"`
	TTL                  *time.Duration        `yaml:"ttl" doc:"Freshness lifetime of successful responses in place of the origin's. Absent: the origin's."`
	RespectOrigin        *bool                 `yaml:"respect_origin" doc:"Whether no-store, private, no-cache and must-revalidate of the origin win over ttl and the stale times of this rule." default:"true"`
	Store                StoreSpec             `yaml:"store" doc:"What is otherwise never stored."`
	StaleWhileRevalidate *time.Duration        `yaml:"stale_while_revalidate" doc:"How long a stale response may be served while it is renewed behind. Absent: the origin's say."`
	StaleIfError         *time.Duration        `yaml:"stale_if_error" doc:"How long a stale response may be served while the origin fails. Absent: the origin's say."`
	StatusTTL            map[int]time.Duration `yaml:"status_ttl" doc:"Freshness lifetime by status code, for example 404: 10s."`
	Tiers                []string              `yaml:"tiers" doc:"Where responses are kept: l1 is memory, which is always there, l2 is Redis, where it is set up." default:"[l1, l2]" enum:"l1,l2"`
	When                 string                `yaml:"when" doc:"CEL condition over request and response; only where it is true is a response stored. An error while evaluating counts as false."`
	Bypass               string                `yaml:"bypass" doc:"CEL condition over the request; where it is true the cache is neither read nor written. An error while evaluating counts as true."`
	Key                  KeySpec               `yaml:"key" doc:"What of a request tells stored responses apart, beside what the response names in Vary."`
	Vary                 VarySpec              `yaml:"vary" doc:"How request fields are brought into one form before a response is selected, and before they reach the upstream."`
	CompleteRanges       bool                  `yaml:"complete_ranges" doc:"Whether the missing rest of a stored part is fetched and the whole served." default:"false"`
	MaxObjectBytes       *int64                `yaml:"max_object_bytes" doc:"Largest response body that is stored. Default: cache.l1.max_object_bytes." unit:"bytes"`
	Encode               EncodeSpec            `yaml:"encode" doc:"Encoded forms of stored responses. Absent keys are as in cache.encode."`
	Tags                 []string              `yaml:"tags" doc:"Tags by which stored responses can be purged, beside those of the fields in cache.tag_headers: fixed ones, and templates with {path.N} (segments from 0), {query.NAME}, {host}, {header.NAME} and {route}. One with an absent part is left out."`
	DependsOn            []string              `yaml:"depends_on" doc:"What responses are made of, as tag:NAME or url:URL: whatever purges it purges them."`
	Collapse             CollapseSpec          `yaml:"collapse" doc:"How requests for the same key wait for one fetch."`
}

// StoreSpec allows to store what is otherwise never stored. Each of these can hand one user's response to another.
type StoreSpec struct {
	SetCookie   bool `yaml:"set_cookie" doc:"Store responses with Set-Cookie, cookies included." default:"false"`
	Authorized  bool `yaml:"authorized" doc:"Store responses to requests with Authorization; the key does not tell users apart by itself." default:"false"`
	UnkeyedCORS bool `yaml:"unkeyed_cors" doc:"Store responses that echo the request's Origin without naming it in Vary." default:"false"`
	Post        bool `yaml:"post" doc:"Store responses to POST that carry explicit freshness and Content-Location." default:"false"`
}

// KeySpec says what goes into the key.
type KeySpec struct {
	Host    *bool     `yaml:"host" doc:"Whether the host is in the key." default:"true"`
	Route   *bool     `yaml:"route" doc:"Whether the route's name is in the key, so that two upstreams never share a response." default:"true"`
	Query   QuerySpec `yaml:"query" doc:"Which query parameters are in the key."`
	Headers []string  `yaml:"headers" doc:"Request header fields whose values are in the key."`
	Cookies []string  `yaml:"cookies" doc:"Cookies whose values are in the key."`
	Version string    `yaml:"version" doc:"A text of your own in the key, to change when the meaning of what is cached changes."`
}

// QuerySpec says which query parameters are in the key. What is not in the key is not forwarded either.
type QuerySpec struct {
	Mode    string   `yaml:"mode" doc:"all parameters, none, only those in names (allow), or all but those in names (ignore)." default:"all" enum:"all,none,allow,ignore"`
	Names   []string `yaml:"names" doc:"Globs over decoded parameter names, for allow and ignore, for example utm_*."`
	Sort    *bool    `yaml:"sort" doc:"Whether parameters are sorted by name in the key; equal names keep their order. The upstream gets the client's order." default:"true"`
	Forward bool     `yaml:"forward" doc:"Also send to the upstream what is not in the key." default:"false"`
}

// VarySpec says how request fields are normalised. Accept-Encoding always is.
type VarySpec struct {
	Normalize map[string][]string `yaml:"normalize" doc:"Values that a request field may have; what asks for none of them becomes the first. Accept-Language is negotiated by weight, other fields are compared whole."`
	Sort      []string            `yaml:"sort" doc:"Request fields whose comma-separated members may change places."`
}

// EncodeSpec says which encoded forms of stored responses are made for clients. What is nil is inherited.
type EncodeSpec struct {
	Algorithms []string `yaml:"algorithms" doc:"Content codings, the preferred one first; [] makes none. Default: those of cache.encode." enum:"br,zstd,gzip"`
	MinBytes   *int64   `yaml:"min_bytes" doc:"Smaller bodies stay as they are. Default: that of cache.encode." unit:"bytes"`
	Types      []string `yaml:"types" doc:"Media types that are encoded; * is any run of characters. Default: those of cache.encode."`
}

// WriteSpec says what a write does to what is stored.
type WriteSpec struct {
	Wait       string         `yaml:"wait" doc:"How far the invalidation must be before the client gets its answer: applied on this instance, or on all." default:"local" enum:"local,all"`
	Invalidate InvalidateSpec `yaml:"invalidate" doc:"What a successful write purges beside its own URL (RFC 9111, 4.4)."`
}

// InvalidateSpec names what is purged.
type InvalidateSpec struct {
	Tags     []string `yaml:"tags" doc:"Tags, or templates as in cache.tags."`
	URLs     []string `yaml:"urls" doc:"URLs, absolute or from the slash on, or templates as in cache.tags."`
	Patterns []string `yaml:"patterns" doc:"Globs over the path, or over host and path; re: begins a regular expression over host, path and query."`
}

// CollapseSpec says how requests for the same key share one fetch.
type CollapseSpec struct {
	Wait            *time.Duration `yaml:"wait" doc:"How long a request waits for the head of another's fetch before it goes on its own." default:"10s"`
	AcrossInstances bool           `yaml:"across_instances" doc:"Whether one instance fetches for all that share a Redis. The others wait for what it stores, three quarters of wait at most, and then go on alone." default:"false"`
}
