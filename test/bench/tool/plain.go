//go:build linux

package main

import (
	"flag"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
)

// runPlain serves with net/http and nothing else: what may be stored from a map, the rest through a ReverseProxy. It is what cacheproxy
// would be without rules, RFC 9111, limits, metrics and its own ways round net/http, and so what these cost or save.
func runPlain(flags *flag.FlagSet, args []string) error {
	addr := flags.String("listen", "127.0.0.1:8080", "address for HTTP/1.1")
	secure := flags.String("tls", "", "address for HTTP/1.1 and HTTP/2 with TLS")
	cert := flags.String("cert", "", "PEM file of the certificate")
	key := flags.String("key", "", "PEM file of its key")
	origin := flags.String("origin", "", "address of the origin")
	if err := flags.Parse(args); err != nil {
		return err
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: *origin}) },
		Transport: &http.Transport{
			MaxIdleConnsPerHost: 1024,
			DisableCompression:  true,
		},
	}
	mux := http.NewServeMux()
	mux.Handle("/keep/", &shelf{fill: proxy, held: map[string]*held{}})
	mux.Handle("/", proxy)
	server := &http.Server{Handler: mux}
	plain, err := net.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	errs := make(chan error, 2)
	go func() { errs <- server.Serve(plain) }()
	if *secure != "" {
		listener, err := net.Listen("tcp", *secure)
		if err != nil {
			return err
		}
		go func() { errs <- server.ServeTLS(listener, *cert, *key) }()
	}
	return <-errs
}

// A shelf keeps all that it has passed on, for ever.
type shelf struct {
	fill http.Handler
	mu   sync.RWMutex
	held map[string]*held // by path
}

// held is a stored response. It is not changed.
type held struct {
	header http.Header
	body   []byte
}

func (s *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.RLock()
	found := s.held[r.URL.Path]
	s.mu.RUnlock()
	if found == nil {
		s.store(w, r)
		return
	}
	h := w.Header()
	maps.Copy(h, found.header)
	h["Age"] = []string{"1"}
	_, _ = w.Write(found.body) // a client that is gone needs no answer
}

// store passes a request on, and keeps a whole answer to it.
func (s *shelf) store(w http.ResponseWriter, r *http.Request) {
	c := &copied{ResponseWriter: w}
	s.fill.ServeHTTP(c, r)
	if c.status != http.StatusOK {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[r.URL.Path] = &held{header: w.Header().Clone(), body: c.body}
}

// copied is an answer that is copied on its way.
type copied struct {
	http.ResponseWriter
	status int
	body   []byte
}

func (c *copied) WriteHeader(status int) {
	c.status = status
	c.ResponseWriter.WriteHeader(status)
}

func (c *copied) Write(p []byte) (int, error) {
	c.body = append(c.body, p...)
	return c.ResponseWriter.Write(p)
}
