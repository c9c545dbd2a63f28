package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/cache"
	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// breaks is an encoder that panics at what it is given.
type breaks struct{}

func (breaks) Reset(io.Writer)           {}
func (breaks) Write([]byte) (int, error) { panic("index out of range") }
func (breaks) Close() error              { return nil }

// A library that panics at some bytes costs that form, and nothing else.
func TestAPanicOfAnEncoder(t *testing.T) {
	pool := &codecs[rfc9111.Gzip]
	working := pool.New
	runtime.GC()
	runtime.GC() // twice: then the pool is empty
	pool.New = func() any { return breaks{} }
	defer func() { pool.New = working }()

	state := invalidation.NewState(10)
	c := cache.New(cache.Options{MaxBytes: 1 << 20, MaxVariants: 2}, state)
	policy := &rfc9111.Policy{Encode: &rfc9111.Encoding{Codings: []rfc9111.Coding{rfc9111.Gzip, rfc9111.Brotli}, Types: []string{"text/*"}}}
	now := time.Now()
	e, stored := c.Store(&cache.Parts{
		Key: rfc9111.NewKey([]byte("key")), URI: []byte("http://h/"), Policy: policy, Header: http.Header{"Content-Type": {"text/plain"}},
		Meta: rfc9111.Meta{Status: 200, RequestTime: now, ResponseTime: now, Retain: now.Add(time.Hour)}, Body: bytes.Repeat([]byte("a page "), 500),
	})
	if !stored {
		t.Fatal("not stored")
	}
	var work sync.WaitGroup
	var s encoder
	faults := 0
	s.init(c, t.Context(), &work, func(rfc9111.Coding, any) { faults++ })
	for range 3 {
		s.ask(e.Form(rfc9111.Gzip))
		s.ask(e.Form(rfc9111.Brotli))
		work.Wait()
	}
	counts := s.stats().Counts
	if counts[rfc9111.Gzip][EncodedFailed] != 1 || faults != 1 {
		t.Errorf("gzip: %v, %d faults", counts[rfc9111.Gzip], faults)
	}
	if counts[rfc9111.Brotli][Encoded] != 1 {
		t.Errorf("br: %v", counts[rfc9111.Brotli])
	}
	now = time.Now()
	o := c.Find(&cache.Query{Key: rfc9111.NewKey([]byte("key")), Fields: rfc9111.Header{}, Policy: policy, Now: now})
	if _, missing := o.Entry.Answer(&o.Forms, rfc9111.Header{"Accept-Encoding": {"gzip"}}, policy); missing != rfc9111.Identity {
		t.Error("it is tried again")
	}
}

// Encoders are used again, for bodies of any length, after errors too.
func TestEncodersAreUsedAgain(t *testing.T) {
	noise := []byte(strings.Repeat("x", 10))
	for i := range 300_000 {
		noise = append(noise, byte(i*i>>3^i>>7^i*31))
	}
	text := bytes.Repeat([]byte("all work and no play "), 20_000)
	for c := rfc9111.Brotli; c < rfc9111.CodingCount; c++ {
		var first []byte
		for round := range 4 {
			encoded, err := encode(context.Background(), c, text, len(text)/2)
			switch {
			case err != nil:
				t.Fatalf("%s: %v", c, err)
			case round == 0:
				first = encoded
			case !bytes.Equal(first, encoded):
				t.Errorf("%s: another form of the same body, with the same entity tag", c)
			}
			if _, err := encode(context.Background(), c, noise, 100); !errors.Is(err, errTooLarge) {
				t.Errorf("%s: beyond the limit: %v", c, err)
			}
			ended, cancel := context.WithCancel(context.Background())
			cancel()
			if _, err := encode(ended, c, text, len(text)); !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", c, err)
			}
			if cap(encoded) > len(encoded)+len(encoded)/4+64 {
				t.Errorf("%s: %d bytes of memory for a form of %d", c, cap(encoded), len(encoded))
			}
		}
	}
}
