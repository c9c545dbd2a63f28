package invalidation_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/test/redistest"
)

func url(n int) invalidation.Record {
	return invalidation.Record{Selectors: []invalidation.Selector{{Kind: invalidation.KindURL, Value: fmt.Sprintf("//h/%d", n)}}}
}

func mustAppend(t *testing.T, log invalidation.Log, r invalidation.Record) invalidation.Record {
	t.Helper()
	a, err := log.Append(t.Context(), r, false)
	if err != nil {
		t.Fatal(err)
	}
	return a.Record
}

func mustSync(t *testing.T, log invalidation.Log, r invalidation.Report) invalidation.Synced {
	t.Helper()
	s, err := log.Sync(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Whatever way Redis loses something, the epoch is another one afterwards, for
// every operation; and nobody who stood in the old one is granted a lease.
func TestALossShowsAsAnotherEpoch(t *testing.T) {
	for name, lose := range map[string]func(*redistest.Server){
		"FLUSHALL":               func(s *redistest.Server) { s.Do("FLUSHALL") },
		"a restart without data": func(s *redistest.Server) { s.Kill(); s.Restart() },
		"a restart with data":    func(s *redistest.Server) { s.Do("SAVE"); s.Kill(); s.Restart() },
		"the stream is deleted":  func(s *redistest.Server) { s.Do("DEL", "{p:log}:records") },
		"the register is lost":   func(s *redistest.Server) { s.Do("DEL", "{p:log}:register") },
	} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			log := logOf(clientOf(t, redis.UniversalOptions{Addrs: []string{server.Addr}}), "p")
			mustAppend(t, log, url(1))
			last := mustAppend(t, log, url(2))
			me := invalidation.Report{ID: "a", Applied: last.Position, Lease: time.Minute}
			if s := mustSync(t, log, me); !s.Granted {
				t.Fatalf("before: %+v", s)
			}
			lose(server)
			s := mustSync(t, log, me)
			if s.Granted || s.Head.Epoch == last.Epoch || s.Head.Epoch == 0 {
				t.Errorf("afterwards: %+v, before %v", s, last.Position)
			}
			next := mustAppend(t, log, url(3))
			_, head, err := log.Members(t.Context())
			if err != nil || next.Epoch != s.Head.Epoch || head.Epoch != s.Head.Epoch || next.Seq != s.Head.Seq+1 {
				t.Errorf("one epoch for all: %v, %v and %v (%v)", s.Head, next.Position, head, err)
			}
		})
	}
}

// A replica that takes over is another epoch, and so is the old master when it
// takes over again, whose process has lived on.
func TestAFailoverAndBackIsTwoEpochs(t *testing.T) {
	one, two := redistest.Start(t), redistest.Start(t)
	client := clientOf(t, redis.UniversalOptions{Addrs: []string{one.Addr}})
	log, other := logOf(client, "p"), logOf(clientOf(t, redis.UniversalOptions{Addrs: []string{two.Addr}}), "p")
	follow := func(replica, master *redistest.Server) {
		t.Helper()
		host, port, _ := strings.Cut(master.Addr, ":")
		replica.Do("REPLICAOF", host, port)
		for begin := time.Now(); ; time.Sleep(10 * time.Millisecond) {
			info, _ := replica.Do("INFO", "replication").(string)
			if strings.Contains(info, "master_link_status:up") {
				return
			}
			if time.Since(begin) > 20*time.Second {
				t.Fatal("the replica does not follow")
			}
		}
	}
	first := mustAppend(t, log, url(1))
	follow(two, one)
	mustAppend(t, log, url(2)) // which may be lost
	two.Do("REPLICAOF", "NO", "ONE")
	second := mustAppend(t, other, url(3))
	follow(one, two)
	one.Do("REPLICAOF", "NO", "ONE")
	third := mustAppend(t, log, url(4))
	if first.Epoch == second.Epoch || second.Epoch == third.Epoch || first.Epoch == third.Epoch {
		t.Errorf("the epochs are %v, %v and %v", first.Epoch, second.Epoch, third.Epoch)
	}
}

// What is refused leaves no gap. A full server grants no lease: whoever holds one
// must be in the register, for who purges next waits only for those who are.
func TestAFullRedisRefusesWithoutAGap(t *testing.T) {
	server := redistest.Start(t)
	log := logOf(clientOf(t, redis.UniversalOptions{Addrs: []string{server.Addr}}), "p")
	last := mustAppend(t, log, url(1))
	server.Do("CONFIG", "SET", "maxmemory", "1")
	if a, err := log.Append(t.Context(), url(2), false); err == nil {
		t.Errorf("a full server took %+v", a)
	}
	me := invalidation.Report{ID: "a", Applied: last.Position, Lease: time.Minute}
	leased, err := log.Sync(t.Context(), me)
	leased.Granted = leased.Granted && err == nil
	server.Do("CONFIG", "SET", "maxmemory", "0")
	next, err := log.Append(t.Context(), url(3), true)
	if err != nil {
		t.Fatal(err)
	}
	if r := next.Record; r.Epoch != last.Epoch || r.Seq != last.Seq+1 {
		t.Errorf("the next is at %v behind %v", r.Position, last.Position)
	}
	if leased.Granted && len(next.Members) == 0 {
		t.Error("an instance holds a lease, and who purges does not know of it")
	}
}

