package app

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cacheproxy/cacheproxy/internal/admin"
	"github.com/cacheproxy/cacheproxy/internal/config"
	"github.com/cacheproxy/cacheproxy/internal/metrics"
	"github.com/cacheproxy/cacheproxy/invalidation"
)

// pendingFile is where purges wait for a log that is away, within data_dir.
const pendingFile = "purges.db"

// logPool is how many connections the log has. Nearly always one is in use, and the subscription.
const logPool = 10

// redisClient is what is kept of a client where it is only closed.
type redisClient interface{ Close() error }

// openLog makes the log of purges and what follows it: in Redis where there is one, else in memory.
func (a *App) openLog(cfg *config.Config, state *invalidation.State) error {
	onApply := func(r invalidation.Record) int { return a.proxy.Applied(r) }
	if a.redis == nil {
		a.purger = invalidation.NewPurger(invalidation.NewMemLog(), state, onApply)
		return nil
	}
	o, err := redisOptions(&cfg.Redis)
	if err != nil {
		return err
	}
	// A connection of its own, without the breaker: one that is open for a lease would cut everybody off. Never a replica, which may lag.
	timeout := logTimeout(cfg)
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout, o.PoolSize = timeout, timeout, timeout, timeout, logPool
	o.ReadOnly, o.RouteRandomly = false, false
	client := redis.NewUniversalClient(o)
	a.logClient = client
	pending, err := a.openPending(cfg)
	if err != nil {
		return err
	}
	partition, err := invalidation.ParsePartition(cfg.Cache.OnPartition)
	if err != nil {
		panic(err) // the configuration has been checked
	}
	state.SetOnPartition(partition)
	log := invalidation.NewRedisLog(invalidation.RedisOptions{
		Client: client, Prefix: cfg.Cache.KeyPrefix, MaxRecords: cfg.Cache.Log.MaxRecords, MaxAge: cfg.Cache.MaxLifetime,
		Timeout: timeout, WaitReplicas: cfg.Redis.WaitReplicas,
	})
	a.purger = invalidation.NewFollower(log, state, invalidation.FollowerOptions{
		Lease: cfg.Cache.Lease, OnApply: onApply, Changed: a.logChanged,
		Observe: func(d time.Duration) { a.metrics.ObservePropagation(d) },
	}).Purger(pending)
	return nil
}

// logTimeout is that of each operation on the log, and on what belongs to it.
func logTimeout(cfg *config.Config) time.Duration { return max(cfg.Redis.Timeout, cfg.Cache.Lease/4) }

// shareDependencies lets instances know what the others' responses depend on. While the log is away nobody is asked: a purge is then of
// what is known here.
func (a *App) shareDependencies(cfg *config.Config) {
	client, ok := a.logClient.(redis.UniversalClient)
	if !ok {
		return
	}
	lifetime := cfg.Cache.MaxLifetime
	if lifetime <= 0 {
		lifetime = unboundedLifetime
	}
	a.proxy.Dependencies().Share(&invalidation.RedisEdges{
		Client: client, Prefix: cfg.Cache.KeyPrefix, Lifetime: lifetime, Timeout: logTimeout(cfg), Up: func() bool { return !a.purger.Away() },
	})
}

// unboundedLifetime is for how long dependencies are shared where nothing bounds the lifetime of what is stored.
const unboundedLifetime = 7 * 24 * time.Hour

// openPending returns what waits for the log. The file is made when there is something to wait; one that is there is opened now: it
// must hold before the first request is served.
func (a *App) openPending(cfg *config.Config) (*invalidation.Pending, error) {
	place := func() (string, error) {
		a.dataDir.Lock()
		defer a.dataDir.Unlock()
		return filepath.Join(cfg.DataDir, pendingFile), a.openDataDir(cfg)
	}
	file := filepath.Join(cfg.DataDir, pendingFile)
	if _, err := os.Stat(file); err != nil {
		a.pending = invalidation.DeferPending(place, cfg.Cache.Log.MaxPending)
		return a.pending, nil
	}
	if _, err := place(); err != nil {
		return nil, err
	}
	var err error
	if a.pending, err = invalidation.OpenPending(file, cfg.Cache.Log.MaxPending); err != nil {
		return nil, err
	}
	return a.pending, nil
}

// logChanged tells whether the log of purges can be reached.
func (a *App) logChanged(err error) {
	if err != nil {
		a.log.Warn("the log of purges cannot be reached: purges hold here at once and elsewhere later", "error", err,
			"on_partition", a.started.Cache.OnPartition)
		return
	}
	a.log.Info("the log of purges can be reached", "instance", a.purger.ID())
}

// follow follows the log until ctx ends, and then leaves it: it is the last to end of all that answers requests.
func (a *App) follow(ctx context.Context) error {
	defer a.logClient.Close() // nobody uses it any more
	return a.purger.Run(ctx)
}

// checkEviction warns of a policy by which Redis could evict the log, which has no lifetime.
func (a *App) checkEviction(policy string) {
	if strings.HasPrefix(policy, "allkeys-") {
		a.log.Warn(fmt.Sprintf("redis may evict the log of purges: its maxmemory-policy is %s. Every time that it does, all that is stored is validated anew; volatile-lru leaves the log alone", policy))
	}
}

// logFigures are the figures of the log for metrics; nil where it is in memory.
func (a *App) logFigures() *metrics.Log {
	if a.redis == nil {
		return nil
	}
	return &metrics.Log{Lag: a.purger.Lag(), Leased: a.cache.State().Leased(time.Now()), Pending: a.purger.Waiting()}
}

// instances returns the instances that the log knows of.
func (a *App) instances(ctx context.Context) ([]admin.Instance, error) {
	members, err := a.purger.Members(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]admin.Instance, 0, len(members))
	for _, m := range members {
		list = append(list, admin.Instance{
			ID: m.ID, Self: m.ID == a.purger.ID(), Epoch: m.Applied.Epoch.String(), Seq: uint64(m.Applied.Seq),
			IdleMS: m.Idle.Milliseconds(), LeaseMS: m.Lease.Milliseconds(), Leased: m.Lease == 0 || m.Idle < m.Lease,
		})
	}
	return list, nil
}
