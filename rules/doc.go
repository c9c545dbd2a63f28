// Package rules turns the routes of a configuration into an immutable [Table] that answers, for a request: which route
// it takes, under which key its response is stored, what reaches the upstream, and which policy holds.
//
// [Compile] reads the YAML form ([Spec]) and reports every mistake at once, each with the path of the value that is
// wrong. What it returns is never changed again: a [Table] and its [Route] values are safe for concurrent use, and a
// reload compiles a new one.
//
// All that is compared with a request is compared in the normal form of [rfc9111.Target]; globs are brought into that
// form when they are compiled, so that matching, the key and what is forwarded cannot disagree about a URL.
//
// # Globs
//
// "*" is any run of characters but "/" (in hosts: but "."), "**" is any run of characters, and a glob that ends in
// "/**" also matches what stands before it: "/x/**" matches "/x", "/x/" and "/x/y/z". Nothing else is special.
//
// # Conditions
//
// Conditions (when, bypass) are CEL over the names request.method, request.scheme, request.host, request.path,
// request.query, request.headers, request.cookies, client.ip, response.status and response.headers. They are
// type-checked when they are compiled and bounded in cost when they run. A name that is absent reads as "".
//
// # Cost
//
// [Table.Match], [Route.AppendKey] and [Route.ForwardURI] of a route without conditions allocate nothing for a plain
// request, and matching among 10,000 routes costs about what matching among 10 does: routes are found by host and by
// the literal beginning of their paths.
package rules
