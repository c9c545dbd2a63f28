package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/cacheproxy/cacheproxy/proxy"
)

// echo is a gRPC service that answers each message as it comes, and ends with an error where it is told "fail".
var echo = grpc.ServiceDesc{
	ServiceName: "test.Echo",
	HandlerType: (*any)(nil),
	Streams: []grpc.StreamDesc{{StreamName: "Talk", ServerStreams: true, ClientStreams: true, Handler: func(_ any, s grpc.ServerStream) error {
		s.SetTrailer(metadata.Pairs("x-trailer", "from the service"))
		for {
			var m wrapperspb.StringValue
			if err := s.RecvMsg(&m); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
			if m.Value == "fail" {
				return status.Error(codes.FailedPrecondition, "told to")
			}
			if err := s.SendMsg(wrapperspb.String("echo " + m.Value)); err != nil {
				return err
			}
		}
	}}},
}

// toward is a transport of HTTP/2 without TLS to one address.
type toward struct {
	*http.Transport
	address string
}

func (t toward) RoundTrip(r *http.Request) (*http.Response, error) {
	r.URL.Scheme, r.URL.Host = "http", t.address
	return t.Transport.RoundTrip(r)
}

// gRPC needs messages to flow both ways at once, and the trailers that tell how a call ended, with messages before them or without.
func TestGRPC(t *testing.T) {
	service := grpc.NewServer()
	service.RegisterService(&echo, nil)
	l := bufconn.Listen(1 << 16)
	go service.Serve(l)
	t.Cleanup(service.Stop)
	h2c := new(http.Protocols)
	h2c.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: h2c, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return l.DialContext(ctx) }}
	t.Cleanup(transport.CloseIdleConnections)
	p, _ := inProcess(t, nil, proxy.Forward(toward{transport, "service"}, slog.New(slog.DiscardHandler)).ServeHTTP)
	front := httptest.NewUnstartedServer(p)
	front.Config.Protocols = h2c
	front.Start()
	t.Cleanup(front.Close)

	conn, err := grpc.NewClient(front.Listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	talk := func(method string) grpc.ClientStream {
		s, err := conn.NewStream(ctx, &echo.Streams[0], method)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	receive := func(s grpc.ClientStream) (string, error) {
		var m wrapperspb.StringValue
		err := s.RecvMsg(&m)
		return m.Value, err
	}

	s := talk("/test.Echo/Talk")
	for i := range 3 { // each answer comes before the next question is asked
		if err := s.SendMsg(wrapperspb.String(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
		if got, err := receive(s); got != fmt.Sprint("echo ", i) {
			t.Fatalf("message %d: %q, %v", i, got, err)
		}
	}
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := receive(s); !errors.Is(err, io.EOF) {
		t.Errorf("the end: %v", err)
	}
	if got := s.Trailer().Get("x-trailer"); len(got) != 1 || got[0] != "from the service" {
		t.Errorf("trailer: %q", got)
	}

	s = talk("/test.Echo/Talk")
	if err := s.SendMsg(wrapperspb.String("fail")); err != nil {
		t.Fatal(err)
	}
	if _, err := receive(s); status.Code(err) != codes.FailedPrecondition || status.Convert(err).Message() != "told to" {
		t.Errorf("a call that fails: %v", err)
	}

	s = talk("/test.Echo/Absent")
	if _, err := receive(s); status.Code(err) != codes.Unimplemented {
		t.Errorf("an absent method: %v", err)
	}
}
