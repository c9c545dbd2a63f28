package tiers

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/cacheproxy/cacheproxy/invalidation"
)

// thing is metadata with one field of each sort that real ones have.
type thing struct {
	Name  string
	Raw   []byte
	N     int64
	Flag  bool
	Lines []string
}

var aThing = thing{"café", []byte{0, 255, 'x'}, -1 << 60, true, []string{"A: b", ""}}

var somewhere = invalidation.Position{Epoch: 1<<64 - 2, Seq: 7}

func everyCodec(f func(Codec)) {
	for s := range serializers {
		for c := range compressions {
			f(Codec{Serializer: s, Compression: c, MinBytes: 100, MaxBytes: 1 << 20})
		}
	}
}

// TestCodecsUnderstandEachOther reads what each codec has written with one that writes something else.
func TestCodecsUnderstandEachOther(t *testing.T) {
	noise := make([]byte, 5000)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	bodies := map[string][]byte{
		"empty": nil, "small": []byte("hello"), "text": []byte(strings.Repeat("all work and no play ", 500)), "noise": noise,
	}
	reader := Codec{Serializer: Gob, Compression: Brotli, MaxBytes: 1 << 20}
	everyCodec(func(c Codec) {
		for name, body := range bodies {
			for _, encoded := range []bool{false, true} {
				frame, err := c.Encode(aThing, body, encoded, somewhere)
				if err != nil {
					t.Fatal(err)
				}
				var got thing
				gotBody, born, err := reader.Decode(frame, &got)
				if err != nil || born != somewhere || !reflect.DeepEqual(got, aThing) || !bytes.Equal(gotBody, body) {
					t.Errorf("%v, %v, %s: got %+v, %d bytes of body, born %v, %v", c.Serializer, c.Compression, name, got, len(gotBody), born, err)
				}
				packed := parsed(t, frame).compression != Uncompressed
				if want := name == "text" && !encoded && c.Compression != Uncompressed; packed != want {
					t.Errorf("%v, %s, encoded %v: compressed %v, want %v", c.Compression, name, encoded, packed, want)
				}
			}
		}
	})
}

