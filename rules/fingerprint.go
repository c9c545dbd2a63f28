package rules

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"

	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// storingRules is all of a route that changes what is stored or for how long, in its compiled form: two ways to write
// the same rule are the same. What is applied when a response is served (headers.response, bypass, collapse), what
// decides whether a request gets here (match), and the name, which is in the key, are not among it.
type storingRules struct {
	Format         int // to change when the meaning of a stored response changes
	Upstream       string
	Rewrite        Rewrite
	Set            map[string]string `json:",omitempty"`
	Remove         []string          `json:",omitempty"`
	Off            bool
	Policy         rfc9111.Policy
	MaxObjectBytes int64
	When           string
	KeyHost        bool
	KeyRoute       bool
	QueryMode      queryMode
	QueryNames     []string `json:",omitempty"`
	QuerySort      bool
	QueryForward   bool
	KeyHeaders     []string            `json:",omitempty"`
	KeyCookies     []string            `json:",omitempty"`
	Version        string              `json:",omitempty"`
	Normalize      map[string][]string `json:",omitempty"`
	Sort           []string            `json:",omitempty"`
	TagHeaders     []string            `json:",omitempty"`
	Tags           []string            `json:",omitempty"`
	DependsOn      []Dependency        `json:",omitempty"`
}

// fingerprint hashes the storing rules of a route. It is the same in every process.
func fingerprint(r *Route) uint64 {
	s := storingRules{
		Format:         2,
		Upstream:       r.Upstream,
		Rewrite:        r.rewrite,
		Set:            r.Request.Set,
		Remove:         r.Request.Remove,
		Off:            r.Off,
		Policy:         r.Policy,
		MaxObjectBytes: r.MaxObjectBytes,
		KeyHost:        r.key.host,
		KeyRoute:       r.key.route,
		QueryMode:      r.key.query.mode,
		QuerySort:      r.key.query.sort,
		QueryForward:   r.key.query.forward,
		KeyHeaders:     r.key.headers,
		KeyCookies:     r.key.cookies,
		Version:        r.key.version,
		Normalize:      r.vary.normalize,
		Sort:           r.vary.sort,
		TagHeaders:     r.TagHeaders,
		DependsOn:      r.DependsOn,
	}
	for _, t := range r.tags {
		s.Tags = append(s.Tags, t.pattern)
	}
	for _, g := range r.key.query.names {
		s.QueryNames = append(s.QueryNames, g.pattern)
	}
	if r.Spec.Cache != nil {
		s.When = r.Spec.Cache.When
	}
	if len(s.Policy.StatusTTL) == 0 {
		s.Policy.StatusTTL = nil // written as {} or not at all, it is the same rule
	}
	sum := digest(s)
	return binary.BigEndian.Uint64(sum[:])
}

// defaultRouteName is the name of a route without one: 12 hexadecimal digits of a hash of match and upstream.
func defaultRouteName(m *MatchSpec, upstream string) string {
	sum := digest(struct {
		Hosts, Paths, Methods []string             `json:",omitempty"`
		Headers, Query        map[string]OneOrMany `json:",omitempty"`
		When, Upstream        string
	}{m.Hosts, m.Paths, m.Methods, m.Headers, m.Query, m.When, upstream})
	return hex.EncodeToString(sum[:6])
}

// digest is the SHA-256 of v as JSON, whose objects have their keys in order.
func digest(v any) [sha256.Size]byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic("rules: a rule that cannot be written as JSON: " + err.Error()) // no type in v can cause it
	}
	return sha256.Sum256(text)
}
