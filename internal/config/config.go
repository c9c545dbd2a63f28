package config

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/cacheproxy/cacheproxy/proxy/upstream"
	"github.com/cacheproxy/cacheproxy/rules"
)

// Config is a whole configuration: the file, with flags, environment and defaults put in. It must not be changed.
type Config struct {
	DataDir         string                      `yaml:"data_dir" default:"./data" doc:"Directory for what must outlive the process, such as certificates of ACME. Made when something needs it, for this user only; one instance at a time."`
	DefaultUpstream string                      `yaml:"default_upstream" doc:"Name of the upstream that takes what no route matches. Default: the only upstream; where there are several and none is named, such requests get 404."`
	Listen          []Listener                  `yaml:"listen" default:"[{address: ':8080'}]" doc:"Where clients are listened for."`
	ShutdownTimeout time.Duration               `yaml:"shutdown_timeout" default:"30s" doc:"How long requests in flight may take to end after SIGTERM."`
	TrustedProxies  []netip.Prefix              `yaml:"trusted_proxies" doc:"Networks whose X-Forwarded-* and Forwarded fields are believed."`
	Admin           Admin                       `yaml:"admin" doc:"The administration listener."`
	Purge           Purge                       `yaml:"purge" doc:"PURGE on the main listener."`
	Limits          Limits                      `yaml:"limits" doc:"What a client may ask for."`
	Redis           Redis                       `yaml:"redis" doc:"The server behind memory. Leave it out: memory only, everything else works the same on one instance."`
	Cache           Cache                       `yaml:"cache" doc:"What all routes share."`
	Upstreams       map[string]upstream.Options `yaml:"upstreams" doc:"The origins, by name."`
	Routes          []rules.Spec                `yaml:"routes" doc:"The routes; the first that matches wins. A route without cache follows the origin."`
	Log             Log                         `yaml:"log" doc:"The log, on standard error."`

	table *rules.Table
	files []string
}

// Admin is the administration listener.
type Admin struct {
	Address      string  `yaml:"address" default:"127.0.0.1:8081" format:"address" doc:"HOST:PORT. Elsewhere than on loopback a token is always needed."`
	RequireToken bool    `yaml:"require_token" default:"false" doc:"Whether a token is needed on loopback too."`
	Tokens       []Token `yaml:"tokens" doc:"Who may call the administration API."`
}

// Token is the right to make the calls of its scopes.
type Token struct {
	Name   string   `yaml:"name" required:"true" doc:"How the log names the holder. Unique."`
	Token  Secret   `yaml:"token" required:"true" doc:"The bearer token: at least 16 visible ASCII characters are advised."`
	Scopes []string `yaml:"scopes" required:"true" enum:"read,purge,admin" doc:"What the token allows. admin: reload and log level."`
}

// Secret is a text that is never printed: it formats, logs and marshals as a mask. Convert it to a string to use it.
type Secret string

// mask stands where a secret stood.
const mask = "(masked)"

// String returns a mask, or nothing where there is no secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return mask
}

// Format is String for all verbs: %d and its like would show the text that they cannot print.
func (s Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, s.String()) }

// MarshalText is String, for JSON and YAML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue is String, for log/slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// Purge says who may PURGE on the main listener without a token.
type Purge struct {
	Allow []netip.Prefix `yaml:"allow" default:"[127.0.0.0/8, '::1/128']" doc:"Networks that may PURGE without a token. The socket's peer counts, not a header."`
}

// Limits bounds what a client may ask for.
type Limits struct {
	HeaderBytes       int64         `yaml:"header_bytes" default:"32KiB" unit:"bytes" min:"1KiB" doc:"Size of a request's header section; more: 431."`
	URLBytes          int64         `yaml:"url_bytes" default:"8KiB" unit:"bytes" min:"1" doc:"Length of a request's URL; more: 414."`
	QueryParams       int           `yaml:"query_params" default:"1000" min:"0" doc:"Number of query parameters; more: 400."`
	HeaderTimeout     time.Duration `yaml:"header_timeout" default:"10s" min:"1ms" doc:"How long a client may take to send a request's header section."`
	IdleTimeout       time.Duration `yaml:"idle_timeout" default:"2m" min:"1ms" doc:"How long a client's connection may idle between requests."`
	Connections       int           `yaml:"connections" default:"0" min:"0" doc:"Client connections at once; more: 503. 0 follows the limit of open files."`
	ConcurrentFetches int           `yaml:"concurrent_fetches" default:"1024" min:"1" doc:"Requests to upstreams at once; more: 503 with Retry-After."`
}

