// Package scale puts load on one log of purges in Redis, and measures what that
// costs there and here. What counts first is the processor time of Redis' main
// thread for each operation, which Redis tells itself: it depends less on what
// else the machine does than rates do, and its reciprocal is what a whole core
// bears.
package scale

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/cacheproxy/cacheproxy/invalidation"
)

// Log is a log in Redis, with the client that it uses.
type Log struct {
	*invalidation.RedisLog
	client redis.UniversalClient
}

// Lease is the default of cache.lease.
const Lease = 2 * time.Second

// records is how many records the log keeps: more than an hour's.
const records = 4_000_000

// Open returns the log of the server at addr, over at most so many connections.
func Open(addr string, connections int) *Log {
	client := redis.NewUniversalClient(&redis.UniversalOptions{
		Addrs: []string{addr}, PoolSize: connections, MaxRetries: -1, DisableIdentity: true, ContextTimeoutEnabled: true,
		DialTimeout: time.Minute, ReadTimeout: time.Minute, WriteTimeout: time.Minute, PoolTimeout: time.Minute,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	return &Log{client: client, RedisLog: invalidation.NewRedisLog(invalidation.RedisOptions{
		Client: client, Prefix: "scale", MaxRecords: records, MaxAge: 24 * time.Hour, Timeout: time.Minute,
	})}
}

// Close closes the connections.
func (l *Log) Close() error { return l.client.Close() }

// Cost is what a number of operations have cost Redis.
type Cost struct {
	Ops          int
	Elapsed, CPU time.Duration
}

// Each returns the processor time of one operation.
func (c Cost) Each() time.Duration { return c.CPU / time.Duration(max(c.Ops, 1)) }

// Rate returns how many there were in a second.
func (c Cost) Rate() float64 { return float64(c.Ops) / c.Elapsed.Seconds() }

// Full returns how many there would be in a second of a core's whole time.
func (c Cost) Full() float64 { return float64(c.Ops) / c.CPU.Seconds() }

// Busy returns the share of a core that they took.
func (c Cost) Busy() float64 { return c.CPU.Seconds() / c.Elapsed.Seconds() }

// cpu returns the processor time of the server's main thread since its start.
func (l *Log) cpu(ctx context.Context) (sum time.Duration, err error) {
	text, err := l.client.Info(ctx, "cpu").Result()
	if err != nil {
		return 0, err
	}
	found := 0
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name != "used_cpu_user_main_thread" && name != "used_cpu_sys_main_thread" {
			continue
		}
		seconds, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(seconds * float64(time.Second))
		found++
	}
	if found != 2 {
		return 0, fmt.Errorf("the server does not tell the time of its main thread: %q", text)
	}
	return sum, nil
}

// Measure returns what f has cost, which returns how many operations it was.
func (l *Log) Measure(ctx context.Context, f func() (int, error)) (c Cost, err error) {
	before, err := l.cpu(ctx)
	if err != nil {
		return c, err
	}
	start := time.Now()
	if c.Ops, err = f(); err != nil {
		return c, err
	}
	c.Elapsed = time.Since(start)
	after, err := l.cpu(ctx)
	c.CPU = after - before
	return c, err
}

// together calls op from so many goroutines, with the numbers from 0 on, until d
// is over or there were limit calls (0: no limit). It returns how many there were.
func together(ctx context.Context, workers, limit int, d time.Duration, op func(ctx context.Context, i int) error) (int, error) {
	var next, done atomic.Int64
	var running sync.WaitGroup
	end := time.Now().Add(d)
	failed := make(chan error, workers)
	for range workers {
		running.Go(func() {
			for limit > 0 || time.Now().Before(end) {
				i := int(next.Add(1)) - 1
				if limit > 0 && i >= limit {
					return
				}
				if err := op(ctx, i); err != nil {
					failed <- err
					return
				}
				done.Add(1)
			}
		})
	}
	running.Wait()
	close(failed)
	return int(done.Load()), <-failed
}

// purge is the record number i, of a URL that no other has.
func purge(i int) invalidation.Record {
	return invalidation.Record{Origin: "scale", Selectors: []invalidation.Selector{
		{Kind: invalidation.KindURL, Value: "//www.example.com/catalogue/" + strconv.Itoa(i)},
	}}
}

// Fill appends n records, from so many goroutines.
func (l *Log) Fill(ctx context.Context, workers, n int) (Cost, error) {
	return l.Measure(ctx, func() (int, error) {
		return together(ctx, workers, n, 0, func(ctx context.Context, i int) error {
			_, err := l.Append(ctx, purge(i), false)
			return err
		})
	})
}

// Appends appends records for d. With members, each append returns the register,
// as it must where all are waited for.
func (l *Log) Appends(ctx context.Context, workers int, d time.Duration, members bool) (Cost, error) {
	if _, err := l.Fill(ctx, workers, 10*workers); err != nil { // the connections stand, and the script is known
		return Cost{}, err
	}
	return l.Measure(ctx, func() (int, error) {
		return together(ctx, workers, 0, d, func(ctx context.Context, i int) error {
			_, err := l.Append(ctx, purge(i), members)
			return err
		})
	})
}

// Register has so many instances report.
func (l *Log) Register(ctx context.Context, instances int) error {
	_, err := l.renew(ctx, instances, instances, 0)
	return err
}

// Renewals renews the leases of so many instances, who have applied everything,
// in turns and for d.
func (l *Log) Renewals(ctx context.Context, instances int, d time.Duration) (Cost, error) {
	return l.Measure(ctx, func() (int, error) { return l.renew(ctx, instances, 0, d) })
}

func (l *Log) renew(ctx context.Context, instances, limit int, d time.Duration) (int, error) {
	_, head, err := l.Members(ctx)
	if err != nil {
		return 0, err
	}
	return together(ctx, 8, limit, d, func(ctx context.Context, i int) error {
		s, err := l.Sync(ctx, invalidation.Report{ID: "instance-" + strconv.Itoa(i%instances), Applied: head, Lease: Lease})
		if err == nil && !s.Granted {
			err = fmt.Errorf("no lease at %v: %+v", head, s)
		}
		return err
	})
}

// Inside returns what one of n calls costs within a script, on the log's stream.
func (l *Log) Inside(ctx context.Context, call string, n int) (Cost, error) {
	body := "for i = 1, ARGV[1] do " + call + " end"
	return l.Measure(ctx, func() (int, error) {
		err := l.client.Eval(ctx, body, []string{"{scale:log}:records", "{scale:log}:register"}, n).Err()
		if err == redis.Nil {
			err = nil
		}
		return n, err
	})
}
