package tiers

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/vmihailenco/msgpack/v5"
)

// TestNestedValuesAreRefused: a stack that overflows cannot be recovered from, so what would make it must not reach the decoder.
func TestNestedValuesAreRefused(t *testing.T) {
	for name, list := range map[string]string{"lists": "\x91", "long lists": "\xdd\x00\x00\x00\x01", "maps": "\x81\xa1k", "lists of more": "\x92\xc0"} {
		t.Run(name, func(t *testing.T) {
			var v any
			deep := append(bytes.Repeat([]byte(list), 4<<20), 0xc0)
			if err := unmarshalValue(Msgpack, deep, &v); err == nil {
				t.Error("it was decoded")
			}
		})
	}
	var v any
	limit := append(bytes.Repeat([]byte{0x91}, maxNesting), append([]byte{0xc5, 0xff, 0xff}, make([]byte, 1<<16-1)...)...)
	if err := unmarshalValue(Msgpack, limit, &v); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	// A sibling lies no deeper, however many there are.
	wide, err := msgpack.Marshal(make([][]int, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	var lists [][]int
	if err := unmarshalValue(Msgpack, wide, &lists); err != nil || len(lists) != 1<<20 {
		t.Errorf("a long list of lists: %d, %v", len(lists), err)
	}
}

// TestHeadsOfMsgpack: the heads of what the encoder makes lead to its end.
func TestHeadsOfMsgpack(t *testing.T) {
	long := strings.Repeat("x", 70_000)
	for _, v := range []any{
		nil, true, 1, -1, 127, -32, 200, -200, 60_000, -60_000, 1 << 20, -1 << 20, 1 << 40, -1 << 40, uint64(math.MaxUint64), float32(1), 1.5,
		"", "short", long[:40], long[:300], long, []byte(nil), []byte(long[:40]), []byte(long[:300]), []byte(long),
		[]int{1, 2}, make([]int, 300), make([]int, 70_000), map[string]int{"a": 1}, manyKeys(20), manyKeys(70_000),
		time.Unix(1, 0), time.Unix(1, 1), time.Unix(1<<40, 1), struct{ A, B string }{"a", "b"},
	} {
		b, err := msgpack.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		values, rest := uint64(1), b
		for values > 0 && len(rest) > 0 {
			elements, size := msgpackHead(rest)
			values, rest = values-1+elements, rest[min(size, uint64(len(rest))):]
		}
		if values != 0 || len(rest) != 0 {
			t.Errorf("%T of %d bytes: %d values are missing, or %d bytes are left", v, len(b), values, len(rest))
		}
	}
}

func manyKeys(n int) map[int]int {
	m := map[int]int{}
	for i := range n {
		m[i] = i
	}
	return m
}
