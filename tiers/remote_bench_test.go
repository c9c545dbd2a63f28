package tiers_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/test/redistest"
	"github.com/cacheproxy/cacheproxy/tiers"
)

// head is metadata like that of a stored response.
type head struct {
	Key, URI []byte
	Rule     uint64
	Times    []int64
	Lines    []line
}

type line struct{ Name, Value []byte }

func aHead() head {
	h := head{Key: []byte(strings.Repeat("k", 60)), URI: []byte("http://shop.example.com/products/1"), Rule: 1 << 60, Times: make([]int64, 8)}
	for i := range 9 {
		h.Lines = append(h.Lines, line{[]byte(fmt.Sprint("Field-Name-", i)), []byte(strings.Repeat("value ", 5))})
	}
	return h
}

// page is a body that compresses as HTML does, to about a fifth.
func page(size int) []byte {
	words := strings.Fields("<div class=product> <a href=/products/ </a> </div> price name shop red green blue <li> </li> <span>")
	r := rand.New(rand.NewPCG(1, 2))
	var b bytes.Buffer
	for b.Len() < size {
		fmt.Fprintf(&b, "%s %d ", words[r.IntN(len(words))], r.IntN(1000))
	}
	return b.Bytes()[:size]
}

var benchCodecs = func() (all []tiers.Codec) {
	for _, s := range []tiers.Serializer{tiers.Msgpack, tiers.JSON, tiers.Gob} {
		all = append(all, tiers.Codec{Serializer: s, MinBytes: 1 << 10, MaxBytes: 4 << 20})
	}
	for _, c := range []tiers.Compression{tiers.Zstd, tiers.Brotli, tiers.Gzip} {
		all = append(all, tiers.Codec{Compression: c, MinBytes: 1 << 10, MaxBytes: 4 << 20})
	}
	return all
}()

// What does it cost to make a frame of a response, and how large is it?
func BenchmarkEncode(b *testing.B) {
	for _, size := range []int{1 << 10, 32 << 10, 1 << 20} {
		body := page(size)
		for _, c := range benchCodecs {
			b.Run(fmt.Sprintf("%dKiB/%v/%v", size>>10, c.Serializer, c.Compression), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(size))
				length := 0
				for b.Loop() {
					frame, err := c.Encode(aHead(), body, false, invalidation.Position{})
					if err != nil {
						b.Fatal(err)
					}
					length = len(frame)
				}
				b.ReportMetric(float64(length), "frame-bytes")
			})
		}
	}
}

// What does it cost to read it again?
func BenchmarkDecode(b *testing.B) {
	for _, size := range []int{1 << 10, 32 << 10, 1 << 20} {
		body := page(size)
		for _, c := range benchCodecs {
			frame, err := c.Encode(aHead(), body, false, invalidation.Position{})
			if err != nil {
				b.Fatal(err)
			}
			b.Run(fmt.Sprintf("%dKiB/%v/%v", size>>10, c.Serializer, c.Compression), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(size))
				for b.Loop() {
					var h head
					if _, _, err := c.Decode(frame, &h); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// How long does a read from a real Redis take, and how many are there in a second, with so many readers at once?
func BenchmarkRemoteGet(b *testing.B) {
	server := redistest.Start(b)
	for _, size := range []int{1 << 10, 32 << 10} {
		for _, readers := range []int{1, 8, 64} {
			b.Run(fmt.Sprintf("%dKiB/readers=%d", size>>10, readers), func(b *testing.B) {
				r := tiers.NewRemote[int](tiers.RemoteOptions{
					Backend: tiers.NewRedis(clientOf(b, redis.UniversalOptions{Addrs: []string{server.Addr}, PoolSize: 64}), "p", 8),
					Codec:   tiers.Codec{Compression: tiers.Zstd, MinBytes: 1 << 10, MaxBytes: 4 << 20},
					Timeout: 5 * time.Second, Failures: 5, OpenFor: time.Second,
				})
				ctx, cancel := context.WithCancel(b.Context())
				var running sync.WaitGroup
				running.Go(func() { _ = r.Run(ctx) })
				defer running.Wait()
				defer cancel()
				const keys = 1000
				body := page(size)
				for k := range keys {
					r.Set(&tiers.Store{Key: fmt.Sprint(k), Field: "v", Time: time.Now(), TTL: time.Hour, Size: int64(size), Seal: func() (any, []byte, bool) { return aHead(), body, false }})
				}
				if err := r.Flush(ctx); err != nil {
					b.Fatal(err)
				}
				b.ReportAllocs()
				b.ResetTimer()
				var all sync.WaitGroup
				for reader := range readers {
					all.Go(func() {
						for n := reader; n < b.N; n += readers {
							got, err := r.Get(ctx, fmt.Sprint(n%keys), []string{"v"}, func(f *tiers.Found) int {
								var h head
								body, _, _ := f.Decode(0, &h)
								return len(body)
							})
							if got != size || err != nil {
								b.Errorf("%d bytes, %v", got, err)
								return
							}
						}
					})
				}
				all.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "reads/s")
			})
		}
	}
}
