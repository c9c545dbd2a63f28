package app

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"reflect"

	"github.com/cacheproxy/cacheproxy/internal/admin"
	"github.com/cacheproxy/cacheproxy/internal/config"
	"github.com/cacheproxy/cacheproxy/proxy"
	"github.com/cacheproxy/cacheproxy/rules"
)

// Reload loads the configuration anew and puts it in force. All that can fail comes before anything is changed: where the error is
// not nil, everything is as it was. What is cached stays. trigger says in the log what caused the reload.
func (a *App) Reload(trigger string) (config.Warnings, error) {
	a.reloading.Lock()
	defer a.reloading.Unlock()
	next, warnings, err := a.load()
	a.metrics.Reloaded(err == nil)
	a.refused.Store(err != nil)
	if err != nil {
		a.log.Error("reload refused", "trigger", trigger, "error", err.Error())
		return warnings, err
	}
	a.use(next)
	for _, w := range warnings {
		a.log.Warn("configuration", "warning", w.String())
	}
	a.log.Info("reloaded", "trigger", trigger, "fingerprint", config.Fingerprint(next.cfg))
	return warnings, nil
}

// load builds the next generation, and warns of what a restart would change.
func (a *App) load() (*generation, config.Warnings, error) {
	cfg, warnings, err := a.read()
	if err != nil {
		return nil, warnings, err
	}
	next, err := a.generate(cfg, a.current.Load())
	if err != nil {
		return nil, warnings, err
	}
	return next, append(warnings, needRestart(a.started, cfg)...), nil
}

// use puts a generation in force.
func (a *App) use(next *generation) {
	last := a.current.Swap(next)
	a.proxy.Use(next.plan)
	a.lane.Use(next.lane)
	a.metrics.Use(next.cfg.Table())
	a.admin.Use(next.access)
	a.access.Enable(next.cfg.Log.Access)
	a.gate.limit.Store(connectionLimit(next.cfg))
	a.useCertificates(next.cfg)
	a.keeper.use(next.upstreams())
	if last == nil {
		return
	}
	if last.cfg.Log.Level != next.cfg.Log.Level { // else one that was set through the API stays
		a.level.Set(levelOf(next.cfg.Log.Level))
	}
	last.close(next)
}

// needRestart warns of what differs from the start, and is fixed since then.
func needRestart(start, next *config.Config) (ws config.Warnings) {
	for _, v := range []struct {
		path       string
		fixed, now any
	}{
		{"data_dir", start.DataDir, next.DataDir},
		{"listen", fixedListeners(start), fixedListeners(next)},
		{"admin.address", start.Admin.Address, next.Admin.Address},
		{"limits.header_bytes", start.Limits.HeaderBytes, next.Limits.HeaderBytes},
		{"limits.header_timeout", start.Limits.HeaderTimeout, next.Limits.HeaderTimeout},
		{"limits.idle_timeout", start.Limits.IdleTimeout, next.Limits.IdleTimeout},
		{"redis", start.Redis, next.Redis},
		{"cache.key_prefix", start.Cache.KeyPrefix, next.Cache.KeyPrefix},
		{"cache.l2", start.Cache.L2, next.Cache.L2},
		{"cache.l1.max_bytes", start.Cache.L1.MaxBytes, next.Cache.L1.MaxBytes},
		{"cache.l1.warm_keys", start.Cache.L1.WarmKeys, next.Cache.L1.WarmKeys},
		{"cache.l1.policy", start.Cache.L1.Policy, next.Cache.L1.Policy},
		{"cache.log", start.Cache.Log, next.Cache.Log},
		{"cache.sweep", start.Cache.Sweep, next.Cache.Sweep},
		{"cache.lease", start.Cache.Lease, next.Cache.Lease},
		{"cache.on_partition", start.Cache.OnPartition, next.Cache.OnPartition},
		{"cache.max_variants", start.Cache.MaxVariants, next.Cache.MaxVariants},
		{"log.format", start.Log.Format, next.Log.Format},
	} {
		if !reflect.DeepEqual(v.fixed, v.now) {
			ws = append(ws, config.Diagnostic{File: "reload", Path: v.path, Msg: "was changed; it takes effect at the next restart"})
		}
	}
	return ws
}

