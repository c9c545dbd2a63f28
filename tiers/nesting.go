package tiers

import "encoding/binary"

const (
	// maxNesting is how many values may lie in each other, as in encoding/json. The decoder of msgpack calls itself for each, and has
	// no limit of its own: some megabytes of opened lists take a gigabyte of stack, and that ends the process.
	maxNesting = 10_000
	// harmless is up to which size nothing can be nested so deeply that it hurts. It is not looked at.
	harmless = 64 << 10
)

// isShallow reports whether no more than maxNesting values of msgpack lie in each other in b. It does not care whether b makes sense:
// the decoder does.
func isShallow(b []byte) bool {
	if len(b) <= harmless {
		return true
	}
	var left []uint64 // values to come, of each list and map that is open
	for len(b) > 0 {
		elements, size := msgpackHead(b)
		if size > uint64(len(b)) {
			return true
		}
		b = b[size:]
		for len(left) > 0 && left[len(left)-1] == 0 {
			left = left[:len(left)-1]
		}
		if len(left) > 0 {
			left[len(left)-1]--
		}
		if elements > 0 {
			if left = append(left, elements); len(left) > maxNesting {
				return false
			}
		}
	}
	return true
}

// msgpackHead returns how many values lie in the first one of b, and how many bytes it has without them. Where b is cut off, size is
// more than it has.
func msgpackHead(b []byte) (elements, size uint64) {
	switch c := b[0]; {
	case c <= 0x7f, c >= 0xe0: // small numbers
		return 0, 1
	case c <= 0x8f: // small maps
		return 2 * uint64(c&15), 1
	case c <= 0x9f: // small lists
		return uint64(c & 15), 1
	case c <= 0xbf: // small texts
		return 0, 1 + uint64(c&31)
	case c <= 0xc3: // nil, false and true
		return 0, 1
	case c <= 0xc6: // octets
		return 0, 1<<(c-0xc4) + 1 + number(b, 1<<(c-0xc4))
	case c <= 0xc9: // extensions, with one byte for their type
		return 0, 1<<(c-0xc7) + 2 + number(b, 1<<(c-0xc7))
	case c <= 0xcb: // floats
		return 0, 1 + 4<<(c-0xca)
	case c <= 0xd3: // numbers
		return 0, 1 + 1<<(c&3)
	case c <= 0xd8: // extensions of a fixed length
		return 0, 2 + 1<<(c-0xd4)
	case c <= 0xdb: // texts
		return 0, 1<<(c-0xd9) + 1 + number(b, 1<<(c-0xd9))
	case c <= 0xdd: // lists
		return number(b, 2<<(c-0xdc)), 1 + 2<<(c-0xdc)
	default: // maps
		return 2 * number(b, 2<<(c-0xde)), 1 + 2<<(c-0xde)
	}
}

// number returns the number of so many bytes that stands behind the first byte of b; 0 where it is cut off.
func number(b []byte, bytes int) uint64 {
	if len(b) <= bytes {
		return 0
	}
	var whole [8]byte
	copy(whole[8-bytes:], b[1:])
	return binary.BigEndian.Uint64(whole[:])
}
