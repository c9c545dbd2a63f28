package tiers

import (
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// errDeaf says why a client cannot be used.
var errDeaf = errors.New("the client of Redis does not heed deadlines: set ContextTimeoutEnabled in its options")

// OverRedis returns the options of a Remote in Redis, with the defaults of the
// program's configuration, for a program to change before it uses them. At most
// so many frames are kept under a key. The client stays the caller's. The error
// says that the client or the prefix cannot be used.
func OverRedis(client redis.UniversalClient, prefix string, fields int) (*RemoteOptions, error) {
	if !heedsContext(client) {
		return nil, errDeaf
	}
	if !isPrefix(prefix) {
		return nil, fmt.Errorf("the prefix is %q; it must be a word without braces", prefix)
	}
	return &RemoteOptions{
		Backend: NewRedis(client, prefix, fields),
		Codec:   Codec{Compression: Zstd, MinBytes: 1 << 10, MaxBytes: 4 << 20},
		Timeout: 100 * time.Millisecond, Failures: 5, OpenFor: 2 * time.Second,
	}, nil
}

// heedsContext reports whether operations end with their context. What cannot
// be asked is believed.
func heedsContext(client redis.UniversalClient) bool {
	switch c := client.(type) {
	case *redis.Client:
		return c.Options().ContextTimeoutEnabled
	case *redis.ClusterClient:
		return c.Options().ContextTimeoutEnabled
	case *redis.Ring:
		return c.Options().ContextTimeoutEnabled
	}
	return true
}
