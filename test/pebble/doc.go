// Package pebble runs pebble, Let's Encrypt's small ACME server (RFC 8555), in
// a test. To it every name is 127.0.0.1, and it issues as soon as a name is
// proven.
package pebble
