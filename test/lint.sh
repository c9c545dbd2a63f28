#!/bin/sh
# gofmt, go vet, staticcheck and govulncheck over the whole module; the latter
# two in the versions that go.mod pins. Everything is run, then the exit code
# tells whether anything was found.
set -eu
bad=0

echo '== gofmt'
unformatted=$(git ls-files --cached --others --exclude-standard '*.go' | xargs gofmt -l)
if [ -n "$unformatted" ]; then
	echo "not formatted, run gofmt -w on:"
	echo "$unformatted"
	bad=1
fi

echo '== go vet'
go vet ./... || bad=1
go -C examples/library vet ./... || bad=1

echo '== staticcheck'
go tool staticcheck ./... || bad=1

echo '== govulncheck'
data=${GOVULNDB:-https://vuln.go.dev}
case $data in
file:*) reached=yes ;;
*)
	if command -v curl >/dev/null && curl -fsS --max-time 15 -o /dev/null "$data/index/db.json.gz"; then
		reached=yes
	else
		reached=no
	fi
	;;
esac
if [ "$reached" = yes ]; then
	go tool govulncheck ./... || bad=1
else
	echo "NOT CHECKED: the vulnerability data at $data cannot be reached from this machine"
fi

exit $bad