func parsed(t *testing.T, b []byte) frame {
	t.Helper()
	f, err := parseFrame(b)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestGoldenFrames holds frames that an earlier build has written: what is in Redis when the program is replaced must be read.
func TestGoldenFrames(t *testing.T) {
	body := strings.Repeat("all work and no play ", 10)
	everyCodec(func(c Codec) {
		file := filepath.Join("testdata", "frames", fmt.Sprintf("%v-%v", c.Serializer, c.Compression))
		if os.Getenv("UPDATE_FRAMES") != "" {
			frame, err := c.Encode(aThing, []byte(body), false, somewhere)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, frame, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		frame, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var got thing
		gotBody, born, err := c.Decode(frame, &got)
		if err != nil || born != somewhere || !reflect.DeepEqual(got, aThing) || string(gotBody) != body {
			t.Errorf("%s: %+v, %q, born %v, %v", file, got, gotBody, born, err)
		}
	})
}

// TestDamagedFramesAreRefused cuts a frame off at every byte and turns over every bit of it.
func TestDamagedFramesAreRefused(t *testing.T) {
	everyCodec(func(c Codec) {
		frame, err := c.Encode(aThing, []byte(strings.Repeat("play ", 40)), false, somewhere)
		if err != nil {
			t.Fatal(err)
		}
		refused := func(what string, b []byte) {
			var got thing
			if _, _, err := c.Decode(b, &got); !errors.Is(err, ErrFrame) && !errors.Is(err, ErrVersion) {
				t.Errorf("%v, %v: %s: %v", c.Serializer, c.Compression, what, err)
			}
		}
		for n := range frame {
			refused(fmt.Sprintf("cut to %d bytes", n), frame[:n])
		}
		for bit := range 8 * len(frame) {
			b := bytes.Clone(frame)
			b[bit/8] ^= 1 << (bit % 8)
			refused(fmt.Sprintf("bit %d turned over", bit), b)
		}
		refused("a byte more", append(bytes.Clone(frame), 0))
	})
}

// TestLyingFramesAreRefused changes a frame and makes the checksum right again, as an attacker with access to Redis can.
func TestLyingFramesAreRefused(t *testing.T) {
	c := Codec{Compression: Zstd, MinBytes: 1, MaxBytes: 1 << 20}
	valid, err := c.Encode(aThing, []byte(strings.Repeat("play ", 400)), false, somewhere)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		change func(b []byte)
		want   error
	}{
		{"another magic", func(b []byte) { b[0] = 'x' }, ErrFrame},
		{"a later version", func(b []byte) { b[4] = 2 }, ErrVersion},
		{"a serializer of the future", func(b []byte) { b[5] |= 15 }, ErrVersion},
		{"a compression of the future", func(b []byte) { b[5] |= 15 << 4 }, ErrVersion},
		{"a flag of the future", func(b []byte) { b[7] = 1 }, ErrVersion},
		{"metadata beyond the end", func(b []byte) { binary.BigEndian.PutUint32(b[24:], uint32(len(b))) }, ErrFrame},
		{"metadata of four gigabytes", func(b []byte) { binary.BigEndian.PutUint32(b[24:], 1<<32-1) }, ErrFrame},
		{"metadata that goes on in the body", func(b []byte) { b[27]++ }, ErrFrame},
		{"a body of four gigabytes", func(b []byte) { binary.BigEndian.PutUint32(b[28:], 1<<32-1) }, ErrFrame},
		{"a body that is longer than announced", func(b []byte) { b[31]-- }, ErrFrame},
		{"a body that is shorter than announced", func(b []byte) { b[31]++ }, ErrFrame},
		{"another serializer", func(b []byte) { b[5] = b[5]&^15 | byte(Gob) }, ErrFrame},
		{"another compression", func(b []byte) { b[5] = b[5]&15 | byte(Gzip)<<4 }, ErrFrame},
		{"no compression", func(b []byte) { b[5] &= 15 }, ErrFrame},
	} {
		b := bytes.Clone(valid)
		tt.change(b)
		binary.BigEndian.PutUint32(b[len(b)-4:], crc32.Checksum(b[:len(b)-4], castagnoli))
		var got thing
		if _, _, err := c.Decode(b, &got); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}

// TestBombsDoNotGoOff: a small frame whose body becomes 16 MiB takes no more memory than the limit.
func TestBombsDoNotGoOff(t *testing.T) {
	bomb := make([]byte, 16<<20)
	for _, compression := range []Compression{Zstd, Brotli, Gzip} {
		packed, err := compression.pack(bomb)
		if err != nil {
			t.Fatal(err)
		}
		f := frame{compression: compression, body: packed, length: 1000}
		if f.meta, err = Msgpack.marshal(aThing); err != nil {
			t.Fatal(err)
		}
		b := f.append(nil)
		c := Codec{MaxBytes: 1 << 20}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		var got thing
		if _, _, err := c.Decode(b, &got); !errors.Is(err, ErrFrame) {
			t.Errorf("%v: %v", compression, err)
		}
		runtime.ReadMemStats(&after)
		allocated := after.TotalAlloc - before.TotalAlloc
		if allocated > 8<<20 {
			t.Errorf("%v: %d bytes allocated for a frame of %d", compression, allocated, len(b))
		}
	}
}

func TestEncodeRefusesWhatIsTooLarge(t *testing.T) {
	c := Codec{MaxBytes: 10}
	if _, err := c.Encode(aThing, make([]byte, 11), false, somewhere); err == nil {
		t.Error("a body over the limit was encoded")
	}
	if _, err := c.Encode(make([]byte, MaxMeta+1), nil, false, somewhere); err == nil {
		t.Error("metadata over the limit was encoded")
	}
}

// FuzzDecode: whatever comes, the answer is an error or a value that can be encoded and decoded again.
func FuzzDecode(f *testing.F) {
	everyCodec(func(c Codec) {
		b, err := c.Encode(aThing, []byte(strings.Repeat("play ", 40)), false, somewhere)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b[:len(b)-4])
	})
	f.Fuzz(func(t *testing.T, b []byte) {
		// With its checksum, or the fuzzer would not get past it.
		b = binary.BigEndian.AppendUint32(b[:len(b):len(b)], crc32.Checksum(b, castagnoli))
		c := Codec{MaxBytes: 1 << 20}
		var got, again thing
		body, born, err := c.Decode(b, &got)
		if err != nil {
			if !errors.Is(err, ErrFrame) && !errors.Is(err, ErrVersion) {
				t.Fatalf("the error %v is of no known kind", err)
			}
			return
		}
		frame, err := c.Encode(got, body, false, born)
		if err != nil {
			t.Fatal(err)
		}
		second, reborn, err := c.Decode(frame, &again)
		if err != nil || reborn != born || !bytes.Equal(second, body) || !reflect.DeepEqual(normal(got), normal(again)) {
			t.Fatalf("%+v became %+v, %v", got, again, err)
		}
	})
}

// normal makes no difference between an absent list and an empty one, which the serializers do not tell apart.
func normal(v thing) thing {
	if len(v.Raw) == 0 {
		v.Raw = nil
	}
	if len(v.Lines) == 0 {
		v.Lines = nil
	}
	return v
}
