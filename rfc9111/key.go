package rfc9111

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
)

// Key is a cache key (2). Stores look up Hash and compare Text, so that two texts with one hash are a miss and never a wrong answer.
type Key struct {
	Hash [16]byte // SHA-256 of Text, truncated
	Text []byte   // a sequence of parts made by AppendPart; must not be changed
}

// AppendPart appends one part to a key's text: its length as an unsigned varint, then its bytes. The length makes sure that no two
// sequences of parts have the same bytes.
func AppendPart(buf []byte, part string) []byte {
	buf = binary.AppendUvarint(buf, uint64(len(part)))
	return append(buf, part...)
}

// CutPart returns the first part of a key's text, and what follows it. A text that AppendPart did not make gives what it has.
func CutPart(text []byte) (part, rest []byte) {
	length, n := binary.Uvarint(text)
	if n <= 0 || length > uint64(len(text)-n) {
		return text, nil
	}
	return text[n : n+int(length)], text[n+int(length):]
}

// NewKey hashes text and keeps it, without a copy and without allocation.
func NewKey(text []byte) Key {
	sum := sha256.Sum256(text)
	return Key{Hash: [16]byte(sum[:16]), Text: text}
}

// String returns the hash in hexadecimal.
func (k Key) String() string { return hex.EncodeToString(k.Hash[:]) }

// ParseKeyHash reads what String returns, in either case.
func ParseKeyHash(text string) (hash [16]byte, ok bool) {
	if len(text) != hex.EncodedLen(len(hash)) {
		return hash, false
	}
	_, err := hex.Decode(hash[:], []byte(text))
	return hash, err == nil
}
