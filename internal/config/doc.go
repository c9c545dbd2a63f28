// Package config turns the YAML file, the command line's flags and the environment into one checked [Config].
//
// [Load] is the only door. It reports every mistake of a file in one run, each with its line and column: it parses into a
// tree of YAML nodes and walks that tree along the Go types itself. The types are the only description of the file: their
// struct tags name the keys (yaml), describe them (doc), give defaults (default), allowed values (enum), the unit (unit),
// the form of a text (format) and the least value (min). The walk, the defaults, [Dump] and the JSON Schema all read them.
//
// # Precedence
//
// A flag goes before the environment, the environment before the file, the file before the default. With a file, --listen
// replaces all its listeners, and --upstream adds an upstream named "cli" and makes it the default upstream.
//
// # Environment
//
// ${NAME} and ${NAME:-default} inside a scalar stand for an environment name's value; the default also replaces an empty
// value. The file is parsed first, so a value can never become structure, whatever it contains. An unset name without a
// default is a mistake. $${ stands for the characters ${; a $ that no { follows is itself. Where NAME_FILE is set, the
// content of the file that it names, without trailing newlines, is read instead of NAME; to set both is a mistake.
//
// # What is not built yet
//
// A key, value or scope of the documented configuration whose feature does not exist yet is refused with a sentence
// (reserved.go); it is never ignored.
//
// A [Config] is not changed once loaded and may be shared; everything in this package is safe for concurrent use.
package config

//go:generate go run gen.go
