package front_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/cacheproxy/cacheproxy/test/process"
)

// talk is a gRPC method that answers each message as it comes, with a header
// before and a trailer after, ends with an error where it is told "fail", and
// says on gone when it was cancelled.
func talk(gone chan<- error) *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: "test.Echo",
		HandlerType: (*any)(nil),
		Streams: []grpc.StreamDesc{{StreamName: "Talk", ServerStreams: true, ClientStreams: true, Handler: func(_ any, s grpc.ServerStream) error {
			in, _ := metadata.FromIncomingContext(s.Context())
			if err := s.SetHeader(metadata.Pairs("x-header", strings.Join(in.Get("x-asked"), ","))); err != nil {
				return err
			}
			s.SetTrailer(metadata.Pairs("x-trailer", "from the service", "x-data-bin", "\x00\xff"))
			for {
				var m wrapperspb.StringValue
				err := s.RecvMsg(&m)
				switch {
				case errors.Is(err, io.EOF):
					return nil
				case err != nil:
					gone <- err
					return err
				case m.Value == "fail":
					return status.Error(codes.FailedPrecondition, "told to: 100 %")
				}
				if err := s.SendMsg(wrapperspb.String("echo " + m.Value)); err != nil {
					return err
				}
			}
		}}},
	}
}

// grpc-go's client talks to grpc-go's server through the program, which speaks
// h2c to it: over h2c and over TLS.
func TestGRPC(t *testing.T) {
	gone := make(chan error, 1)
	service := grpc.NewServer()
	service.RegisterService(talk(gone), nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go service.Serve(l) // it ends by Stop
	t.Cleanup(service.Stop)
	dir, cert := files(t)
	addrs := process.FreeAddrs(t, 2)
	p := serve(t, dir, fmt.Sprintf(`
listen:
  - address: %s
  - address: %s
    tls: { cert_file: tls.crt, key_file: tls.key }
upstreams: { service: { targets: [{ url: "h2c://%s" }] } }
`, addrs[0], addrs[1], l.Addr()), process.Options{})
	pool := x509.NewCertPool()
	pool.AddCert(cert.Leaf)
	for i, c := range []credentials.TransportCredentials{insecure.NewCredentials(), credentials.NewTLS(&tls.Config{RootCAs: pool})} {
		t.Run(c.Info().SecurityProtocol, func(t *testing.T) {
			conn, err := grpc.NewClient(addrs[i], grpc.WithTransportCredentials(c))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), "x-asked", "yes"), 20*time.Second)
			defer cancel()
			talkBothWays(t, ctx, conn)
			endWithErrors(t, ctx, conn)
			cancelCall(t, ctx, conn, gone)
		})
	}
	p.Stop()
}

func call(t *testing.T, ctx context.Context, conn *grpc.ClientConn, method string) grpc.ClientStream {
	t.Helper()
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func send(t *testing.T, s grpc.ClientStream, text string) {
	t.Helper()
	if err := s.SendMsg(wrapperspb.String(text)); err != nil {
		t.Fatal(err)
	}
}

func receive(s grpc.ClientStream) (string, error) {
	var m wrapperspb.StringValue
	err := s.RecvMsg(&m)
	return m.Value, err
}

// talkBothWays sends each message when the answer to the one before is there.
func talkBothWays(t *testing.T, ctx context.Context, conn *grpc.ClientConn) {
	t.Helper()
	s := call(t, ctx, conn, "/test.Echo/Talk")
	for _, text := range []string{"one", strings.Repeat("x", 1<<20), "three"} {
		send(t, s, text)
		if got, err := receive(s); got != "echo "+text {
			t.Fatalf("got %.20q, %v", got, err)
		}
	}
	if h, err := s.Header(); err != nil || strings.Join(h.Get("x-header"), ",") != "yes" {
		t.Errorf("header: %v, %v", h, err)
	}
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := receive(s); !errors.Is(err, io.EOF) {
		t.Errorf("the end: %v", err)
	}
	if got := s.Trailer(); strings.Join(got.Get("x-trailer"), ",") != "from the service" || strings.Join(got.Get("x-data-bin"), ",") != "\x00\xff" {
		t.Errorf("trailer: %v", got)
	}
}

// endWithErrors: the status comes in the trailer, after messages, or with no
// message at all, where it stands in the header section.
func endWithErrors(t *testing.T, ctx context.Context, conn *grpc.ClientConn) {
	t.Helper()
	s := call(t, ctx, conn, "/test.Echo/Talk")
	send(t, s, "one")
	if _, err := receive(s); err != nil {
		t.Fatal(err)
	}
	send(t, s, "fail")
	if _, err := receive(s); status.Code(err) != codes.FailedPrecondition || status.Convert(err).Message() != "told to: 100 %" {
		t.Errorf("a call that fails: %v", err)
	}
	s = call(t, ctx, conn, "/test.Echo/Absent")
	if _, err := receive(s); status.Code(err) != codes.Unimplemented {
		t.Errorf("an absent method: %v", err)
	}
}

// cancelCall: the service hears of a client that gives up.
func cancelCall(t *testing.T, ctx context.Context, conn *grpc.ClientConn, gone <-chan error) {
	t.Helper()
	limited, cancel := context.WithCancel(ctx)
	s := call(t, limited, conn, "/test.Echo/Talk")
	send(t, s, "one")
	if _, err := receive(s); err != nil {
		t.Fatal(err)
	}
	cancel()
	select {
	case err := <-gone:
		if status.Code(err) != codes.Canceled {
			t.Errorf("the service was told %v", err)
		}
	case <-ctx.Done():
		t.Error("the service was not told that the client gave up")
	}
}
