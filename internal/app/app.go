package app

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/cacheproxy/cacheproxy/cache"
	"github.com/cacheproxy/cacheproxy/internal/admin"
	"github.com/cacheproxy/cacheproxy/internal/config"
	"github.com/cacheproxy/cacheproxy/internal/demo"
	"github.com/cacheproxy/cacheproxy/internal/metrics"
	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/proxy"
	"github.com/cacheproxy/cacheproxy/proxy/fastlane"
	"github.com/cacheproxy/cacheproxy/proxy/upstream"
	"github.com/cacheproxy/cacheproxy/tiers"
)

// Options are what an instance is made of.
type Options struct {
	Config  config.Options // loaded at the start and at each reload
	Demo    bool           // front the built-in origin; Config.Flags.Upstream must be empty
	Version string         // of the build
	Stderr  io.Writer      // of the log; nil: os.Stderr
}

// App is one instance. Its methods are safe for concurrent use, but Run may be called once only.
type App struct {
	o      Options
	stderr io.Writer
	log    *slog.Logger
	level  *slog.LevelVar

	purger  *invalidation.Purger
	cache   *cache.Cache
	proxy   *proxy.Proxy
	lane    *fastlane.Lane
	redis   *server               // nil: memory only
	pending *invalidation.Pending // nil where there is no Redis that could be away
	metrics *metrics.Metrics
	access  *metrics.AccessLog
	admin   *admin.Handler
	gate    *gate
	guards  *guards
	keeper  keeper

	started  *config.Config // what was in force at the start
	current  atomic.Pointer[generation]
	refused  atomic.Bool // the last reload
	draining atomic.Bool
	warming  atomic.Bool // not ready before memory has been filled

	reloading sync.Mutex                   // held while one reload runs; guards the following
	files     []string                     // that the configuration in force was read from
	contents  map[string][sha256.Size]byte // of the files, when the configuration was loaded last

	main      []*listener
	side      net.Listener // of the administration API
	shop      net.Listener // of the demo origin, or nil
	logClient redisClient  // of the log of purges; nil: memory only
	dataDir   sync.Mutex
	dataLock  *os.File // open where something needs data_dir
}

// New loads the configuration and builds an instance that listens, but does not answer yet. Close or Run must be called in the end.
// The error is a *config.Error where the configuration is refused.
func New(o Options) (_ *App, err error) {
	a := &App{o: o, stderr: o.Stderr, level: new(slog.LevelVar)}
	if a.stderr == nil {
		a.stderr = os.Stderr
	}
	defer func() {
		if err != nil {
			a.Close()
		}
	}()
	if o.Demo {
		if err := a.openShop(); err != nil {
			return nil, err
		}
	}
	if a.o.Config.File != "" {
		a.files = []string{a.o.Config.File}
	}
	cfg, warnings, err := a.read()
	if err != nil {
		return nil, err
	}
	a.log = newLogger(a.stderr, cfg.Log, a.level)
	for _, w := range warnings {
		a.log.Warn("configuration", "warning", w.String())
	}
	if err := a.listen(cfg); err != nil {
		return nil, err
	}
	if err := a.build(cfg); err != nil {
		return nil, err
	}
	if err := a.openHTTP3(cfg); err != nil {
		return nil, err
	}
	return a, nil
}

// openShop gives the demo origin a port of its own and makes it the upstream.
func (a *App) openShop() (err error) {
	a.shop, err = net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("demo origin: %w", err)
	}
	a.o.Config.Flags.Upstream = "http://" + a.shop.Addr().String()
	a.o.Config.Flags.LogFormat = cmp.Or(a.o.Config.Flags.LogFormat, "text")
	return nil
}

// build makes the parts and ties them together.
func (a *App) build(cfg *config.Config) error {
	state := invalidation.NewState(cfg.Cache.Log.MaxRows)
	policy := tiers.Auto
	if cfg.Cache.L1.Policy == "lru" {
		policy = tiers.LRU
	}
	var err error
	if a.redis, err = connect(&cfg.Redis, a.checkEviction); err != nil {
		return err
	}
	a.cache = cache.New(cache.Options{
		MaxBytes: cfg.Cache.L1.MaxBytes, Policy: policy, MaxVariants: cfg.Cache.MaxVariants, Remote: a.remoteTier(cfg),
	}, state)
	if err := a.openLog(cfg, state); err != nil {
		return err
	}

	format := metrics.JSON
	if cfg.Log.Format == "text" {
		format = metrics.Text
	}
	a.access = metrics.NewAccessLog(a.stderr, format)

	registry := prometheus.NewRegistry()
	a.metrics, err = metrics.New(registry, a.o.Version, cfg.Table(), metrics.Sources{
		Cache:       a.cache.Stats,
		Proxy:       a.proxyStats,
		Purges:      a.purger.Stats,
		Applied:     state.Applied,
		Connections: a.gate.stats,
		Malformed:   a.guards.refused.Load,
		AccessLost:  a.access.Lost,
		Upstreams:   a.upstreamStats,
		Redis:       a.redisFigures,
		Log:         a.logFigures,
	})
	if err != nil {
		return err
	}
	a.started = cfg
	next, err := a.generate(cfg, nil)
	if err != nil {
		return err
	}
	a.proxy = proxy.New(next.plan, a.cache, a.purger, a.log, a.metrics.Observe, a.access.Observe)
	a.shareDependencies(cfg)
	a.lane = fastlane.New(fastlane.Options{
		Cache: a.cache, Observers: []cache.Observer{a.metrics.Observe, a.access.Observe}, Log: a.log,
		HeaderBytes: int(cfg.Limits.HeaderBytes), HeaderTimeout: cfg.Limits.HeaderTimeout, IdleTimeout: cfg.Limits.IdleTimeout,
		WriteTimeout: writeTimeout, PieceTimeout: proxy.PieceTimeout,
	})
	a.admin = admin.New(a.adminOptions(cfg, promhttp.HandlerFor(registry, promhttp.HandlerOpts{})), next.access)
	a.use(next)
	return nil
}

