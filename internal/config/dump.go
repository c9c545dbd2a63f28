package config

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"sort"
	"strings"
)

// Dump returns the configuration as it is in force, defaults included, in the form and the order of the file. Secrets are
// masked. What is absent and has no default is left out. What is dumped can be loaded.
func Dump(c *Config) json.RawMessage {
	w := dumper{format: kind.show}
	w.value(reflect.ValueOf(c).Elem(), "")
	return w.Bytes()
}

// Fingerprint returns 16 hexadecimal digits that are the same for equal configurations, in every process. Secrets count, but
// 64 bits of a hash over all of it do not give a good one away.
func Fingerprint(c *Config) string {
	w := dumper{format: kind.raw}
	w.value(reflect.ValueOf(c).Elem(), "")
	sum := sha256.Sum256(w.Bytes())
	return hex.EncodeToString(sum[:8])
}

// show is what a dump has of a scalar, raw what a fingerprint has. A dump escapes what a loader would expand.
func (k kind) show(v reflect.Value) any {
	x := k.format(v)
	if text, ok := x.(string); ok {
		return strings.ReplaceAll(text, "${", "$${")
	}
	return x
}

func (k kind) raw(v reflect.Value) any {
	switch s := v.Interface().(type) {
	case Secret:
		return string(s)
	case RedisSecret:
		return string(s)
	case RedisURL:
		return string(s)
	}
	return k.format(v)
}

// dumper writes JSON with the keys of a struct in its order.
type dumper struct {
	bytes.Buffer
	format func(kind, reflect.Value) any
}

func (w *dumper) value(v reflect.Value, tag reflect.StructTag) {
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if k, ok := kindOf(v.Type(), tag); ok {
		w.json(w.format(k, v))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		w.structure(v)
	case reflect.Slice:
		w.WriteByte('[')
		for i := range v.Len() {
			w.comma(i)
			w.value(v.Index(i), tag)
		}
		w.WriteByte(']')
	case reflect.Map:
		w.mapping(v, tag)
	}
}

func (w *dumper) structure(v reflect.Value) {
	w.WriteByte('{')
	n := 0
	for _, f := range fields(v.Type()) {
		x := v.Field(f.index)
		switch x.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			if x.IsNil() {
				continue
			}
		}
		w.comma(n)
		n++
		w.json(f.name)
		w.WriteByte(':')
		w.value(x, f.tag)
	}
	w.WriteByte('}')
}

func (w *dumper) mapping(v reflect.Value, tag reflect.StructTag) {
	keys := v.MapKeys()
	sort.Slice(keys, func(i, j int) bool { return fmt.Sprint(keys[i]) < fmt.Sprint(keys[j]) })
	w.WriteByte('{')
	for i, key := range keys {
		w.comma(i)
		w.json(fmt.Sprint(key))
		w.WriteByte(':')
		w.value(v.MapIndex(key), tag)
	}
	w.WriteByte('}')
}

func (w *dumper) comma(i int) {
	if i > 0 {
		w.WriteByte(',')
	}
}

// json writes a scalar. It cannot fail: format returns texts, finite numbers and booleans.
func (w *dumper) json(x any) {
	b, err := json.Marshal(x)
	if err != nil {
		panic("config: dump: " + err.Error())
	}
	w.Write(b)
}
