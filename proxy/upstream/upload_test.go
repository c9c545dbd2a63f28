package upstream

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
)

// closing is a body that tells whether it was closed.
type closing struct {
	io.Reader
	mu     sync.Mutex
	closed int
}

func (c *closing) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed++
	return nil
}

func uploadOf(r io.Reader, again bool) (*upload, *closing) {
	c := &closing{Reader: r}
	return newUpload(&http.Request{Body: c}, again), c
}

// Whatever attempts have read before they were given up, the last sends all of it.
func TestUploadIsSentWhole(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		content := make([]byte, rnd.IntN(2*replayable))
		for i := range content {
			content[i] = byte(rnd.Uint32())
		}
		u, c := uploadOf(iotest.HalfReader(bytes.NewReader(content)), true)
		for range rnd.IntN(3) {
			s := u.open(0, nil)
			if _, err := io.CopyN(io.Discard, s, rnd.Int64N(int64(len(content))+1)); err != nil {
				t.Fatal(err)
			}
			s.Close()
			if c.closed != 0 {
				t.Fatal("the source was closed although there may be a further attempt")
			}
			if !u.mayRepeat() {
				break
			}
		}
		if !u.mayRepeat() {
			if len(content) <= replayable {
				t.Fatalf("a body of %d bytes cannot be repeated", len(content))
			}
			continue
		}
		s := u.open(0, nil)
		u.settle()
		got, err := io.ReadAll(s)
		if err != nil || !bytes.Equal(got, content) {
			t.Fatalf("seed %d: the last attempt sent %d bytes, %v, want the %d of the body", seed, len(got), err, len(content))
		}
		s.Close()
		s.Close()
		if c.closed != 1 {
			t.Fatalf("the source was closed %d times, want once", c.closed)
		}
	}
}

// An attempt that was given up may still wait for the client. What it gets then
// is not lost.
func TestUploadOfAnAttemptThatStillReads(t *testing.T) {
	r, w := io.Pipe()
	u, _ := uploadOf(r, true)
	first := u.open(0, nil)
	var wg sync.WaitGroup
	begun := make(chan struct{})
	wg.Go(func() {
		close(begun)
		io.ReadAll(first) // it ends when it is closed
	})
	<-begun
	second := u.open(0, nil)
	var got []byte
	var err error
	wg.Go(func() { got, err = io.ReadAll(second) })
	for _, part := range []string{"one ", "two ", "three"} {
		io.WriteString(w, part)
	}
	first.Close()
	io.WriteString(w, " four")
	w.Close()
	wg.Wait()
	if err != nil || string(got) != "one two three four" {
		t.Errorf("the second attempt sent %q, %v", got, err)
	}
}

// Even where that is more than is kept.
func TestUploadOfAnAttemptThatStillReadsMuch(t *testing.T) {
	content := strings.Repeat("x", replayable+10) + "tail"
	u, _ := uploadOf(strings.NewReader(content), true)
	first := u.open(0, nil)
	second := u.open(0, nil)
	for _, n := range []int{replayable + 10, 2} {
		if _, err := io.ReadFull(first, make([]byte, n)); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := io.ReadAll(second); err != nil || string(got) != content {
		t.Errorf("the second attempt sent %d bytes, %v, want the %d of the body", len(got), err, len(content))
	}
}

func TestUploadThatCannotBeRepeated(t *testing.T) {
	broken := errors.New("the client hung up")
	u, _ := uploadOf(iotest.ErrReader(broken), true)
	io.Copy(io.Discard, u.open(0, nil)) // it fails, as it should
	if u.mayRepeat() || u.failure() != broken {
		t.Errorf("after the source has failed: may be repeated %v, failure %v", u.mayRepeat(), u.failure())
	}
	u, _ = uploadOf(strings.NewReader("content"), false)
	if !u.mayRepeat() {
		t.Error("of a body of which nothing was read everything is left")
	}
	io.CopyN(io.Discard, u.open(0, nil), 1) // a strings.Reader does not fail
	if u.mayRepeat() {
		t.Error("a body that is not kept was read and may be repeated")
	}
	u, c := uploadOf(strings.NewReader(""), true)
	u.settle()
	if c.closed != 1 {
		t.Error("a body that no attempt was made with is not closed")
	}
}
