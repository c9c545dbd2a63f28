package upstream

import (
	"io"
	"sync"
	"time"
)

// body is the body of a response. It bounds each wait for the next bytes, turns
// what goes wrong into an *Error, and gives the request's place back at its end.
type body struct {
	io.ReadCloser
	idle  time.Duration
	timer *time.Timer // cancels the request; runs during a Read only, for a client may be as slow as it likes
	fail  func(error) error
	end   func()
	err   error // of the last Read, repeated by the next
}

func newBody(rc io.ReadCloser, idle time.Duration, cancel func(error), fail func(error) error, release func()) *body {
	b := &body{ReadCloser: rc, idle: idle, fail: fail}
	b.timer = time.AfterFunc(idle, func() { cancel(errSilent) })
	b.timer.Stop()
	b.end = sync.OnceFunc(func() {
		cancel(nil)
		release()
	})
	return b
}

// Read reads the next bytes of the body. Its error is io.EOF at the end of a
// complete body only.
func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	b.timer.Reset(b.idle)
	n, err := b.ReadCloser.Read(p)
	b.timer.Stop()
	if err == nil {
		return n, nil
	}
	if err != io.EOF {
		err = b.fail(err)
	}
	b.err = err
	b.end()
	return n, err
}

// Close ends the request. It may be called while another goroutine reads.
func (b *body) Close() error {
	err := b.ReadCloser.Close()
	b.end()
	return err
}

// tunnel is the connection after a switch of protocols (RFC 9110, section
// 15.2.2). It has no idle time-out: what runs in it has rules of its own.
type tunnel struct {
	io.ReadWriteCloser
	end func()
}

func (t *tunnel) Close() error {
	err := t.ReadWriteCloser.Close()
	t.end()
	return err
}

// CloseWrite ends one direction, where the connection can.
func (t *tunnel) CloseWrite() error {
	if half, ok := t.ReadWriteCloser.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return t.Close()
}
