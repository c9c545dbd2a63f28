package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/cacheproxy/cacheproxy/internal/config"
	"github.com/cacheproxy/cacheproxy/internal/metrics"
	"github.com/cacheproxy/cacheproxy/tiers"
)

const (
	// watchRedis is how often Redis is asked how it is.
	watchRedis = 5 * time.Second
	// replicaLag is for how long after a purge its keys are not read from replicas.
	replicaLag = 10 * time.Second
)

// server is the connection to Redis. It is made once, at the start.
type server struct {
	client redis.UniversalClient
	figure atomic.Pointer[metrics.Redis]
	policy sync.Once    // done when it is known which keys Redis evicts
	evicts func(string) // is told then
}

// connect returns the connection that the configuration asks for, or nil where it asks for none. Nothing is sent yet: an instance
// starts without its Redis. Evicts is told once which keys the server evicts, as it calls that.
func connect(c *config.Redis, evicts func(policy string)) (*server, error) {
	if !c.IsSet() {
		return nil, nil
	}
	o, err := redisOptions(c)
	if err != nil {
		return nil, err
	}
	redis.SetLogger(quiet{}) // what concerns somebody is logged as a change of the breaker
	s := &server{client: redis.NewUniversalClient(o), evicts: evicts}
	s.figure.Store(&metrics.Redis{})
	return s, nil
}

// quiet is the client's own log.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

func redisOptions(c *config.Redis) (*redis.UniversalOptions, error) {
	o := &redis.UniversalOptions{
		Addrs: c.Addresses, MasterName: c.MasterName, DB: c.DB, Username: c.Username, Password: string(c.Password),
		SentinelUsername: c.SentinelUser, SentinelPassword: string(c.SentinelSecret),
		IsClusterMode: c.Mode == "cluster",
	}
	if c.Mode != "sentinel" {
		o.MasterName = ""
	}
	if c.URL != "" {
		u, err := redis.ParseURL(string(c.URL))
		if err != nil {
			return nil, errors.New("redis.url is no URL of Redis") // the error may repeat the password
		}
		o.Addrs, o.TLSConfig = []string{u.Addr}, u.TLSConfig
		if o.DB == 0 {
			o.DB = u.DB
		}
		if o.Username == "" {
			o.Username = u.Username
		}
		if o.Password == "" {
			o.Password = u.Password
		}
	}
	if c.TLS != nil {
		t, err := redisTLS(c.TLS)
		if err != nil {
			return nil, fmt.Errorf("redis.tls: %w", err)
		}
		if o.TLSConfig != nil {
			t.ServerName = o.TLSConfig.ServerName
		}
		o.TLSConfig = t
	}
	// One try within the deadline of the operation: what fails is counted by the breaker, and not tried again behind its back.
	o.MaxRetries, o.DialerRetries = -1, 1
	o.ContextTimeoutEnabled = true
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = c.Timeout, c.Timeout, c.Timeout, c.Timeout
	o.PoolSize = c.PoolSize
	if c.ReadReplicas && c.Mode != "single" {
		o.ReadOnly, o.RouteRandomly = true, true
	}
	// Fewer commands per connection; Redis without them answers with an error.
	o.DisableIdentity = true
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return o, nil
}

func redisTLS(c *config.RedisTLS) (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: c.InsecureSkipVerify}
	if c.CAFile != "" {
		text, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, err
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s holds no certificate in PEM", c.CAFile)
		}
	}
	if c.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, err
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}

// remoteTier returns what the tier in Redis is made of, or nil where there is none.
func (a *App) remoteTier(cfg *config.Config) *tiers.RemoteOptions {
	if a.redis == nil || !cfg.HasL2() {
		return nil
	}
	l2 := &cfg.Cache.L2
	serializer, err := tiers.ParseSerializer(l2.Serializer)
	compression, err2 := tiers.ParseCompression(l2.Compression.Algorithm)
	if err := errors.Join(err, err2); err != nil {
		panic(err) // the configuration has been checked
	}
	o := &tiers.RemoteOptions{
		Backend: tiers.NewRedis(a.redis.client, cfg.Cache.KeyPrefix, cfg.Cache.MaxVariants),
		Codec: tiers.Codec{
			Serializer: serializer, Compression: compression, MinBytes: int(l2.Compression.MinBytes), MaxBytes: int(l2.MaxObjectBytes),
		},
		Timeout: cfg.Redis.Timeout, Failures: cfg.Redis.Breaker.Failures, OpenFor: cfg.Redis.Breaker.OpenFor,
		Observe: func(op tiers.Operation, result tiers.RemoteResult, took time.Duration) {
			a.metrics.ObserveRemote(op, result, took)
		},
		Changed: a.redisChanged,
	}
	if cfg.Redis.ReadReplicas && cfg.Redis.Mode != "single" {
		o.Lag = replicaLag
	}
	return o
}

// redisChanged tells the log that Redis is left alone, or asked again.
func (a *App) redisChanged(open bool) {
	if open {
		a.log.Warn("redis is left alone: it does not answer in time, or with errors", "timeout", a.started.Redis.Timeout.String())
		return
	}
	a.log.Info("redis is asked again")
}

// watch asks Redis how it is, until ctx ends, and then closes the connections.
func (s *server) watch(ctx context.Context) error {
	tick := time.NewTicker(watchRedis)
	defer tick.Stop()
	for {
		s.look(ctx)
		select {
		case <-ctx.Done():
			return s.client.Close()
		case <-tick.C:
		}
	}
}

// look notes the figures of Redis; those of all masters of a cluster together.
func (s *server) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, watchRedis/2)
	defer cancel()
	var memory, evicted atomic.Int64
	ask := func(ctx context.Context, c *redis.Client) error {
		text, err := c.Info(ctx).Result() // all sections: before version 7 one cannot ask for two
		if err == nil {
			s.policy.Do(func() { s.evicts(infoText(text, "maxmemory_policy")) })
			memory.Add(infoNumber(text, "used_memory"))
			evicted.Add(infoNumber(text, "evicted_keys"))
		}
		return err
	}
	var err error
	switch c := s.client.(type) {
	case *redis.ClusterClient:
		err = c.ForEachMaster(ctx, ask)
	case *redis.Client:
		err = ask(ctx, c)
	}
	last := *s.figure.Load()
	last.Up = err == nil
	if last.Up {
		last.MemoryBytes, last.EvictedKeys = memory.Load(), evicted.Load()
	}
	s.figure.Store(&last)
}

// infoNumber returns a number of the answer to INFO; 0 where it is not there.
func infoNumber(info, name string) int64 {
	n, _ := strconv.ParseInt(infoText(info, name), 10, 64) // what is no number is not there
	return n
}

// infoText returns a value of the answer to INFO; "" where it is not there.
func infoText(info, name string) string {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+":"); ok {
			return value
		}
	}
	return ""
}

// redisFigures are the figures for metrics; nil where there is no Redis.
func (a *App) redisFigures() *metrics.Redis {
	if a.redis == nil {
		return nil
	}
	r := *a.redis.figure.Load()
	pool := a.redis.client.PoolStats()
	r.Pool = metrics.RedisPool{
		Connections: pool.TotalConns, Idle: pool.IdleConns, Hits: pool.Hits, Misses: pool.Misses, Timeouts: pool.Timeouts, Stale: pool.StaleConns,
	}
	return &r
}
