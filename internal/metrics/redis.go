package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/cacheproxy/cacheproxy/tiers"
)

// Redis are the figures of the server behind memory and of the connections to it.
type Redis struct {
	Up          bool  // it answered when it was last asked how it is
	MemoryBytes int64 // that it uses
	EvictedKeys int64 // since it was started
	Pool        RedisPool
}

// RedisPool are the figures of the connections.
type RedisPool struct {
	Connections, Idle             uint32
	Hits, Misses, Timeouts, Stale uint32
}

var (
	redisUp         = gauge("redis_up", "Whether Redis answered when it was last asked how it is.")
	redisMemory     = gauge("redis_memory_bytes", "Memory that Redis uses; of a cluster all masters together.")
	redisEvicted    = counter("redis_evicted_keys_total", "Keys that Redis has evicted for want of memory.")
	poolConnections = gauge("redis_pool_connections", "Connections to Redis.")
	poolIdle        = gauge("redis_pool_idle", "Connections to Redis that nobody uses at the moment.")
	poolHits        = counter("redis_pool_hits_total", "Operations that found an idle connection.")
	poolMisses      = counter("redis_pool_misses_total", "Operations that found none.")
	poolTimeouts    = counter("redis_pool_timeouts_total", "Operations that waited for a connection in vain.")
	poolStale       = counter("redis_pool_stale_total", "Connections that were closed because they were broken or too old.")
	l2Queued        = gauge("l2_queue_writes", "Writes to the tier in Redis that wait or are under way.")
	l2QueuedBytes   = gauge("l2_queue_bytes", "Bodies of the writes that wait or are under way.")
	l2Deletes       = gauge("l2_pending_deletes", "Purged keys of which Redis has not been told yet, because it is away.")
	l2Corrupt       = counter("l2_corrupt_frames_total", "What was read from Redis and is nothing that this program has written: cut off, changed, or of another version.")
	l2Swept         = counter("l2_swept_keys_total", "Keys in Redis that this instance has looked at to find what was purged.")
	l2Removed       = counter("l2_swept_responses_total", "Purged responses that it has taken out of Redis.")

	redisFigures = []figure{
		redisUp, redisMemory, redisEvicted, poolConnections, poolIdle, poolHits, poolMisses, poolTimeouts, poolStale,
		l2Queued, l2QueuedBytes, l2Deletes, l2Corrupt, l2Swept, l2Removed,
	}
)

func (r *Redis) collect(out chan<- prometheus.Metric, l2 *tiers.RemoteStats) {
	up := 0.0
	if r.Up {
		up = 1
	}
	redisUp.send(out, up)
	redisMemory.send(out, float64(r.MemoryBytes))
	redisEvicted.send(out, float64(r.EvictedKeys))
	poolConnections.send(out, float64(r.Pool.Connections))
	poolIdle.send(out, float64(r.Pool.Idle))
	poolHits.send(out, float64(r.Pool.Hits))
	poolMisses.send(out, float64(r.Pool.Misses))
	poolTimeouts.send(out, float64(r.Pool.Timeouts))
	poolStale.send(out, float64(r.Pool.Stale))
	l2Queued.send(out, float64(l2.Queued))
	l2QueuedBytes.send(out, float64(l2.Bytes))
	l2Deletes.send(out, float64(l2.Deletes))
	l2Corrupt.send(out, float64(l2.Corrupt))
	l2Swept.send(out, float64(l2.Swept))
	l2Removed.send(out, float64(l2.Removed))
	breakers.send(out, float64(l2.Breaker), "redis")
}
