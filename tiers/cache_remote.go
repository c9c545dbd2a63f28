package tiers

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/cacheproxy/cacheproxy/invalidation"
)

// valueField is the only frame of a key.
const valueField = "v"

// maxLifetime bounds what a frame may say of its lifetime, so that a foreign
// one cannot reach past what times can express.
const maxLifetime = 100 * 365 * 24 * time.Hour

// valueMeta is the metadata of a frame that holds a value. The body is the value,
// serialized. Times are in milliseconds.
type valueMeta struct {
	Key      string     `json:"key" msgpack:"k"`
	Form     Serializer `json:"form" msgpack:"f"` // of the body
	Stored   int64      `json:"stored" msgpack:"s"`
	Lifetime int64      `json:"lifetime" msgpack:"l"`
	Tags     []string   `json:"tags,omitempty" msgpack:"t"`
	On       []string   `json:"on,omitempty" msgpack:"o"` // what it depends on; see writeDependency
}

// reading is what a read of Redis has found.
type reading[V any] struct {
	item  *item[V] // nil: none that can be used
	mark  string
	known bool // Redis has answered
}

// read asks Redis for a key. Where it does not answer in time, nothing is known.
func (c *Cache[V]) read(ctx context.Context, key string) reading[V] {
	if c.remote == nil {
		return reading[V]{}
	}
	r, err := c.remote.Get(ctx, remoteName(key), []string{valueField}, func(f *Found) reading[V] { return c.open(f, key) })
	if err != nil {
		return reading[V]{}
	}
	return r
}

// open makes an item of the frame of key.
func (c *Cache[V]) open(f *Found, key string) reading[V] {
	r := reading[V]{mark: f.Mark, known: true}
	var m valueMeta
	body, born, ok := f.Decode(0, &m)
	if !ok {
		return r
	}
	lifetime := time.Duration(m.Lifetime) * time.Millisecond
	if m.Key != key || !m.Form.known() || m.Lifetime <= 0 || m.Lifetime > maxLifetime.Milliseconds() {
		f.corrupt++
		return r
	}
	on, err := readDependencies(m.On)
	if err != nil {
		f.corrupt++
		return r
	}
	var v V
	if err := unmarshalValue(m.Form, body, &v); err != nil {
		f.corrupt++
		return r
	}
	// A clock that goes ahead of ours must not lengthen a life.
	stored := time.UnixMilli(min(m.Stored, time.Now().UnixMilli()))
	r.item = &item[V]{value: v, tags: m.Tags, on: on, stored: stored, expires: stored.Add(lifetime)}
	r.item.label = c.label(key, invalidation.Birth{Position: born}, m.Tags, on)
	r.item.cost = c.cost(key, r.item, len(body))
	return r
}

// send queues an item, which has been stored in memory, for Redis. body is its
// serialized form.
func (c *Cache[V]) send(key string, it *item[V], body []byte, mark string) {
	meta := &valueMeta{
		Key: key, Form: c.codec.Serializer, Stored: it.stored.UnixMilli(), Lifetime: it.expires.Sub(it.stored).Milliseconds(), Tags: it.tags,
	}
	for _, s := range it.on {
		meta.On = append(meta.On, writeDependency(s))
	}
	c.remote.Set(&Store{
		Key: remoteName(key), Field: valueField, Mark: mark, Born: c.born(it), Time: it.stored,
		TTL: time.Until(it.expires), Size: int64(len(body)),
		Seal: func() (any, []byte, bool) { return meta, body, false },
	})
}

// maxReadable is up to which length a key stands in Redis as it is.
const maxReadable = 200

// remoteName is the name of a key in Redis: the key itself, where that can be
// told apart from the braces round it and read by people, else its hash. No key
// that stays as it is looks like a hash, because "%" is not left as it is.
func remoteName(key string) string {
	if len(key) > 0 && len(key) <= maxReadable && !strings.ContainsFunc(key, unreadable) {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return "%" + hex.EncodeToString(sum[:])
}

func unreadable(r rune) bool {
	return r <= ' ' || r == '{' || r == '}' || r == '%' || r >= 0x7f
}

// isPrefix reports whether p may begin the names in Redis: with a brace it would
// choose the slot of a cluster.
func isPrefix(p string) bool { return p != "" && !strings.ContainsAny(p, "{} \t\r\n") }

// gobValue holds a value for gob, which knows no nil at the top.
type gobValue[V any] struct{ V V }

// marshalValue serializes a value of a Cache. A method of the value's that
// panics is an error like others.
func marshalValue[V any](s Serializer, v V) (b []byte, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("serialize as %v: panicked: %v", s, fault)
		}
	}()
	var form any = v
	if s == Gob {
		form = gobValue[V]{v}
	}
	if b, err = s.marshal(form); err != nil {
		return nil, fmt.Errorf("serialize as %v: %w", s, err)
	}
	return b, nil
}

// unmarshalValue reads what marshalValue has written.
func unmarshalValue[V any](s Serializer, b []byte, v *V) error {
	if s != Gob {
		return s.unmarshal(b, v)
	}
	var form gobValue[V]
	err := s.unmarshal(b, &form)
	*v = form.V
	return err
}
