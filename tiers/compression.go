package tiers

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Compression is how a body is compressed. Its number stands in frames:
// numbers are never given a second meaning.
type Compression uint8

const (
	// Uncompressed keeps bodies as they are.
	Uncompressed Compression = iota
	// Zstd is quick both ways.
	Zstd
	// Brotli is small, at five times zstd's time.
	Brotli
	// Gzip can be read by everybody.
	Gzip

	compressions
)

var compressionNames = [compressions]string{"none", "zstd", "brotli", "gzip"}

// String returns the name in the configuration.
func (c Compression) String() string {
	if c.known() {
		return compressionNames[c]
	}
	return fmt.Sprintf("compression(%d)", uint8(c))
}

// ParseCompression returns the compression of that name.
func ParseCompression(name string) (Compression, error) {
	for c := range compressions {
		if compressionNames[c] == name {
			return c, nil
		}
	}
	return 0, fmt.Errorf("no compression is called %q", name)
}

func (c Compression) known() bool { return c < compressions }

// The coders of zstd may be used by many at once. Each is made when it is
// first needed, because a cache without a remote store needs none.
var (
	zstdWriter = sync.OnceValue(func() *zstd.Encoder {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(2), zstd.WithLowerEncoderMem(true))
		if err != nil {
			panic(err) // only for options that do not exist
		}
		return e
	})
	zstdReader = sync.OnceValue(func() *zstd.Decoder {
		d, err := zstd.NewReader(nil, zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderConcurrency(0))
		if err != nil {
			panic(err)
		}
		return d
	})
	brotliWriters = sync.Pool{New: func() any { return brotli.NewWriterLevel(nil, 4) }}
	gzipWriters   = sync.Pool{New: func() any { return gzip.NewWriter(nil) }}
)

// resetter is what the pooled writers have in common.
type resetter interface {
	io.WriteCloser
	Reset(io.Writer)
}

func (c Compression) pack(body []byte) ([]byte, error) {
	switch c {
	case Zstd:
		return zstdWriter().EncodeAll(body, make([]byte, 0, len(body)/2)), nil
	case Brotli:
		return packWith(&brotliWriters, body)
	case Gzip:
		return packWith(&gzipWriters, body)
	}
	return body, nil
}

func packWith(pool *sync.Pool, body []byte) ([]byte, error) {
	w := pool.Get().(resetter)
	defer pool.Put(w)
	b := bytes.NewBuffer(make([]byte, 0, len(body)/2))
	w.Reset(b)
	if _, err := w.Write(body); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

var errLength = errors.New("it has not the length that it should have")

// unpack returns the length bytes that b was made of. No more is allocated,
// whatever b would become.
func (c Compression) unpack(b []byte, length int) ([]byte, error) {
	switch c {
	case Zstd:
		body, err := zstdReader().DecodeAll(b, make([]byte, 0, length))
		if err == nil && len(body) != length {
			err = errLength
		}
		return body, err
	case Brotli:
		return readLength(brotli.NewReader(bytes.NewReader(b)), length)
	case Gzip:
		r, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			return nil, err
		}
		return readLength(r, length)
	}
	return b, nil
}

// readLength reads length bytes, after which r must end.
func readLength(r io.Reader, length int) ([]byte, error) {
	body := make([]byte, length)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, err
	}
	var more [1]byte
	switch n, err := io.ReadFull(r, more[:]); {
	case n > 0:
		return nil, errLength
	case !errors.Is(err, io.EOF):
		return nil, err
	}
	return body, nil
}
