package tiers

import (
	"context"
	_ "embed" // the scripts
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unsafe"

	"github.com/redis/go-redis/v9"
)

// Redis is the Backend in Redis, or what speaks its protocol: one server, a
// sentinel's master with its replicas, or a cluster.
//
// A key is a hash of frames, with an index in the field i. Beside it, in the
// same slot of a cluster, each claim of the key is a string that expires.
type Redis struct {
	client redis.UniversalClient
	prefix string
	fields int
}

// NewRedis returns the Backend in which every key and channel begins with
// prefix and a key holds at most so many fields; beyond, the oldest goes. The
// client stays the caller's.
func NewRedis(client redis.UniversalClient, prefix string, fields int) *Redis {
	return &Redis{client: client, prefix: prefix, fields: max(fields, 1)}
}

// markTTL is for how long a Delete is remembered. A fetch that takes longer is
// not stored; see Remote.Set.
const markTTL = time.Hour

const indexField = "i"

var (
	//go:embed set.lua
	setSource string
	//go:embed delete.lua
	deleteSource string
	//go:embed claim.lua
	claimSource string
	//go:embed release.lua
	releaseSource string

	setScript     = redis.NewScript(setSource)
	deleteScript  = redis.NewScript(deleteSource)
	claimScript   = redis.NewScript(claimSource)
	releaseScript = redis.NewScript(releaseSource)
)

// key is the name in Redis. The braces make a cluster put the claim beside it.
func (b *Redis) key(key string) string { return b.prefix + ":{" + key + "}" }

func (b *Redis) claim(key, name string) string { return b.key(key) + ":claim:" + name }

func (b *Redis) channel() string { return b.prefix + ":released" }

// Get implements Backend by one HMGET.
func (b *Redis) Get(ctx context.Context, key string, fields ...string) (Index, [][]byte, error) {
	values, err := b.client.HMGet(ctx, b.key(key), append([]string{indexField}, fields...)...).Result()
	if err != nil {
		return Index{}, nil, classify(err)
	}
	return split(values, len(fields))
}

// split takes the answer of HMGET apart.
func split(values []any, fields int) (Index, [][]byte, error) {
	if len(values) != fields+1 {
		return Index{}, nil, fmt.Errorf("%d values for %d fields", len(values), fields+1)
	}
	var index Index
	if raw := bytesOf(values[0]); raw != nil {
		var err error
		if index, err = parseIndex(raw); err != nil {
			return Index{}, nil, err
		}
	}
	frames := make([][]byte, fields)
	for i := range frames {
		frames[i] = bytesOf(values[i+1])
	}
	return index, frames, nil
}

// bytesOf returns the bytes of a string without a copy: a body may have
// megabytes, and nobody changes what Get returns.
func bytesOf(value any) []byte {
	s, ok := value.(string)
	if !ok || s == "" {
		return nil
	}
	return unsafe.Slice(unsafe.StringData(s), len(s))
}

// parseIndex reads what set.lua has written. An index that it did not write is
// an error that matches ErrFrame.
func parseIndex(raw []byte) (Index, error) {
	var stored struct {
		Mark   string              `json:"m"`
		Fields map[string][]string `json:"f"`
	}
	if err := json.Unmarshal(raw, &stored); err != nil {
		return Index{}, fmt.Errorf("%w: its index: %w", ErrFrame, err)
	}
	index := Index{Mark: stored.Mark}
	for _, f := range stored.Fields {
		if note := len(f) - 1; note == 4 && !slices.Contains(index.Notes, f[note]) {
			index.Notes = append(index.Notes, f[note])
		}
	}
	slices.Sort(index.Notes)
	return index, nil
}

// Set implements Backend by one script.
func (b *Redis) Set(ctx context.Context, key string, w Write) (bool, error) {
	ttl := w.TTL.Milliseconds()
	stored, err := setScript.Run(ctx, b.client, []string{b.key(key), b.claim(key, w.Claim)},
		w.Field, w.Frame, w.Note, w.Mark, w.Born.Epoch.String(), uint64(w.Born.Seq), w.Time.UnixMilli(), ttl,
		time.Now().UnixMilli()+ttl, b.fields, w.Token, b.channel(), key).Int()
	return stored == 1, classify(err)
}

// Delete implements Backend by one script.
func (b *Redis) Delete(ctx context.Context, key, mark string) error {
	return classify(deleteScript.Run(ctx, b.client, []string{b.key(key)}, mark, markTTL.Milliseconds()).Err())
}

// Claim implements Backend by one script.
func (b *Redis) Claim(ctx context.Context, key, name, token string, ttl time.Duration, fields ...string) (Claimed, error) {
	args := []any{token, ttl.Milliseconds(), indexField}
	for _, f := range fields {
		args = append(args, f)
	}
	answer, err := claimScript.Run(ctx, b.client, []string{b.key(key), b.claim(key, name)}, args...).Slice()
	if err != nil {
		return Claimed{}, classify(err)
	}
	if len(answer) != 2 {
		return Claimed{}, fmt.Errorf("an answer of %d parts to a claim", len(answer))
	}
	if answer[0] != int64(1) {
		left, _ := answer[1].(int64) // what is no number is no time
		return Claimed{Left: time.Duration(max(left, 0)) * time.Millisecond}, nil
	}
	c := Claimed{Won: true}
	values, _ := answer[1].([]any) // what is no list is too short
	c.Index, c.Frames, err = split(values, len(fields))
	return c, err
}

// Release implements Backend by one script.
func (b *Redis) Release(ctx context.Context, key, name, token string) error {
	return classify(releaseScript.Run(ctx, b.client, []string{b.claim(key, name)}, token, b.channel(), key).Err())
}

// Listen implements Backend by a subscription, which the client renews where it
// breaks.
func (b *Redis) Listen(ctx context.Context, f func(key string)) error {
	sub := b.client.Subscribe(ctx, b.channel())
	defer sub.Close()
	messages := sub.Channel()
	for {
		select {
		case <-ctx.Done():
			return nil
		case m, ok := <-messages:
			if !ok {
				return errors.New("the subscription has ended")
			}
			f(m.Payload)
		}
	}
}

// kept is the name of a value that is no frame. Braces could make it a key.
func (b *Redis) kept(name string) string { return b.prefix + ":" + name }

// Keep implements Backend.
func (b *Redis) Keep(ctx context.Context, name string, value []byte, ttl time.Duration) error {
	return classify(b.client.Set(ctx, b.kept(name), value, ttl).Err())
}

// Kept implements Backend.
func (b *Redis) Kept(ctx context.Context, name string) ([]byte, error) {
	value, err := b.client.Get(ctx, b.kept(name)).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	return value, classify(err)
}

// Ping implements Backend.
func (b *Redis) Ping(ctx context.Context) error { return classify(b.client.Ping(ctx).Err()) }

// refusals are the first words of errors with which a server that is well
// declines a command. Others, such as LOADING or CLUSTERDOWN, say that it is not.
var refusals = []string{"OOM ", "READONLY ", "MISCONF ", "NOPERM ", "WRONGTYPE ", "NOSCRIPT ", "ERR "}

// classify tells refusals from failures.
func classify(err error) error {
	var reply redis.Error
	if errors.As(err, &reply) && slices.ContainsFunc(refusals, func(word string) bool { return strings.HasPrefix(reply.Error(), word) }) {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return err
}
