// Package admin is the administration API: health, metrics, explain, reload, routes, configuration, log level.
//
// [Handler] serves it, [Client] calls it, and wire.go has the types that both speak. The file openapi.yaml, which the API serves
// itself, describes every call; a test holds it against the code.
//
// Who may call what is decided by [Access]. Every answer is JSON, every error a problem document (RFC 9457).
package admin