// A server that may not write, because it is no master any more or has lost its
// replicas, grants nothing.
func TestAServerThatMayNotWriteGrantsNothing(t *testing.T) {
	server := redistest.Start(t)
	log := logOf(clientOf(t, redis.UniversalOptions{Addrs: []string{server.Addr}}), "p")
	last := mustAppend(t, log, url(1))
	me := invalidation.Report{ID: "a", Applied: last.Position, Lease: time.Minute}
	for _, setting := range [][]any{{"CONFIG", "SET", "min-replicas-to-write", "1"}, {"REPLICAOF", "127.0.0.1", "1"}} {
		server.Do(setting...)
		if s, err := log.Sync(t.Context(), me); err == nil && s.Granted {
			t.Errorf("%v: granted: %+v", setting, s)
		}
		if a, err := log.Append(t.Context(), url(2), false); err == nil {
			t.Errorf("%v: appended %+v", setting, a)
		}
	}
}

func TestTheStreamIsTrimmed(t *testing.T) {
	server := redistest.Start(t)
	client := clientOf(t, redis.UniversalOptions{Addrs: []string{server.Addr}})
	byLength := invalidation.NewRedisLog(invalidation.RedisOptions{Client: client, Prefix: "length", MaxRecords: 1000, MaxAge: time.Hour, Timeout: 5 * time.Second})
	byAge := invalidation.NewRedisLog(invalidation.RedisOptions{Client: client, Prefix: "age", MaxRecords: 100_000, MaxAge: time.Second, Timeout: 5 * time.Second})
	for n := range 1500 {
		mustAppend(t, byLength, url(n))
	}
	for n := range 100 {
		mustAppend(t, byAge, url(n))
	}
	server.Do("DEBUG", "SLEEP", "1.1")
	for n := range 60 {
		mustAppend(t, byAge, url(n))
	}
	for name, log := range map[string]*invalidation.RedisLog{"length": byLength, "age": byAge} {
		s := mustSync(t, log, invalidation.Report{})
		if s.Floor < 99 || s.Floor > 600 || s.Records[0].Seq != s.Floor+1 {
			t.Errorf("trimmed by %s: floor %d of %d, the first record is %d", name, s.Floor, s.Head.Seq, s.Records[0].Seq)
		}
		// Who stands below the floor gets what there is.
		low := mustSync(t, log, invalidation.Report{Applied: invalidation.Position{Epoch: s.Head.Epoch, Seq: 5}})
		if low.Records[0].Seq != s.Floor+1 {
			t.Errorf("trimmed by %s: who stands at 5 gets %d first", name, low.Records[0].Seq)
		}
	}
}

func TestReplicasAreWaitedFor(t *testing.T) {
	s := redistest.StartSentinels(t)
	client := clientOf(t, redis.UniversalOptions{Addrs: s.Addrs, MasterName: s.Name})
	for replicas, want := range map[int]bool{0: true, 1: true, 2: false} {
		log := invalidation.NewRedisLog(invalidation.RedisOptions{
			Client: client, Prefix: "p", MaxRecords: 1000, MaxAge: time.Hour, Timeout: 2 * time.Second, WaitReplicas: replicas,
		})
		a, err := log.Append(t.Context(), url(1), false)
		if err != nil || a.Replicated != want {
			t.Errorf("%d replicas: %+v, %v", replicas, a, err)
		}
	}
}

