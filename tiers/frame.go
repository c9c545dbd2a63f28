package tiers

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/cacheproxy/cacheproxy/invalidation"
)

// A frame is the form in which one value is kept in a remote store. All numbers
// are big endian:
//
//	 0  magic, 4 bytes
//	 4  version, 1 byte
//	 5  flags, 1 byte: the serializer in bits 0 to 3, the compression in 4 to 7
//	 6  zero, 2 bytes
//	 8  born: epoch and sequence number, 8 bytes each
//	24  length of the metadata, 4 bytes
//	28  length of the body, before compression, 4 bytes
//	32  metadata, body
//	    checksum of all before it, 4 bytes: CRC-32C
//
// The fields that do not depend on the serializer stand in front, so that every
// version of the program can tell what it does not understand.
const (
	frameMagic   = "\xc5cpf"
	frameVersion = 1
	frameHeader  = 32
	frameSum     = 4

	frameMetaLength = 24
)

// MaxMeta bounds the metadata of a frame, in bytes. Response heads and library
// values of that size do not belong into a cache.
const MaxMeta = 1 << 20

var (
	// ErrFrame says that bytes are not a whole frame: cut off, changed on the
	// way, or never one. All such errors match it.
	ErrFrame = errors.New("not a frame")
	// ErrVersion says that a frame is of a version, a serializer or a
	// compression that this program does not know.
	ErrVersion = errors.New("a frame of an unknown version")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// frame is a frame taken apart. Its slices are those of the bytes it was read
// from.
type frame struct {
	serializer  Serializer
	compression Compression
	born        invalidation.Position
	meta, body  []byte
	length      int // of the body before compression
}

// append appends the frame to b.
func (f *frame) append(b []byte) []byte {
	start := len(b)
	b = append(b, frameMagic...)
	b = append(b, frameVersion, byte(f.serializer)|byte(f.compression)<<4, 0, 0)
	b = binary.BigEndian.AppendUint64(b, uint64(f.born.Epoch))
	b = binary.BigEndian.AppendUint64(b, uint64(f.born.Seq))
	b = binary.BigEndian.AppendUint32(b, uint32(len(f.meta)))
	b = binary.BigEndian.AppendUint32(b, uint32(f.length))
	b = append(b, f.meta...)
	b = append(b, f.body...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// size returns the length of what append appends.
func (f *frame) size() int { return frameHeader + len(f.meta) + len(f.body) + frameSum }

// parseFrame takes b apart without a copy. The error matches ErrFrame or
// ErrVersion.
func parseFrame(b []byte) (f frame, err error) {
	if len(b) < frameHeader+frameSum {
		return f, fmt.Errorf("%w: %d bytes", ErrFrame, len(b))
	}
	if string(b[:4]) != frameMagic {
		return f, fmt.Errorf("%w: it begins with %q", ErrFrame, b[:4])
	}
	end := len(b) - frameSum
	if crc32.Checksum(b[:end], castagnoli) != binary.BigEndian.Uint32(b[end:]) {
		return f, fmt.Errorf("%w: its checksum is wrong", ErrFrame)
	}
	f, meta, err := parseHead(b)
	if err != nil {
		return f, err
	}
	if meta > end-frameHeader {
		return f, fmt.Errorf("%w: metadata of %d bytes in a frame of %d", ErrFrame, meta, len(b))
	}
	f.meta, f.body = b[frameHeader:frameHeader+meta:frameHeader+meta], b[frameHeader+meta:end:end]
	if f.compression == Uncompressed && len(f.body) != f.length {
		return f, fmt.Errorf("%w: a body of %d bytes that should have %d", ErrFrame, len(f.body), f.length)
	}
	return f, nil
}

// parseHead reads what stands before the metadata, of which it returns the size.
func parseHead(b []byte) (f frame, meta int, err error) {
	switch {
	case len(b) < frameHeader:
		return f, 0, fmt.Errorf("%w: a head of %d bytes", ErrFrame, len(b))
	case string(b[:4]) != frameMagic:
		return f, 0, fmt.Errorf("%w: it begins with %q", ErrFrame, b[:4])
	}
	f.serializer, f.compression = Serializer(b[5]&15), Compression(b[5]>>4)
	if b[4] != frameVersion || b[6] != 0 || b[7] != 0 || !f.serializer.known() || !f.compression.known() {
		return f, 0, fmt.Errorf("%w: version %d, flags %#x", ErrVersion, b[4], b[5:8])
	}
	f.born.Epoch = invalidation.Epoch(binary.BigEndian.Uint64(b[8:]))
	f.born.Seq = invalidation.Seq(binary.BigEndian.Uint64(b[16:]))
	size, length := binary.BigEndian.Uint32(b[frameMetaLength:]), binary.BigEndian.Uint32(b[28:])
	if size > MaxMeta {
		return f, 0, fmt.Errorf("%w: metadata of %d bytes", ErrFrame, size)
	}
	f.length = int(length)
	return f, int(size), nil
}
