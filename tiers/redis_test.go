package tiers_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/cacheproxy/cacheproxy/test/redistest"
	"github.com/cacheproxy/cacheproxy/tiers"
	"github.com/cacheproxy/cacheproxy/tiers/backendtest"
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

func TestFakeIsABackend(t *testing.T) { backendtest.Test(t, backendtest.NewFake()) }

func TestRedisIsABackend(t *testing.T) {
	client := clientOf(t, redis.UniversalOptions{Addrs: []string{redistest.Start(t).Addr}})
	backendtest.Test(t, tiers.NewRedis(client, "cacheproxy", 8))
}

func TestClusterIsABackend(t *testing.T) {
	client := clientOf(t, redis.UniversalOptions{Addrs: redistest.StartCluster(t).Addrs, IsClusterMode: true})
	backendtest.Test(t, tiers.NewRedis(client, "cacheproxy", 8))
}

func TestSentinelsAreABackend(t *testing.T) {
	s := redistest.StartSentinels(t)
	client := clientOf(t, redis.UniversalOptions{Addrs: s.Addrs, MasterName: s.Name})
	backendtest.Test(t, tiers.NewRedis(client, "cacheproxy", 8))
}

// TestKeysHoldAFewFields: a resource with many variants does not grow without end, and the oldest go.
func TestKeysHoldAFewFields(t *testing.T) {
	server := redistest.Start(t)
	b := tiers.NewRedis(clientOf(t, redis.UniversalOptions{Addrs: []string{server.Addr}}), "p", 3)
	now := time.Now()
	for i := range 10 {
		stored, err := b.Set(t.Context(), "k", tiers.Write{
			Field: fmt.Sprint("v", i), Frame: []byte{byte(i)}, Note: fmt.Sprint("n", i), TTL: time.Minute, Time: now.Add(time.Duration(i) * time.Second),
		})
		if err != nil || !stored {
			t.Fatal(stored, err)
		}
	}
	if n := server.Do("HLEN", "p:{k}"); n != int64(4) {
		t.Errorf("%v fields, want 3 and the index", n)
	}
	index, frames, err := b.Get(t.Context(), "k", "v6", "v7", "v8", "v9")
	if err != nil || frames[0] != nil || !bytes.Equal(frames[1], []byte{7}) || !bytes.Equal(frames[3], []byte{9}) || len(index.Notes) != 3 {
		t.Errorf("%v %v %v", index, frames, err)
	}
}

// TestEveryKeyBeginsWithThePrefix: an administrator gives an ACL user the keys of one prefix.
func TestEveryKeyBeginsWithThePrefix(t *testing.T) {
	server := redistest.Start(t)
	server.Do("ACL", "SETUSER", "cache", "on", ">secret", "resetchannels", "~shop:*", "&shop:*", "+hmget", "+evalsha", "+eval", "+ping", "+hello", "+subscribe",
		"+hget", "+hset", "+hdel", "+unlink", "+pexpire", "+pttl", "+get", "+set", "+del", "+publish")
	client := clientOf(t, redis.UniversalOptions{Addrs: []string{server.Addr}, Username: "cache", Password: "secret"})
	backendtest.Test(t, tiers.NewRedis(client, "shop", 8))
}

// TestRefusalsAreTold tells a server that is full, and a key that is another's, from one that is away.
func TestRefusalsAreTold(t *testing.T) {
	server := redistest.Start(t)
	b := tiers.NewRedis(clientOf(t, redis.UniversalOptions{Addrs: []string{server.Addr}}), "p", 3)
	server.Do("SET", "p:{other}", "x")
	if _, _, err := b.Get(t.Context(), "other", "a"); !errors.Is(err, tiers.ErrRefused) {
		t.Errorf("a key of another type: %v", err)
	}
	server.Do("HSET", "p:{odd}", "i", "{", "a", "x")
	if _, _, err := b.Get(t.Context(), "odd", "a"); !errors.Is(err, tiers.ErrFrame) {
		t.Errorf("an index that is none: %v", err)
	}
	if stored, err := b.Set(t.Context(), "odd", tiers.Write{Field: "a", Frame: []byte("y"), TTL: time.Minute}); err != nil || !stored {
		t.Errorf("over an index that is none: %v, %v", stored, err)
	}
	server.Do("CONFIG", "SET", "maxmemory", "1")
	if _, err := b.Set(t.Context(), "k", tiers.Write{Field: "a", Frame: []byte("x"), TTL: time.Minute}); !errors.Is(err, tiers.ErrRefused) {
		t.Errorf("a full server: %v", err)
	}
	if _, _, err := b.Get(t.Context(), "odd", "a"); err != nil {
		t.Errorf("a read of a full server: %v", err)
	}
	server.Kill()
	if _, _, err := b.Get(t.Context(), "k", "a"); err == nil || errors.Is(err, tiers.ErrRefused) {
		t.Errorf("a server that is away: %v", err)
	}
}
