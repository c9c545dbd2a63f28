package tiers

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/vmihailenco/msgpack/v5"
)

// Serializer is a form of metadata. Its number stands in frames: numbers are
// never given a second meaning.
type Serializer uint8

const (
	// Msgpack is small and quick.
	Msgpack Serializer = iota
	// JSON can be read in redis-cli.
	JSON
	// Gob is Go's own. It carries its types along, so that it is larger.
	Gob

	serializers
)

var serializerNames = [serializers]string{"msgpack", "json", "gob"}

// String returns the name in the configuration.
func (s Serializer) String() string {
	if s.known() {
		return serializerNames[s]
	}
	return fmt.Sprintf("serializer(%d)", uint8(s))
}

// ParseSerializer returns the serializer of that name.
func ParseSerializer(name string) (Serializer, error) {
	for s := range serializers {
		if serializerNames[s] == name {
			return s, nil
		}
	}
	return 0, fmt.Errorf("no serializer is called %q", name)
}

func (s Serializer) known() bool { return s < serializers }

func (s Serializer) marshal(v any) ([]byte, error) {
	switch s {
	case JSON:
		return json.Marshal(v)
	case Gob:
		var b bytes.Buffer
		err := gob.NewEncoder(&b).Encode(v)
		return b.Bytes(), err
	default:
		return msgpack.Marshal(v)
	}
}

var (
	errTrailing = errors.New("something follows the value")
	errNested   = errors.New("too many values lie in each other")
)

// unmarshal reads b, all of it, into what v points to. A decoder of a foreign
// package that panics is an error like others.
func (s Serializer) unmarshal(b []byte, v any) (err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("the decoder panicked: %v", fault)
		}
	}()
	r := bytes.NewReader(b)
	switch s {
	case JSON:
		return json.Unmarshal(b, v)
	case Gob:
		err = gob.NewDecoder(r).Decode(v)
	default:
		if !isShallow(b) {
			return errNested
		}
		err = msgpack.NewDecoder(r).Decode(v)
	}
	if err == nil && r.Len() > 0 {
		return errTrailing
	}
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
