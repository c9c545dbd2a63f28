//go:build linux

package main

import (
	"bytes"
	"flag"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
)

// runPlain serves with net/http and nothing else: targets that may be stored from memory, the others through a ReverseProxy. It is what
// cacheproxy would be without its cache and without its own way through net/http.
func runPlain(flags *flag.FlagSet, args []string) error {
	addr := flags.String("listen", "127.0.0.1:8080", "address for HTTP/1.1")
	secure := flags.String("tls", "", "address for HTTP/1.1 and HTTP/2 with TLS")
	cert := flags.String("cert", "", "PEM file of the certificate")
	key := flags.String("key", "", "PEM file of its key")
	origin := flags.String("origin", "", "address of the origin")
	if err := flags.Parse(args); err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/keep/", serveTarget)
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: *origin}) },
		Transport: &http.Transport{
			MaxIdleConnsPerHost: 1024,
			DisableCompression:  true,
		},
	}
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

// largest is a body; smaller ones are parts of it.
var largest = bytes.Repeat([]byte("0123456789abcdef"), 64<<10)

// serveTarget answers as a cache would that holds the target.
func serveTarget(w http.ResponseWriter, r *http.Request) {
	parts := strings.SplitN(r.URL.Path, "/", 5)
	size, err := strconv.Atoi(parts[min(3, len(parts)-1)])
	if err != nil || size < 0 || size > len(largest) {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h["Content-Type"] = []string{"text/html; charset=utf-8"}
	h["Content-Length"] = []string{parts[3]}
	h["Cache-Control"] = []string{"public, max-age=3600"}
	h["Etag"] = []string{`"5d8c72a5edda8d6a"`}
	h["Last-Modified"] = []string{"Thu, 01 Jan 2026 00:00:00 GMT"}
	h["X-Content-Type-Options"] = []string{"nosniff"}
	h["Age"] = []string{"1"}
	_, _ = w.Write(largest[:size]) // a client that is gone needs no answer
}
