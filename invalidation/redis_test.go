package invalidation_test

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/invalidation/logtest"
	"github.com/cacheproxy/cacheproxy/test/redistest"
)

// clientOf returns a client of the servers that ends with the test.
func clientOf(t testing.TB, o redis.UniversalOptions) redis.UniversalClient {
	t.Helper()
	o.DisableIdentity, o.ContextTimeoutEnabled, o.MaxRetries = true, true, -1
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	client := redis.NewUniversalClient(&o)
	t.Cleanup(func() { client.Close() })
	return client
}

// logOf returns a log over client, with room for each operation on a busy machine.
func logOf(client redis.UniversalClient, prefix string) *invalidation.RedisLog {
	return invalidation.NewRedisLog(invalidation.RedisOptions{
		Client: client, Prefix: prefix, MaxRecords: 10_000, MaxAge: time.Hour, Timeout: 5 * time.Second,
	})
}

func TestMemLogIsALog(t *testing.T) {
	logtest.Test(t, func(*testing.T) invalidation.Log { return invalidation.NewMemLogOf(10_000) })
}

func TestRedisLogIsALog(t *testing.T) {
	server := redistest.Start(t)
	logtest.Test(t, func(t *testing.T) invalidation.Log {
		return logOf(clientOf(t, redis.UniversalOptions{Addrs: []string{server.Addr}}), t.Name())
	})
}

func TestRedisLogInAClusterIsALog(t *testing.T) {
	cluster := redistest.StartCluster(t)
	logtest.Test(t, func(t *testing.T) invalidation.Log {
		return logOf(clientOf(t, redis.UniversalOptions{Addrs: cluster.Addrs, IsClusterMode: true}), t.Name())
	})
}

func TestRedisLogBehindSentinelsIsALog(t *testing.T) {
	s := redistest.StartSentinels(t)
	logtest.Test(t, func(t *testing.T) invalidation.Log {
		return logOf(clientOf(t, redis.UniversalOptions{Addrs: s.Addrs, MasterName: s.Name}), t.Name())
	})
}
