package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Redis is the server behind the memory tier. There is none where neither url nor addresses is set.
type Redis struct {
	URL            RedisURL      `yaml:"url" doc:"redis://USER:PASSWORD@HOST:PORT/DB, rediss:// with TLS, or unix://USER:PASSWORD@PATH?db=DB. Instead of mode and addresses."`
	Mode           string        `yaml:"mode" default:"single" enum:"single,sentinel,cluster" doc:"What the addresses are: one server, sentinels that know the master, or some nodes of a cluster."`
	Addresses      []string      `yaml:"addresses" format:"address" doc:"HOST:PORT of the server, of the sentinels, or of some nodes."`
	MasterName     string        `yaml:"master_name" doc:"Name by which the sentinels know the master."`
	DB             int           `yaml:"db" default:"0" min:"0" doc:"Number of the database; a cluster has only 0."`
	Username       string        `yaml:"username" doc:"Name of the ACL user."`
	Password       RedisSecret   `yaml:"password" doc:"Password of the user, or of the server."`
	SentinelUser   string        `yaml:"sentinel_username" doc:"Name of the ACL user on the sentinels."`
	SentinelSecret RedisSecret   `yaml:"sentinel_password" doc:"Password on the sentinels."`
	TLS            *RedisTLS     `yaml:"tls" doc:"TLS to the server; {} with the authorities of the system."`
	PoolSize       int           `yaml:"pool_size" default:"50" min:"1" doc:"Connections to each server at most."`
	Timeout        time.Duration `yaml:"timeout" default:"100ms" min:"1ms" doc:"How long one operation may take. A request waits no longer for Redis, and after breaker.failures not at all."`
	ReadReplicas   bool          `yaml:"read_replicas" default:"false" doc:"Whether stored responses may be read from replicas, of a cluster or of sentinels. What this instance purges is then not read from Redis for ten seconds."`
	WaitReplicas   int           `yaml:"wait_replicas" default:"0" min:"0" doc:"How many replicas must hold a purge before it is acknowledged as complete."`
	Breaker        RedisBreaker  `yaml:"breaker" doc:"When Redis is left alone."`
}

// RedisTLS is how servers are known, and what they are shown.
type RedisTLS struct {
	CAFile             string `yaml:"ca_file" doc:"PEM file with the authorities. Default: the system's."`
	CertFile           string `yaml:"cert_file" doc:"PEM file with the certificate that is shown."`
	KeyFile            string `yaml:"key_file" doc:"PEM file with its key."`
	InsecureSkipVerify bool   `yaml:"insecure_skip_verify" default:"false" doc:"Whether a server's certificate is not looked at. For tests only."`
}

// RedisBreaker is when Redis is left alone.
type RedisBreaker struct {
	Failures int           `yaml:"failures" default:"5" min:"1" doc:"Operations in a row that fail, or take too long, before Redis is left alone."`
	OpenFor  time.Duration `yaml:"open_for" default:"2s" min:"10ms" doc:"How long until a ping tries whether it is back."`
}

// L2 is the remote tier.
type L2 struct {
	Enabled        string      `yaml:"enabled" default:"auto" enum:"auto,true,false" doc:"Whether responses are kept in Redis too. auto: where redis is set."`
	Serializer     string      `yaml:"serializer" default:"msgpack" enum:"msgpack,json,gob" doc:"Form of what is kept beside the body. All are understood, whatever is written; json can be read in redis-cli."`
	Compression    Compression `yaml:"compression" doc:"How bodies are compressed that their origin has not encoded."`
	MaxObjectBytes int64       `yaml:"max_object_bytes" default:"4MiB" unit:"bytes" min:"1" doc:"The largest body that is kept in Redis."`
}

// Compression is how bodies are compressed in Redis.
type Compression struct {
	Algorithm string `yaml:"algorithm" default:"zstd" enum:"zstd,brotli,gzip,none" doc:"All are understood, whatever is written."`
	MinBytes  int64  `yaml:"min_bytes" default:"1KiB" unit:"bytes" min:"0" doc:"Smaller bodies are kept as they are, and so are those that hardly shrink."`
}

// IsSet reports whether there is a Redis.
func (r *Redis) IsSet() bool { return r.URL != "" || len(r.Addresses) > 0 }

// HasL2 reports whether responses are kept in Redis.
func (c *Config) HasL2() bool { return c.Redis.IsSet() && c.Cache.L2.Enabled != "false" }

// RedisURL is the URL of a server. It is printed without its password; convert it to a string to use it.
type RedisURL string

// String returns the URL with a mask for its password.
func (u RedisURL) String() string {
	parsed, err := url.Parse(string(u))
	if err != nil {
		return ""
	}
	return parsed.Redacted()
}

// Format is String for all verbs.
func (u RedisURL) Format(f fmt.State, _ rune) { fmt.Fprint(f, u.String()) }

// RedisSecret is a text that is never printed, of any characters; see Secret.
type RedisSecret string

// String returns a mask, or nothing where there is no secret.
func (s RedisSecret) String() string { return Secret(s).String() }

// Format is String for all verbs.
func (s RedisSecret) Format(f fmt.State, _ rune) { fmt.Fprint(f, s.String()) }

var redisURLKind = kind{
	secret: true,
	want:   "a URL such as redis://127.0.0.1:6379/0",
	parse: func(s string) (any, error) {
		if s == "" {
			return RedisURL(""), nil
		}
		if _, err := redis.ParseURL(s); err != nil {
			return nil, errors.New("not a URL of Redis, such as redis://127.0.0.1:6379/0") // the error may repeat the password
		}
		return RedisURL(s), nil
	},
	format: func(v reflect.Value) any { return v.Interface().(RedisURL).String() },
	schema: map[string]any{"type": "string"},
}