// Cache is what all routes share.
type Cache struct {
	Name           string        `yaml:"name" default:"cacheproxy" format:"token" doc:"This cache's name in Cache-Status."`
	KeyPrefix      string        `yaml:"key_prefix" default:"cacheproxy" doc:"Every key and channel in Redis begins with it. Instances with the same prefix share what they store."`
	DefaultTTL     time.Duration `yaml:"default_ttl" default:"0s" doc:"Freshness lifetime of a cacheable response that says nothing. 0s: RFC 9111 heuristics."`
	TargetedFields []string      `yaml:"targeted_fields" default:"[CDN-Cache-Control, Surrogate-Control]" format:"field" doc:"RFC 9213 fields, the most specific first."`
	HitForMiss     time.Duration `yaml:"hit_for_miss" default:"30s" doc:"How long a response that could not be stored is remembered, so that nobody waits in line for it."`
	MaxLifetime    time.Duration `yaml:"max_lifetime" default:"1d" min:"1s" doc:"No entry outlives it, stale time included; a longer ttl is cut."`
	L1             L1            `yaml:"l1" doc:"The memory tier."`
	L2             L2            `yaml:"l2" doc:"The tier in Redis."`
	OnPartition    string        `yaml:"on_partition" default:"serve" enum:"serve,revalidate,bypass" doc:"What an instance does with its copies while it is cut off from the log in Redis: serves them, validates each before use, or uses none."`
	Log            CacheLog      `yaml:"log" doc:"The invalidation log."`
	Sweep          CacheSweep    `yaml:"sweep" doc:"How purged responses are taken out of Redis that would be there until they expire."`
	Lease          time.Duration `yaml:"lease" default:"2s" min:"100ms" doc:"How long an instance may answer from its copies after it was up to date with the log in Redis. A purge waits at most about this long for one that is away."`
	Encode         Encode        `yaml:"encode" doc:"Encoded forms of stored responses, made here from the one that the upstream sends without a coding."`
	TagHeaders     []string      `yaml:"tag_headers" default:"[Surrogate-Key, Cache-Tag, xkey]" format:"field" doc:"Response fields that hold tags, separated by spaces or commas. They reach trusted_proxies only."`
	MaxTags        int           `yaml:"max_tags" default:"256" min:"1" doc:"Tags of a response, of at most 1 KiB each; over it: not stored, because what has lost a tag could not be purged by it."`
	MaxVariants    int           `yaml:"max_variants" default:"32" min:"1" doc:"Stored responses of one key that differ by Vary; more: the oldest goes."`
}

// L1 is the memory tier.
type L1 struct {
	MaxBytes       int64  `yaml:"max_bytes" default:"256MiB" unit:"bytes" min:"1MiB" doc:"Memory for entries, with headers, keys and bookkeeping."`
	MaxObjectBytes int64  `yaml:"max_object_bytes" default:"8MiB" unit:"bytes" min:"1" doc:"The largest body that is stored; routes may set their own."`
	WarmKeys       int    `yaml:"warm_keys" default:"0" min:"0" doc:"Hot keys that are noted in Redis, and read from it into memory at a start. 0: none."`
	WarmRate       Rate   `yaml:"warm_rate" default:"200/s" min:"1/s" doc:"How many of them are read a second."`
	WarmFirst      bool   `yaml:"warm_first" default:"false" doc:"Whether /readyz waits for that, 30 s at most."`
	Policy         string `yaml:"policy" default:"auto" enum:"auto,lru" doc:"What goes first for want of room. auto resists scans."`
}

// Encode says which encoded forms of stored responses are made for clients.
type Encode struct {
	Algorithms []string `yaml:"algorithms" default:"[br, zstd, gzip]" enum:"br,zstd,gzip" doc:"Content codings, the preferred one first; [] makes none, and lets the upstream encode."`
	MinBytes   int64    `yaml:"min_bytes" default:"1KiB" unit:"bytes" doc:"Smaller bodies stay as they are."`
	Types      []string `yaml:"types" default:"['text/*', application/json, 'application/*+json', application/javascript, application/xml, 'application/*+xml', application/wasm, image/svg+xml, image/bmp, image/x-icon, font/ttf, font/otf, application/vnd.ms-fontobject]" doc:"Media types that are encoded; * is any run of characters."`
}

// spec is the form in which routes inherit it.
func (e *Encode) spec() rules.EncodeSpec {
	return rules.EncodeSpec{Algorithms: e.Algorithms, MinBytes: &e.MinBytes, Types: e.Types}
}

// CacheLog bounds the invalidation log, and what is applied of it.
type CacheLog struct {
	MaxRecords int `yaml:"max_records" default:"1000000" min:"1000" doc:"Purges kept in Redis, about. An instance that was away for more of them validates what it has stored before use."`
	MaxPending int `yaml:"max_pending" default:"100000" min:"1" doc:"Purges kept in data_dir while Redis is away; more are refused with 503."`
	MaxRows    int `yaml:"max_rows" default:"1000000" min:"1" doc:"Purges remembered in memory; more: entries older than the oldest of them are validated before use."`
}

// CacheSweep is how Redis is tidied up.
type CacheSweep struct {
	Rate Rate `yaml:"rate" default:"0/s" min:"0/s" doc:"Keys that Redis looks at a second, for one of all instances. 0/s: what was purged stays until it expires, and is never used."`
}

// Log is the log on standard error.
type Log struct {
	Level  string `yaml:"level" default:"info" enum:"debug,info,warn,error" doc:"The least level that is written."`
	Format string `yaml:"format" default:"json" enum:"json,text" doc:"How a line is written."`
	Access bool   `yaml:"access" default:"true" doc:"Whether each request is logged."`
}

// Table returns the compiled routes. It is immutable.
func (c *Config) Table() *rules.Table { return c.table }

// Files lists the files that the configuration was read from: its own first (where there is one), then those of NAME_FILE
// names in the order of their first use. A change of any of them may change the configuration.
func (c *Config) Files() []string { return slices.Clone(c.files) }

// RouteOptions returns what the routes were compiled with.
func (c *Config) RouteOptions() rules.Options {
	return rules.Options{
		DefaultUpstream: c.DefaultUpstream,
		Upstreams:       sortedKeys(c.Upstreams),
		DefaultTTL:      c.Cache.DefaultTTL,
		MaxLifetime:     c.Cache.MaxLifetime,
		TargetedFields:  c.Cache.TargetedFields,
		MaxObjectBytes:  c.Cache.L1.MaxObjectBytes,
		Encode:          c.Cache.Encode.spec(),
		TagHeaders:      c.Cache.TagHeaders,
		MaxTags:         c.Cache.MaxTags,
	}
}