// proxyStats returns the figures of the proxy, with the panics of the fast lane among its own.
func (a *App) proxyStats() proxy.Stats {
	s := a.proxy.Stats()
	s.Panics += a.lane.Panics()
	return s
}

// upstreamStats returns how the upstreams in use fare, by their names.
func (a *App) upstreamStats() map[string]upstream.Stats {
	stats := map[string]upstream.Stats{}
	for name, o := range a.current.Load().origins {
		stats[name] = o.upstream.Stats()
	}
	return stats
}

// Addr returns the address of the first main listener.
func (a *App) Addr() net.Addr { return a.main[0].tcp.Addr() }

// Addrs returns the addresses of all main listeners, in the order of the configuration.
func (a *App) Addrs() []net.Addr {
	addrs := make([]net.Addr, len(a.main))
	for i, l := range a.main {
		addrs[i] = l.tcp.Addr()
	}
	return addrs
}

// AdminAddr returns the address of the administration listener.
func (a *App) AdminAddr() net.Addr { return a.side.Addr() }

// Close gives back what New took, of an instance that is not run.
func (a *App) Close() {
	for _, l := range a.main {
		l.close()
	}
	for _, l := range []net.Listener{a.side, a.shop} {
		if l != nil {
			l.Close() // nobody has used it
		}
	}
	if a.pending != nil {
		a.pending.Close() // nothing was purged
	}
	a.closeDataDir()
	if a.redis != nil {
		a.redis.client.Close() // nobody has used it
	}
	if a.logClient != nil {
		a.logClient.Close() // nor this
	}
	if g := a.current.Load(); g != nil {
		g.close(nil)
	}
}

// Run serves until ctx ends, and then stops: no new connections, what is under way may finish within shutdown_timeout, then all that
// is left is ended. It returns nil where ctx ended it and everything was finished in time; else the error of the part that failed,
// or what could not be finished.
func (a *App) Run(ctx context.Context) error {
	tune := a.newTuner()
	run := newRunner(ctx)
	run.start("access log", a.access.Run, nil)
	if a.redis != nil {
		run.start("redis", a.redis.watch, nil)
		run.start("log of purges", a.follow, nil)
		run.start("purges that wait", a.purger.Drain, nil)
		run.start("dependencies", a.proxy.Dependencies().Run, nil)
		first, cancel := context.WithTimeout(ctx, firstRead)
		a.purger.Ready(first)
		cancel()
	}
	run.start("cache", a.cache.Run, a.cache.FlushRemote)
	run.start("collector tuning", tune.run, nil)
	run.start("purge records", a.prune, nil)
	if rate := int(a.started.Cache.Sweep.Rate); a.cache.HasRemote() && rate > 0 {
		run.start("sweeper", func(ctx context.Context) error { return a.cache.Sweep(ctx, rate) }, nil)
	}
	if a.cache.HasRemote() && a.started.Cache.L1.WarmKeys > 0 {
		a.warming.Store(a.started.Cache.L1.WarmFirst)
		run.start("warm-up", a.warm, nil)
	}
	if a.shop != nil {
		run.start("demo origin", func(ctx context.Context) error { return demo.Run(ctx, a.shop) }, nil)
	}
	a.startAdmin(run)
	run.start("upstreams", a.keeper.run, nil)
	run.start("proxy", untilDone, a.proxy.Shutdown)
	a.startMain(run)
	run.start("file watch", a.watch, nil)
	a.announce()

	failed := run.wait()
	a.draining.Store(true)
	limit := a.current.Load().cfg.ShutdownTimeout
	a.log.Info("stopping", "shutdown_timeout", limit.String())
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	begin := time.Now()
	err := errors.Join(failed, run.stop(bounded))
	a.current.Load().close(nil)
	if a.pending != nil {
		err = errors.Join(err, a.pending.Close())
	}
	a.closeDataDir()
	a.log.Info("stopped", "after", time.Since(begin).Round(time.Millisecond).String())
	return err
}

// firstRead is how long requests wait, at a start, until the log of purges has been read. A log that cannot be reached is not waited for.
const firstRead = 2 * time.Second

// pruneEvery is how often purges are forgotten that are older than anything stored.
const pruneEvery = time.Minute

// prune forgets, until ctx ends, the purges that no stored response can be older than.
func (a *App) prune(ctx context.Context) error {
	tick := time.NewTicker(pruneEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			if lifetime := a.current.Load().cfg.Cache.MaxLifetime; lifetime > 0 {
				a.cache.State().Prune(now.Add(-lifetime))
			}
			a.proxy.Dependencies().Prune(now)
		}
	}
}

func untilDone(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// announce says where the instance can be reached.
func (a *App) announce() {
	addresses := make([]string, len(a.main))
	for i, addr := range a.Addrs() {
		addresses[i] = addr.String()
	}
	a.log.Info("serving", "version", a.o.Version, "addresses", addresses, "admin", a.side.Addr().String(), "connections", a.gate.limit.Load())
	if a.shop == nil {
		return
	}
	fmt.Fprintf(a.stderr, "\nThe demo shop is at %s, its administration API at %s.\n\n%s\n",
		clientURL(a.Addr()), clientURL(a.side.Addr()), demo.Tour(clientURL(a.Addr())))
}

// clientURL is where a client on this machine reaches a listener.
func clientURL(addr net.Addr) string {
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return "http://" + addr.String()
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}
