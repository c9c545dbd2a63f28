package tiers

import (
	"fmt"

	"github.com/cacheproxy/cacheproxy/invalidation"
)

// Codec makes frames of values and values of frames. It is immutable and safe
// for concurrent use. What it reads does not depend on what it writes: every
// codec reads the frames of all serializers and compressions.
type Codec struct {
	// Serializer is the form of the metadata. The zero value is Msgpack.
	Serializer Serializer
	// Compression is how bodies are compressed. The zero value is
	// Uncompressed.
	Compression Compression
	// MinBytes is from which size on a body is compressed.
	MinBytes int
	// MaxBytes bounds the bodies, before compression; what is larger is
	// refused, written or read. It must be positive.
	MaxBytes int
}

// gain is which part of a body compression must save to be kept. Below it the
// reader's time is worth more than the bytes.
const gain = 8

// Encode returns the frame of a value: meta, any value that the serializer
// takes, and a body. A body that is encoded already is kept as it is. The
// error says what the serializer does not take, or that the value is too large.
func (c *Codec) Encode(meta any, body []byte, encoded bool, born invalidation.Position) ([]byte, error) {
	if len(body) > c.MaxBytes {
		return nil, fmt.Errorf("a body of %d bytes, the limit is %d", len(body), c.MaxBytes)
	}
	f := frame{serializer: c.Serializer, born: born, body: body, length: len(body)}
	var err error
	if f.meta, err = c.Serializer.marshal(meta); err != nil {
		return nil, fmt.Errorf("serialize as %v: %w", c.Serializer, err)
	}
	if len(f.meta) > MaxMeta {
		return nil, fmt.Errorf("metadata of %d bytes, the limit is %d", len(f.meta), MaxMeta)
	}
	if !encoded && c.Compression != Uncompressed && len(body) > 0 && len(body) >= c.MinBytes {
		if packed, err := c.Compression.pack(body); err == nil && len(packed) <= len(body)-len(body)/gain {
			f.compression, f.body = c.Compression, packed
		}
	}
	return f.append(make([]byte, 0, f.size())), nil
}

// Decode reads a frame: the metadata into meta, a pointer to a value of the
// type that was encoded. The body may share memory with b. The error matches
// ErrFrame or ErrVersion; whatever b holds, nothing is allocated that is much
// larger than b and MaxBytes.
func (c *Codec) Decode(b []byte, meta any) (body []byte, born invalidation.Position, err error) {
	f, err := parseFrame(b)
	if err != nil {
		return nil, born, err
	}
	if f.length > c.MaxBytes {
		return nil, born, fmt.Errorf("%w: a body of %d bytes, the limit is %d", ErrFrame, f.length, c.MaxBytes)
	}
	if err := f.serializer.unmarshal(f.meta, meta); err != nil {
		return nil, born, fmt.Errorf("%w: metadata in %v: %w", ErrFrame, f.serializer, err)
	}
	if body, err = f.compression.unpack(f.body, f.length); err != nil {
		return nil, born, fmt.Errorf("%w: body in %v: %w", ErrFrame, f.compression, err)
	}
	return body, f.born, nil
}
