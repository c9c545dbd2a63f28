#!/bin/sh
# Makes sure that the programs named as arguments are here. On Debian and its
# kin the missing ones are installed, and named; elsewhere they are only named.
#
#   test/needs.sh go git gcc node npm curl
set -eu

PATH=$PATH:/usr/sbin:/sbin # where servers are, also for those who are not root

package() { # the Debian package of a program
	case $1 in
	gcc) echo gcc libc6-dev ;; # for the race detector
	node) echo nodejs ;;
	h2load) echo nghttp2-client ;;
	taskset) echo util-linux ;;
	varnishd) echo varnish ;;
	traffic_server) echo trafficserver ;;
	*) echo "$1" ;;
	esac
}

missing='' packages=''
for program in "$@"; do
	command -v "$program" >/dev/null && continue
	case $program in
	go)
		echo "needs.sh: Go is not installed. The version in go.mod or a newer one is needed: https://go.dev/dl/" >&2
		exit 1
		;;
	esac
	missing="$missing $program"
	packages="$packages $(package "$program")"
done

if [ -n "$missing" ]; then
	if ! command -v apt-get >/dev/null; then
		echo "needs.sh: the tests need these programs, please install them:$missing" >&2
		exit 1
	fi
	root=''
	if [ "$(id -u)" -ne 0 ]; then
		command -v sudo >/dev/null || {
			echo "needs.sh: please install as root: apt-get install$packages" >&2
			exit 1
		}
		root=sudo
	fi
	echo "needs.sh: the tests need$missing; installing the Debian packages$packages"
	$root apt-get update -q
	# shellcheck disable=SC2086 # the words are the packages
	$root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $packages
fi

# The suite needs ES modules with top-level await.
case " $* " in *' node '*)
	node -e 'process.exit(+process.versions.node.split(".")[0] >= 16 ? 0 : 1)' || {
		echo "needs.sh: Node.js $(node --version) is too old, 16 or newer is needed" >&2
		exit 1
	}
	;;
esac
