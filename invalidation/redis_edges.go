package invalidation

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// RedisEdges are the edges of a [Dependencies] in Redis, which all instances with
// the same prefix share. For each node there is a sorted set of the URIs that
// depend on it, by when that ends; it goes when nothing more was declared for
// Lifetime.
type RedisEdges struct {
	Client   redis.UniversalClient // not closed
	Prefix   string                // of all keys
	Lifetime time.Duration         // nothing that is declared lasts longer
	Timeout  time.Duration         // of each operation
	Up       func() bool           // whether Redis is to be asked at all; nil: always
}

var errEdgesAway = errors.New("redis is not asked at the moment")

func (r *RedisEdges) up() bool { return r.Up == nil || r.Up() }

// key is where the dependents of a node are.
func (r *RedisEdges) key(node string) string {
	sum := sha256.Sum256([]byte(node))
	return r.Prefix + ":dependents:" + hex.EncodeToString(sum[:16])
}

// Declare implements Edges.
func (r *RedisEdges) Declare(ctx context.Context, uri string, nodes []string, until time.Time) error {
	if !r.up() {
		return errEdgesAway
	}
	ctx, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	_, err := r.Client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, node := range nodes {
			key := r.key(node)
			p.ZAddArgs(ctx, key, redis.ZAddArgs{GT: true, Members: []redis.Z{{Score: float64(until.UnixMilli()), Member: uri}}})
			p.ZRemRangeByScore(ctx, key, "-inf", strconv.FormatInt(time.Now().UnixMilli(), 10))
			p.PExpire(ctx, key, r.Lifetime)
		}
		return nil
	})
	return err
}

// Dependents implements Edges.
func (r *RedisEdges) Dependents(ctx context.Context, nodes []string) ([][]string, error) {
	if !r.up() {
		return nil, errEdgesAway
	}
	ctx, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	now := "(" + strconv.FormatInt(time.Now().UnixMilli(), 10)
	answers, err := r.Client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, node := range nodes {
			p.ZRangeByScore(ctx, r.key(node), &redis.ZRangeBy{Min: now, Max: "+inf", Count: MaxClosure + 1})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	uris := make([][]string, len(answers))
	for i, a := range answers {
		uris[i] = a.(*redis.StringSliceCmd).Val() // what ZRangeByScore has put there
	}
	return uris, nil
}
