package proxy

import "strings"

// spoofable reports whether an origin may take the field for the word of its own proxy, or for another method or URL than the
// request's. Names with an underscore are among them: CGI and its kin cannot tell X_Forwarded_For from X-Forwarded-For.
func spoofable(name string) bool {
	return strings.HasPrefix(name, "X-Forwarded-") || strings.IndexByte(name, '_') >= 0 || spoofed[name]
}

// spoofed are fields that proxies, frameworks and servers tell each other, and that clients have used to poison caches or to get past
// access rules.
var spoofed = setOf(
	// Who the client is.
	"Forwarded", "X-Forwarded", "Forwarded-For", "X-Forwarder-For", "X-Original-Forwarded-For",
	"X-Real-Ip", "X-Client-Ip", "Client-Ip", "X-Cluster-Client-Ip", "True-Client-Ip", "X-True-Client-Ip", "Cf-Connecting-Ip", "Fastly-Client-Ip",
	"X-Remote-Addr", "X-Remote-Ip", "X-Originating-Ip", "X-Proxyuser-Ip", "X-Azure-Clientip", "X-Azure-Socketip",
	// Which host, scheme, path and method are meant.
	"X-Host", "X-Original-Host", "X-Backend-Host", "X-Proxy-Host", "Proxy-Host", "X-Http-Host-Override", "Fastly-Host",
	"X-Scheme", "X-Url-Scheme", "Front-End-Https", "X-Https", "X-Arr-Ssl", "Fastly-Ssl",
	"Cf-Visitor", "Cloudfront-Forwarded-Proto",
	"X-Original-Url", "X-Original-Uri", "X-Original-Path", "X-Rewrite-Url", "X-Rewrite-Uri", "X-Override-Url", "X-Request-Uri", "Request-Uri",
	"X-Http-Destinationurl", "Destination-Url", "Base-Url", "X-Script-Name", "X-Envoy-Original-Path",
	"X-Http-Method-Override", "X-Http-Method", "X-Method-Override",
	// What CGI makes its proxy of (CVE-2016-5385), and what Next.js tells itself (CVE-2025-29927).
	"Proxy", "X-Middleware-Subrequest", "X-Invoke-Path", "X-Invoke-Query", "X-Invoke-Output", "X-Invoke-Status",
)

func setOf(names ...string) map[string]bool {
	set := make(map[string]bool, len(names))
	for _, name := range names {
		set[name] = true
	}
	return set
}
