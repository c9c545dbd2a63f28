package upstream

import (
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"
)

// stuck is a connection whose peer has closed its side and takes nothing.
type stuck struct {
	net.Conn // nil: nothing else is called
	writing  chan struct{}
	once     sync.Once
	hurried  chan struct{}
}

func (s *stuck) Read([]byte) (int, error) {
	<-s.writing
	return 0, io.EOF
}

func (s *stuck) Write([]byte) (int, error) {
	close(s.writing)
	<-s.hurried
	return 0, os.ErrDeadlineExceeded
}

func (s *stuck) SetWriteDeadline(t time.Time) error {
	if !t.After(time.Now()) {
		s.once.Do(func() { close(s.hurried) })
	}
	return nil
}

// A Read that ends makes a Write that waits end too, and is what counts: the
// time-out of the Write is not the reason.
func TestEndOfReadingEndsWriting(t *testing.T) {
	s := &stuck{writing: make(chan struct{}), hurried: make(chan struct{})}
	c := &conn{Conn: s, socket: s, idle: time.Hour}
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("Read returned %v", err)
		}
	})
	if _, err := c.Write([]byte("request")); err != os.ErrDeadlineExceeded {
		t.Errorf("Write returned %v", err)
	}
	wg.Wait()
	lost := c.lost.Load()
	if lost == nil || lost.err != io.EOF || lost.begun != 7 || lost.unread {
		t.Errorf("the loss is %+v, want EOF after 7 bytes were begun", lost)
	}
}

func TestOwnClosingIsNoLoss(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	socket, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := &conn{Conn: socket, socket: socket, idle: time.Hour}
	c.Close()
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("Read of a closed connection returned no error")
	}
	if _, err := c.Write(make([]byte, 1)); err == nil {
		t.Error("Write to a closed connection returned no error")
	}
	if lost := c.lost.Load(); lost != nil {
		t.Errorf("a connection that was closed here counts as lost: %+v", lost)
	}
}
