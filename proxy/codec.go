package proxy

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// The levels are where, on the bodies of docs/encoding.md, more CPU buys little: a form is made once and sent often, but it is made
// on the machine that serves.
const (
	brotliQuality = 5
	zstdLevel     = zstd.SpeedBetterCompression
	gzipLevel     = 6
)

// The windows bound what an encoder holds besides the body and its encoded form.
const (
	brotliWindow = 20 // bits: 1 MiB
	zstdWindow   = 1 << 20
)

var errTooLarge = errors.New("the encoded form is not small enough")

// codec is a compressing writer that can be used again.
type codec interface {
	io.WriteCloser
	Reset(io.Writer)
}

// codecs keeps the encoders that are not in use: each has tables that are larger than most bodies. The collector may take them.
var codecs = [rfc9111.CodingCount]sync.Pool{
	rfc9111.Brotli: {New: func() any { return newBrotli(brotliQuality) }},
	rfc9111.Zstd:   {New: func() any { return newZstd(zstdLevel) }},
	rfc9111.Gzip:   {New: func() any { return newGzip(gzipLevel) }},
}

func newBrotli(quality int) codec {
	return brotli.NewWriterOptions(nil, brotli.WriterOptions{Quality: quality, LGWin: brotliWindow})
}

// newZstd returns an encoder that starts no goroutines. Its window is less than the 8 MiB that every client must have (RFC 9659).
func newZstd(level zstd.EncoderLevel) codec {
	w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(level), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(zstdWindow),
		zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false))
	if err != nil {
		panic("proxy: zstd options: " + err.Error()) // they are constants
	}
	return w
}

func newGzip(level int) codec {
	w, err := gzip.NewWriterLevel(nil, level)
	if err != nil {
		panic("proxy: gzip level: " + err.Error()) // it is a constant
	}
	return w
}

// encode returns body in the coding, in memory of just that size. It gives up with errTooLarge as soon as that is more than limit
// bytes, and when ctx ends.
func encode(ctx context.Context, c rfc9111.Coding, body []byte, limit int) ([]byte, error) {
	w := codecs[c].Get().(codec)
	encoded, err := encodeBy(ctx, w, body, limit)
	codecs[c].Put(w) // not where it has panicked
	return encoded, err
}

func encodeBy(ctx context.Context, w codec, body []byte, limit int) ([]byte, error) {
	out := &bounded{limit: limit}
	w.Reset(out)
	defer func() { out.b = nil }() // w keeps out until it is used again
	for len(body) > 0 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		piece := body[:min(len(body), encodePiece)]
		if _, err := w.Write(piece); err != nil {
			return nil, err
		}
		body = body[len(piece):]
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return append(make([]byte, 0, len(out.b)), out.b...), nil
}

// bounded collects what is written to it, up to a limit.
type bounded struct {
	b     []byte
	limit int
}

func (w *bounded) Write(p []byte) (int, error) {
	if len(w.b)+len(p) > w.limit {
		return 0, errTooLarge
	}
	w.b = append(w.b, p...)
	return len(p), nil
}
