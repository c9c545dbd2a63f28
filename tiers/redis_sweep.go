package tiers

import (
	"cmp"
	"context"
	_ "embed" // the scripts
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cacheproxy/cacheproxy/invalidation"
)

// headsBytes is how much of frames one script reads before others have their
// turn: Redis copies a whole frame to look at its beginning.
const headsBytes = 1 << 20

var (
	//go:embed heads.lua
	headsSource string
	//go:embed remove.lua
	removeSource string
	//go:embed extend.lua
	extendSource string

	headsScript  = redis.NewScript(headsSource)
	removeScript = redis.NewScript(removeSource)
	extendScript = redis.NewScript(extendSource)
)

// master is one server that may be written to.
type master struct {
	addr   string
	client *redis.Client
}

// masters returns the masters in the order of their addresses: one, or those of
// a cluster.
func (b *Redis) masters(ctx context.Context) (list []master, err error) {
	switch c := b.client.(type) {
	case *redis.Client:
		return []master{{"", c}}, nil
	case *redis.ClusterClient:
		var mu sync.Mutex // guards list
		err = c.ForEachMaster(ctx, func(_ context.Context, c *redis.Client) error {
			mu.Lock()
			defer mu.Unlock()
			list = append(list, master{c.Options().Addr, c})
			return nil
		})
		slices.SortFunc(list, func(a, b master) int { return cmp.Compare(a.addr, b.addr) })
	}
	if err == nil && len(list) == 0 {
		err = errors.New("no master is known")
	}
	return list, err
}

// Walk implements Sweepable by one SCAN, and one HGET for each key that it finds. In a cluster each master has its turn; from is then
// its cursor and its address. A key that moves from one to another meanwhile may be missed in a round.
func (b *Redis) Walk(ctx context.Context, from string, count int) (p Page, err error) {
	list, err := b.masters(ctx)
	if err != nil {
		return p, classify(err)
	}
	text, addr, _ := strings.Cut(from, " ")
	cursor, _ := strconv.ParseUint(text, 10, 64) // "" is the beginning
	at, same := slices.BinarySearchFunc(list, addr, func(m master, addr string) int { return cmp.Compare(m.addr, addr) })
	switch {
	case at == len(list):
		return p, nil // the last one is not a master any more
	case !same:
		cursor = 0
	}
	names, cursor, err := list[at].client.Scan(ctx, cursor, globEscaper.Replace(b.prefix)+":{*}", int64(count)).Result()
	if err != nil {
		return p, classify(err)
	}
	switch {
	case cursor != 0:
		p.Next = fmt.Sprint(cursor, " ", list[at].addr)
	case at+1 < len(list):
		p.Next = fmt.Sprint(0, " ", list[at+1].addr)
	}
	p.Keys, err = b.held(ctx, names)
	return p, classify(err)
}

// globEscaper makes a pattern of SCAN that matches the text alone.
var globEscaper = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`)

// held returns what is under these names. What is none of ours is left out.
func (b *Redis) held(ctx context.Context, names []string) (list []Held, err error) {
	if len(names) == 0 {
		return nil, nil
	}
	answers, err := b.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for _, name := range names {
			pipe.HGet(ctx, name, indexField)
		}
		return nil
	})
	var reply redis.Error // that a key has gone, or is of another type, is the key's own matter
	if err != nil && !errors.As(err, &reply) {
		return nil, err
	}
	for i, answer := range answers {
		raw, err := answer.(*redis.StringCmd).Bytes()
		if err != nil {
			continue
		}
		key := strings.TrimSuffix(strings.TrimPrefix(names[i], b.prefix+":{"), "}")
		list = append(list, Held{Key: key, Rows: rowsOf(raw)})
	}
	return list, nil
}

// rowsOf reads the rows of what set.lua has written. What it did not write is passed over.
func rowsOf(raw []byte) (rows []Row) {
	var stored struct {
		Fields map[string][]string `json:"f"`
	}
	if json.Unmarshal(raw, &stored) != nil {
		return nil
	}
	for field, f := range stored.Fields {
		if len(f) != 5 {
			continue
		}
		epoch, err := strconv.ParseUint(f[0], 16, 64)
		seq, err2 := strconv.ParseUint(f[1], 10, 64)
		at, err3 := strconv.ParseInt(f[2], 10, 64)
		if errors.Join(err, err2, err3) == nil {
			rows = append(rows, Row{field, invalidation.Position{Epoch: invalidation.Epoch(epoch), Seq: invalidation.Seq(seq)}, at})
		}
	}
	return rows
}

// Heads implements Sweepable by one script.
func (b *Redis) Heads(ctx context.Context, key string, fields []string) ([]Head, error) {
	args := []any{headsBytes, frameHeader, frameMetaLength + 1} // Lua counts from 1
	for _, f := range fields {
		args = append(args, f)
	}
	texts, err := headsScript.Run(ctx, b.client, []string{b.key(key)}, args...).StringSlice()
	if err != nil {
		return nil, classify(err)
	}
	if len(texts) == 0 || len(texts) > len(fields) {
		return nil, fmt.Errorf("%d heads for %d fields", len(texts), len(fields))
	}
	heads := make([]Head, len(texts))
	for i, text := range texts {
		if text != "" {
			heads[i] = Head(text)
		}
	}
	return heads, nil
}

// Remove implements Sweepable by one script.
func (b *Redis) Remove(ctx context.Context, key string, r Row) (bool, error) {
	removed, err := removeScript.Run(ctx, b.client, []string{b.key(key)}, r.Field, r.Born.Epoch.String(), uint64(r.Born.Seq), r.Time).Int()
	return removed == 1, classify(err)
}

// Extend implements Sweepable by one script.
func (b *Redis) Extend(ctx context.Context, key, name, token string, ttl time.Duration) (bool, error) {
	held, err := extendScript.Run(ctx, b.client, []string{b.claim(key, name)}, token, ttl.Milliseconds()).Int()
	return held == 1, classify(err)
}
