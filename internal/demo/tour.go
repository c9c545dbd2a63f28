package demo

import "strings"

const tour = `Open PROXY/ in a browser, or try (the field Cache-Status says what the cache did):

  curl -i PROXY/products/1                                        a miss; once more: a hit, with its Age
  curl -i -H 'If-None-Match: W/"product-1-v1"' PROXY/products/1   304: you have it already
  curl -X PURGE PROXY/products/1                                  away with it; the next one is a miss
  curl -X POST -d price=9.99 PROXY/products/1                     a write; it takes the stored page with it
  curl -i PROXY/api/prices                                        fresh for 2 seconds, new each second
  curl -X POST PROXY/admin/down                                   the origin goes away ...
  curl -i PROXY/api/prices                                        ... and a stale copy stands in for it
  curl -X POST PROXY/admin/down                                   it comes back
`

// Tour returns the few commands to try against the proxy at proxyURL, such as
// "http://127.0.0.1:8080".
func Tour(proxyURL string) string {
	return strings.ReplaceAll(tour, "PROXY", strings.TrimSuffix(proxyURL, "/"))
}