var redisSecretKind = kind{
	secret: true,
	want:   "a text",
	parse:  func(s string) (any, error) { return RedisSecret(s), nil },
	format: func(v reflect.Value) any { return v.Interface().(RedisSecret).String() },
	schema: map[string]any{"type": []any{"string", "number", "boolean"}},
}

// takeRedis puts in what the environment says of Redis.
func (l *loader) takeRedis() {
	if address := l.envValue("REDIS_URL", "redis.url"); address != "" {
		l.takeRedisURL("REDIS_URL", address)
	} else if host := l.envValue("REDIS_HOST", "redis.addresses"); host != "" {
		port := l.envValue("REDIS_PORT", "redis.addresses")
		if port == "" {
			port = "6379"
		}
		l.cfg.Redis.URL, l.cfg.Redis.Mode, l.cfg.Redis.Addresses = "", "single", make([]string, 1)
		l.set("redis.addresses[0]", "REDIS_HOST", net.JoinHostPort(strings.Trim(host, "[]"), port))
	}
	for _, s := range []struct{ name, path string }{
		{"REDIS_DB", "redis.db"}, {"REDIS_PASSWORD", "redis.password"},
		{"CACHE_SERIALIZER", "cache.l2.serializer"}, {"CACHE_KEY_PREFIX", "cache.key_prefix"},
	} {
		if text := l.envValue(s.name, s.path); text != "" {
			l.set(s.path, s.name, text)
		}
	}
	if text := l.envValue("REDIS_SSL", "redis.tls"); text != "" {
		l.takeSSL(text)
	}
	switch text := l.envValue("CACHE_COMPRESSION", "cache.l2.compression.algorithm"); text {
	case "", "true": // the file's, or the default
	case "false":
		l.cfg.Cache.L2.Compression.Algorithm = "none"
	default:
		l.set("cache.l2.compression.algorithm", "CACHE_COMPRESSION", text)
	}
}

// takeRedisURL makes url the only word on where Redis is.
func (l *loader) takeRedisURL(source, url string) {
	l.cfg.Redis.Mode, l.cfg.Redis.Addresses = "single", nil
	x, err := redisURLKind.parse(url)
	if err != nil { // it is not repeated: it may hold a password
		l.refuseSource(source, "redis.url", err)
		return
	}
	l.cfg.Redis.URL = x.(RedisURL)
	l.sources["redis.url"] = source
}

func (l *loader) takeSSL(text string) {
	on, err := boolKind.parse(text)
	switch {
	case err != nil:
		l.refuseSource("REDIS_SSL", "redis.tls", fmt.Errorf("%w: %q", err, text))
	case on == false:
		l.cfg.Redis.TLS = nil
	case l.cfg.Redis.TLS == nil:
		l.cfg.Redis.TLS = &RedisTLS{}
	}
}

// checkRedis refuses what could not be connected to.
func (l *loader) checkRedis() {
	r := &l.cfg.Redis
	at := func(key ...string) location { return in(location{"redis"}, key...) }
	switch {
	case r.URL != "" && len(r.Addresses) > 0:
		l.refuse(at("url"), "both url and addresses are set; leave one out")
	case r.Mode == "sentinel" && len(r.Addresses) == 0:
		l.refuse(at("mode"), "sentinel needs addresses, those of the sentinels")
	case r.Mode == "sentinel" && r.MasterName == "":
		l.refuse(at("mode"), "sentinel needs master_name")
	case r.Mode == "cluster" && !r.IsSet():
		l.refuse(at("mode"), "cluster needs addresses, those of some nodes")
	case r.Mode == "single" && len(r.Addresses) > 1:
		l.refuse(at("addresses"), "a single server has one address; write mode: cluster or mode: sentinel")
	}
	if r.Mode == "cluster" && r.DB != 0 {
		l.refuse(at("db"), "a cluster has only the database 0")
	}
	if r.ReadReplicas && r.Mode == "single" {
		l.warn(at("read_replicas"), "has no effect with mode: single")
	}
	if l.cfg.Cache.L2.Enabled == "true" && !r.IsSet() && !l.isBroken("redis.url") && !l.isBroken("redis") {
		l.refuse(location{"cache", "l2", "enabled"}, "there is no Redis to keep responses in: set redis.url")
	}
	if l.cfg.Cache.L1.WarmKeys > 0 && !l.cfg.HasL2() {
		l.warn(location{"cache", "l1", "warm_keys"}, "has no effect without Redis, where they are noted")
	}
	if l.cfg.Cache.Sweep.Rate > 0 && !l.cfg.HasL2() {
		l.warn(location{"cache", "sweep", "rate"}, "has no effect without Redis, which is what is swept")
	}
	if p := l.cfg.Cache.KeyPrefix; p == "" || strings.ContainsAny(p, "{} \t\r\n") {
		l.refuse(location{"cache", "key_prefix"}, "a prefix is a word without braces")
	}
	if r.TLS != nil {
		l.checkRedisTLS(r.TLS)
	}
}

func (l *loader) checkRedisTLS(t *RedisTLS) {
	if (t.CertFile == "") != (t.KeyFile == "") {
		l.refuse(location{"redis", "tls"}, "cert_file and key_file belong together")
	}
	for _, f := range []struct{ key, name string }{{"ca_file", t.CAFile}, {"cert_file", t.CertFile}, {"key_file", t.KeyFile}} {
		if f.name == "" {
			continue
		}
		if _, err := os.Stat(f.name); err != nil {
			l.refuseOrWarn(location{"redis", "tls", f.key}, err.Error())
		}
	}
	if t.InsecureSkipVerify {
		l.warn(location{"redis", "tls", "insecure_skip_verify"}, "anybody on the way can pretend to be Redis")
	}
}
