#!/bin/sh
# Runs every fuzz target of the module, one after another.
#
#   test/fuzz.sh 10s     how long each runs
set -eu
time=${1:?usage: test/fuzz.sh DURATION}

list=$(go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' ./...)
for package in $list; do
	targets=$(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true)
	for target in $targets; do
		echo "== $package $target"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$package"
	done
done
