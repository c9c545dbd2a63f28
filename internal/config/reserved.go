package config

import "fmt"

// reservedKeys are the documented keys whose feature is not built yet, each with what it is for. In a path, [] is any element
// of a list and * any name of a map.
var reservedKeys = map[string]string{
	"sessions": "edge sessions",
	"events":   "events",
	"tracing":  "tracing",

	"routes[].write.mode":         "writing through the cache",
	"routes[].write.methods":      "writing through the cache",
	"routes[].write.behind":       "writing behind the cache",
	"routes[].session":            "edge sessions",
	"routes[].cache.refresh_at":   "refreshing ahead",
	"routes[].cache.adaptive_ttl": "adaptive lifetimes",
	"routes[].cache.key.session":  "edge sessions",
}

// reservedValues are the documented values whose feature is not built yet.
var reservedValues = map[string]map[string]string{
	"admin.tokens[].scopes[]": {
		"warm":     "warming",
		"writes":   "writing through the cache",
		"sessions": "edge sessions",
		"events":   "events",
		"debug":    "profiling",
	},
	"routes[].cache.pattern": {
		"refresh-ahead": "refreshing ahead",
		"audit":         "audit mode",
	},
}

func notBuilt(what, feature string) string {
	return fmt.Sprintf("%q is reserved for %s, which is not built yet; leave it out", what, feature)
}
