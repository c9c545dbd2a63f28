package invalidation

import (
	"context"
	_ "embed" // the scripts
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// RedisOptions say what a log in Redis is made of. All but WaitReplicas must be set.
type RedisOptions struct {
	Client     redis.UniversalClient // of its own, and not closed by the log
	Prefix     string                // of all keys and channels, behind a brace
	MaxRecords int                   // that are kept, about
	MaxAge     time.Duration         // for which records are kept
	Timeout    time.Duration         // of each operation
	// WaitReplicas is how many replicas must hold a record before it counts as
	// replicated; they are waited for as long as Timeout.
	WaitReplicas int
}

// RedisLog is the log in Redis 6.2 or newer, or what speaks its protocol: one
// server, a sentinel's master, or a cluster, where all of it lies in one slot.
//
// The records are a stream, whose ids are their sequence numbers. Beside it is a
// hash, the register. Every operation is one script, which looks at the epoch
// first.
type RedisLog struct {
	o    RedisOptions
	slot string
}

// NewRedisLog returns the log under a prefix.
func NewRedisLog(o RedisOptions) *RedisLog {
	return &RedisLog{o: o, slot: "{" + o.Prefix + ":log}"}
}

// Script is a script of Redis, which is sent once and then named by its hash.
func script(body string) *redis.Script { return redis.NewScript(headSource + body) }

var (
	//go:embed redis_head.lua
	headSource string
	//go:embed redis_append.lua
	appendSource string
	//go:embed redis_sync.lua
	syncSource string
	//go:embed redis_members.lua
	membersSource string
	//go:embed redis_forget.lua
	forgetSource string

	appendScript  = script(appendSource)
	syncScript    = script(syncSource)
	membersScript = script(membersSource)
	forgetScript  = redis.NewScript(forgetSource)
)

func (l *RedisLog) keys() []string { return []string{l.slot + ":records", l.slot + ":register"} }

// channel is where records are told.
func (l *RedisLog) channel() string { return l.slot + ":told" }

// channelOf is where one instance is told who has applied what it waits for.
func (l *RedisLog) channelOf(id string) string { return l.slot + ":told:" + id }

// word is what a new epoch is drawn from.
func word() string {
	return strconv.FormatUint(rand.Uint64(), 36) + strconv.FormatUint(rand.Uint64(), 36)
}

// Append implements Log.
func (l *RedisLog) Append(ctx context.Context, r Record, members bool) (Appended, error) {
	ctx, cancel := context.WithTimeout(ctx, l.o.Timeout)
	defer cancel()
	wanted := 0
	if members {
		wanted = 1
	}
	answer, replicas, err := l.append(ctx, word(), r.encode(), l.o.MaxRecords, l.o.MaxAge.Milliseconds(), l.channel(), wanted)
	if err != nil {
		return Appended{}, fmt.Errorf("append to the log: %w", err)
	}
	a := answerOf(answer)
	r.Position, r.At = a.position(0, 1), a.time(2)
	list := a.members(3, r.At)
	if a.err != nil {
		return Appended{}, fmt.Errorf("append to the log: %w", a.err)
	}
	return Appended{Record: r, Members: list, Replicated: replicas >= l.o.WaitReplicas}, nil
}

// append runs the script. Where replicas are waited for that must be on the
// connection that has appended.
func (l *RedisLog) append(ctx context.Context, args ...any) (answer []any, replicas int, err error) {
	if l.o.WaitReplicas == 0 {
		answer, err = appendScript.Run(ctx, l.o.Client, l.keys(), args...).Slice()
		return answer, 0, err
	}
	node, err := l.node(ctx)
	if err != nil {
		return nil, 0, err
	}
	conn := node.Conn()
	defer conn.Close() // it goes back to its pool
	if answer, err = appendScript.Run(ctx, conn, l.keys(), args...).Slice(); err != nil {
		return nil, 0, err
	}
	// The record is in the log, whatever comes of this.
	deadline, _ := ctx.Deadline()
	left := max(time.Until(deadline)*3/4, time.Millisecond) // less than what the client waits
	count, err := conn.Do(ctx, "WAIT", l.o.WaitReplicas, max(left.Milliseconds(), 1)).Int()
	if err != nil {
		count = 0
	}
	return answer, count, nil
}

// node returns the server that has the log.
func (l *RedisLog) node(ctx context.Context) (*redis.Client, error) {
	switch c := l.o.Client.(type) {
	case *redis.Client:
		return c, nil
	case *redis.ClusterClient:
		return c.MasterForKey(ctx, l.slot)
	}
	return nil, fmt.Errorf("a client of type %T cannot wait for replicas", l.o.Client)
}

// pageBytes is about how much of records Sync returns at most. A record that
// names thousands of URLs has hundreds of kilobytes.
const pageBytes = 1 << 20

// Sync implements Log.
func (l *RedisLog) Sync(ctx context.Context, r Report) (Synced, error) {
	ctx, cancel := context.WithTimeout(ctx, l.o.Timeout)
	defer cancel()
	args := []any{word(), r.ID, r.Applied.Epoch.String(), uint64(r.Applied.Seq), r.Lease.Milliseconds(), page, pageBytes}
	for _, id := range r.Tell {
		args = append(args, l.channelOf(id))
	}
	answer, err := syncScript.Run(ctx, l.o.Client, l.keys(), args...).Slice()
	if err != nil {
		return Synced{}, fmt.Errorf("synchronize with the log: %w", err)
	}
	a := answerOf(answer)
	s := Synced{Head: a.position(0, 1), Floor: Seq(a.number(2)), Granted: a.number(3) == 1}
	for _, entry := range a.list(4) {
		s.Records = append(s.Records, a.record(s.Head.Epoch, entry))
	}
	if a.err != nil {
		return Synced{}, fmt.Errorf("synchronize with the log: %w", a.err)
	}
	return s, nil
}

// Members implements Log.
func (l *RedisLog) Members(ctx context.Context) ([]Member, Position, error) {
	ctx, cancel := context.WithTimeout(ctx, l.o.Timeout)
	defer cancel()
	answer, err := membersScript.Run(ctx, l.o.Client, l.keys(), word()).Slice()
	if err != nil {
		return nil, Position{}, fmt.Errorf("read the register of the log: %w", err)
	}
	a := answerOf(answer)
	head, members := a.position(0, 1), a.members(3, a.time(2))
	return members, head, a.err
}

// Forget implements Log.
func (l *RedisLog) Forget(ctx context.Context, m Member) error {
	ctx, cancel := context.WithTimeout(ctx, l.o.Timeout)
	defer cancel()
	return forgetScript.Run(ctx, l.o.Client, l.keys()[1:], m.ID, m.report).Err()
}

// Leave implements Log.
func (l *RedisLog) Leave(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, l.o.Timeout)
	defer cancel()
	return l.o.Client.HDel(ctx, l.keys()[1], id).Err()
}