// Several instances over a real server, all of which purge: when a purge has been
// acknowledged as complete, no instance calls what was born before it valid.
func TestInstancesOverRedis(t *testing.T) {
	const instances, purges, lease = 3, 60, time.Second
	server := redistest.Start(t)
	type instance struct {
		*invalidation.Purger
		s *invalidation.State
	}
	var all []*instance
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	for range instances {
		i := &instance{s: invalidation.NewState(10_000)}
		i.Purger = invalidation.NewFollower(logOf(clientOf(t, redis.UniversalOptions{Addrs: []string{server.Addr}}), "p"), i.s,
			invalidation.FollowerOptions{Lease: lease}).Purger(nil)
		running.Go(func() { i.Run(ctx) })
		i.Ready(ctx)
		all = append(all, i)
	}
	time.Sleep(2 * lease)
	var purging sync.WaitGroup
	var mu sync.Mutex
	var longest time.Duration
	for n, i := range all {
		purging.Go(func() {
			for round := range purges {
				uri := fmt.Sprintf("http://h/%d/%d", n, round)
				var old [instances]*bearer
				for k, other := range all {
					old[k] = bear(other.s, uri)
				}
				r, err := i.Purge(ctx, invalidation.Purge{Selectors: []invalidation.Selector{{Kind: invalidation.KindURL, Value: uri}}})
				if err != nil || !r.Complete || r.Acknowledged != instances {
					t.Errorf("%+v, %v", r, err)
					return
				}
				for k, other := range all {
					if got := other.s.Check(&old[k].stamp, old[k]); got != invalidation.Invalid {
						t.Errorf("purge %d of %d: instance %d says %v", round, n, k, got)
					}
				}
				mu.Lock()
				longest = max(longest, r.Elapsed)
				mu.Unlock()
			}
		})
	}
	purging.Wait()
	if longest > lease {
		t.Errorf("a purge took %v: it has waited out a lease", longest)
	}
	// Connections that are cut cost time, and nothing else.
	server.Do("CLIENT", "KILL", "TYPE", "pubsub")
	server.Do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	old := bear(all[1].s, "http://h/x")
	var r invalidation.Receipt
	for begin := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		var err error
		if r, err = all[0].Purge(ctx, invalidation.Purge{Selectors: []invalidation.Selector{{Kind: invalidation.KindURL, Value: "http://h/x"}}}); err == nil {
			break
		}
		if time.Since(begin) > 10*time.Second {
			t.Fatal(err)
		}
	}
	if got := all[1].s.Check(&old.stamp, old); !r.Complete || got != invalidation.Invalid {
		t.Errorf("after the cut: %+v, and the other says %v", r, got)
	}
}

// bearer is something that carries a stamp.
type bearer struct {
	stamp invalidation.Stamp
	uri   []byte
}

func (b *bearer) URI() []byte      { return b.uri }
func (b *bearer) Tags() []uint64   { return nil }
func (b *bearer) TagNames() []byte { return nil }

func bear(s *invalidation.State, uri string) *bearer {
	b := &bearer{uri: []byte(uri)}
	b.stamp = s.Stamp(s.Birth(), [16]byte{}, b.uri)
	return b
}

// A server that is full takes no records. Leases it renews, but to nobody who
// would not stand in the register: when it has room again a purge waits for those
// alone who stand there.
func TestAFullServerRegistersWhoHasALease(t *testing.T) {
	server := redistest.Start(t)
	log := logOf(clientOf(t, redis.UniversalOptions{Addrs: []string{server.Addr}}), "p")
	last := mustAppend(t, log, url(1))
	server.Do("CONFIG", "SET", "maxmemory", "1")
	if _, err := log.Append(t.Context(), url(2), false); err == nil {
		t.Fatal("a record was appended: the server is not full")
	}
	for range 2 { // the second time it stands there already
		if s := mustSync(t, log, invalidation.Report{ID: "a", Applied: last.Position, Lease: time.Minute}); !s.Granted {
			t.Fatalf("%+v, want a lease: what is full must not cut everybody off", s)
		}
	}
	server.Do("CONFIG", "SET", "maxmemory", "0")
	a, err := log.Append(t.Context(), url(2), true)
	if err != nil || len(a.Members) != 1 || a.Members[0].ID != "a" {
		t.Fatalf("%+v, %v, want the one who has a lease in the register", a.Members, err)
	}
}

// A subscription whose connection has been lost without a word is noticed, and
// the next one hears again.
func TestASilentSubscriptionIsGivenUp(t *testing.T) {
	server := redistest.Start(t)
	relay := redistest.StartRelay(t, server.Addr)
	log := logOf(clientOf(t, redis.UniversalOptions{Addrs: []string{relay.Addr}}), "p")
	ctx, cancel := context.WithCancel(t.Context())
	heard := make(chan invalidation.Message, 100)
	ended := make(chan error)
	listen := func() { ended <- log.Listen(ctx, "a", func(m invalidation.Message) { heard <- m }) }
	go listen()
	if m := <-heard; m.Record != nil {
		t.Errorf("first %+v", m)
	}
	relay.Silence(true)
	direct := logOf(clientOf(t, redis.UniversalOptions{Addrs: []string{server.Addr}}), "p")
	mustAppend(t, direct, url(1)) // is swallowed
	select {
	case err := <-ended:
		if err == nil {
			t.Error("no error")
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it listens to nobody for ever")
	}
	relay.Silence(false)
	heard = make(chan invalidation.Message, 100)
	go listen()
	<-heard
	mustAppend(t, direct, url(2))
	for m := range heard {
		if m.Record != nil && m.Record.Seq == 2 {
			break
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("ended with %v", err)
	}
}