// adminOptions ties the administration API to the parts.
func (a *App) adminOptions(cfg *config.Config, metrics http.Handler) admin.Options {
	host, _, _ := net.SplitHostPort(cfg.Admin.Address) // it has been listened on, so it has the form
	return admin.Options{
		Loopback: isLoopback(a.side.Addr()),
		Host:     host,
		Health:   a.health,
		Metrics:  metrics,
		Explain: func(ctx context.Context, q admin.Question) (*admin.Explanation, error) {
			return a.current.Load().plan.Explain(ctx, a.cache, q)
		},
		Table:      func() *rules.Table { return a.current.Load().cfg.Table() },
		Upstreams:  a.upstreamStats,
		Instances:  a.instances,
		Config:     func() json.RawMessage { return config.Dump(a.current.Load().cfg) },
		Reload:     a.reloadCall,
		Invalidate: func(ctx context.Context, o *admin.Order) (*proxy.Receipt, error) { return a.proxy.Invalidate(ctx, o) },
		Graph:      a.proxy.Graph,
		Cache:      a.cache,
		Level:      a.level,
		Log:        a.log,
	}
}

func isLoopback(addr net.Addr) bool {
	a, err := netip.ParseAddrPort(addr.String())
	return err == nil && a.Addr().Unmap().IsLoopback()
}

func (a *App) health() admin.Health {
	h := admin.Health{Status: admin.StatusOK, Parts: map[string]admin.PartHealth{
		"listener":      {Status: admin.StatusOK},
		"configuration": {Status: admin.StatusOK},
	}}
	if a.refused.Load() {
		h.Parts["configuration"] = admin.PartHealth{Status: "refused", Detail: "the last reload was refused; the configuration before it is in force"}
	}
	if a.redis != nil {
		h.Parts["redis"] = admin.PartHealth{Status: admin.StatusOK}
		if a.cache.HasRemote() && !a.cache.RemoteUp() {
			h.Status = admin.StatusDegraded
			h.Parts["redis"] = admin.PartHealth{Status: admin.StatusDegraded, Detail: "it does not answer; everything is kept in memory, and fetched from the origins"}
		}
	}
	if a.redis != nil {
		h.Parts["log"] = admin.PartHealth{Status: admin.StatusOK}
		if err := a.purger.Reached(); err != nil {
			h.Status = admin.StatusDegraded
			h.Parts["log"] = admin.PartHealth{Status: admin.StatusDegraded, Detail: "the log of purges cannot be reached: purges hold here at once and elsewhere later; for stored responses see cache.on_partition"}
		}
	}
	if a.warming.Load() {
		h.Status = admin.StatusStarting
		h.Parts["memory"] = admin.PartHealth{Status: admin.StatusStarting, Detail: "hot responses are being read from Redis"}
	}
	if a.draining.Load() {
		h.Status = admin.StatusDraining
		h.Parts["listener"] = admin.PartHealth{Status: admin.StatusDraining}
	}
	return h
}

func (a *App) reloadCall(context.Context) (admin.Reloaded, error) {
	warnings, err := a.Reload("administration API")
	if err != nil {
		return admin.Reloaded{}, refusedReload(err)
	}
	return admin.Reloaded{Warnings: mistakes(warnings)}, nil
}

// refusedReload is the answer to a reload that was refused.
func refusedReload(err error) *admin.Problem {
	p := &admin.Problem{
		Type: "about:blank", Status: http.StatusUnprocessableEntity,
		Title: "configuration refused", Detail: "the configuration before it stays in force",
	}
	var refused *config.Error
	if errors.As(err, &refused) {
		p.Errors = mistakes(refused.Errors)
	} else {
		p.Errors = []admin.Mistake{{Message: err.Error()}}
	}
	return p
}

func mistakes(ds []config.Diagnostic) []admin.Mistake {
	ms := make([]admin.Mistake, len(ds))
	for i, d := range ds {
		ms[i] = admin.Mistake{File: d.File, Line: d.Line, Column: d.Col, Path: d.Path, Message: d.Msg}
	}
	return ms
}
