#!/bin/sh
# Runs every fuzz target of the module, one after another.
#
#   test/fuzz.sh 10s     how long each runs
set -eu
time=${1:?usage: test/fuzz.sh DURATION}

# Those that drive the built binary share one, and have no coverage to minimise by.
CACHEPROXY_BIN=$(mktemp)
export CACHEPROXY_BIN
trap 'rm -f "$CACHEPROXY_BIN"' EXIT
CGO_ENABLED=0 go build -o "$CACHEPROXY_BIN" ./cmd/cacheproxy

list=$(go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' ./...)
for package in $list; do
	targets=$(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true)
	for target in $targets; do
		echo "== $package $target"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 10x "$package"
	done
done