// hush is how long a subscription may say nothing until it is asked whether it is
// there, and how long the answer may take.
const hush = time.Second

// errSilent is returned where a subscription does not answer: the other side may
// have lost the connection without a word.
var errSilent = errors.New("the subscription to the log is silent")

// Listen implements Log by a subscription.
func (l *RedisLog) Listen(ctx context.Context, id string, told func(Message)) error {
	sub := l.o.Client.Subscribe(ctx, l.channel(), l.channelOf(id))
	defer sub.Close()
	defer context.AfterFunc(ctx, func() { sub.Close() })()
	for asked := false; ; {
		m, err := sub.ReceiveTimeout(ctx, hush)
		var timeout net.Error
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			asked = false
		case !errors.As(err, &timeout) || !timeout.Timeout():
			return fmt.Errorf("listen to the log: %w", err)
		case asked:
			return errSilent
		default:
			if err := sub.Ping(ctx); err != nil {
				return fmt.Errorf("listen to the log: %w", err)
			}
			asked = true
		}
		switch m := m.(type) {
		case *redis.Message:
			told(messageOf(m.Payload))
		case *redis.Subscription:
			told(Message{})
		}
	}
}

// messageOf reads a message; one that is none is empty, which has the reader
// look at the log itself.
func messageOf(text string) (m Message) {
	kind, rest, _ := strings.Cut(text, " ")
	switch kind {
	case "r":
		f := strings.SplitN(rest, " ", 4)
		if len(f) != 4 {
			return m
		}
		a := answerOf([]any{f[0], f[1], f[2]})
		r := decode([]byte(f[3]))
		r.Position, r.At = a.position(0, 1), a.time(2)
		if a.err == nil {
			m.Record = &r
		}
	case "a":
		f := strings.Split(rest, " ")
		if len(f) != 3 {
			return m
		}
		a := answerOf([]any{f[1], f[2]})
		report := &Report{ID: f[0], Applied: a.position(0, 1)}
		if a.err == nil {
			m.Report = report
		}
	}
	return m
}
