package app

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"reflect"
	"slices"

	"github.com/cacheproxy/cacheproxy/internal/admin"
	"github.com/cacheproxy/cacheproxy/internal/config"
	"github.com/cacheproxy/cacheproxy/proxy"
	"github.com/cacheproxy/cacheproxy/proxy/fastlane"
	"github.com/cacheproxy/cacheproxy/proxy/upstream"
)

// generation is what one configuration has become. It is immutable; a reload makes the next one.
type generation struct {
	cfg     *config.Config
	access  *admin.Access
	plan    *proxy.Plan
	lane    *fastlane.Plan
	origins map[string]origin // by the name of the upstream
}

// origin is an upstream with the handler that forwards to it.
type origin struct {
	options     upstream.Options
	authorities map[string][sha256.Size]byte // what tls.ca_file held, by its name
	upstream    *upstream.Upstream
	handler     http.Handler
}

// generate builds all that cfg asks for, and changes nothing yet. Upstreams that last has with the same options and authorities are
// taken along, with their connections.
func (a *App) generate(cfg *config.Config, last *generation) (*generation, error) {
	g := &generation{cfg: cfg, access: accessOf(cfg), origins: map[string]origin{}}
	for name, o := range cfg.Upstreams {
		authorities := contentsOf([]string{o.TLS.CAFile}) // never newer than what is loaded
		if last != nil && last.origins[name].same(o, authorities) {
			g.origins[name] = last.origins[name]
			continue
		}
		u, err := upstream.New(name, o)
		if err != nil {
			return nil, fmt.Errorf("upstream %s: %w", name, err)
		}
		u.Observe, u.Changed = a.metrics.ObserveUpstream, a.targetChanged
		g.origins[name] = origin{o, authorities, u, proxy.Forward(u, a.log)}
	}
	g.plan = planOf(cfg, g)
	g.lane = lanePlanOf(cfg, g.plan)
	return g, nil
}

// same reports whether the upstream is what the options ask for. Connections to a target that showed a certificate of an authority
// which is not trusted any more must not be used on, so a changed file is another upstream.
func (o origin) same(options upstream.Options, authorities map[string][sha256.Size]byte) bool {
	return reflect.DeepEqual(o.options, options) && maps.Equal(o.authorities, authorities)
}

// targetChanged tells the log how a target of an upstream stands now.
func (a *App) targetChanged(name, target string, from, to upstream.State) {
	level := slog.LevelInfo
	if to == upstream.Unhealthy || to == upstream.Ejected {
		level = slog.LevelWarn
	}
	a.log.Log(context.Background(), level, "target changed", "upstream", name, "target", target, "from", string(from), "to", string(to))
}

// upstreams returns the upstreams in the order of their names.
func (g *generation) upstreams() []*upstream.Upstream {
	var all []*upstream.Upstream
	for _, name := range slices.Sorted(maps.Keys(g.origins)) {
		all = append(all, g.origins[name].upstream)
	}
	return all
}

func accessOf(cfg *config.Config) *admin.Access {
	var tokens []admin.Token
	for _, t := range cfg.Admin.Tokens {
		token := admin.Token{Name: t.Name, Secret: string(t.Token)}
		for _, s := range t.Scopes {
			token.Scopes = append(token.Scopes, admin.Scope(s))
		}
		tokens = append(tokens, token)
	}
	return admin.NewAccess(tokens, cfg.Admin.RequireToken)
}

func planOf(cfg *config.Config, g *generation) *proxy.Plan {
	table := cfg.Table()
	plan := &proxy.Plan{
		Table:          table,
		CacheName:      cfg.Cache.Name,
		TrustedProxies: cfg.TrustedProxies,
		PurgeAllow:     cfg.Purge.Allow,
		MayPurge:       func(token string) bool { return g.access.May(token, admin.ScopePurge) },
		HitForMiss:     cfg.Cache.HitForMiss,
		Limits: proxy.Limits{
			URLBytes:          int(cfg.Limits.URLBytes),
			QueryParams:       cfg.Limits.QueryParams,
			ConcurrentFetches: cfg.Limits.ConcurrentFetches,
		},
	}
	for _, r := range table.Routes() {
		plan.Sites = append(plan.Sites, proxy.Site{Route: r, Origin: g.origins[r.Upstream].handler})
	}
	return plan
}

// lanePlanOf is what of plan concerns the hits that the fast lane answers.
func lanePlanOf(cfg *config.Config, plan *proxy.Plan) *fastlane.Plan {
	return fastlane.NewPlan(fastlane.PlanOptions{
		Table:          plan.Table,
		CacheName:      plan.CacheName,
		TrustedProxies: plan.TrustedProxies,
		URLBytes:       plan.Limits.URLBytes,
		QueryParams:    plan.Limits.QueryParams,
	})
}

// close closes the unused connections of the upstreams that next, which may be nil, does not have any more. What is under way ends
// as it would, and its connection with it.
func (g *generation) close(next *generation) {
	for name, o := range g.origins {
		if next == nil || next.origins[name].upstream != o.upstream {
			o.upstream.Close()
		}
	}
}
