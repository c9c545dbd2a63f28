#!/bin/sh
# Explores the model of the log with spin: all that can be reached with all rules,
# and then with each rule taken out, which must let a wrong answer through.
#
#   docs/model/check.sh                          everything
#   docs/model/check.sh short                    the smallest sizes, and three rules
#   docs/model/check.sh trail -DRUN_ID=0 ...     prints the steps to a wrong answer
#
# It ends with 0 only where all is as it must be. It needs spin, gcc and 2 GB.
set -eu
model=$(cd "$(dirname "$0")" && pwd)/log.pml
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
bad=0

# explore FLAG [-DNAME=VALUE ...] builds the verifier, gcc with the flag, and runs it.
explore() {
	flag=$1
	shift
	rm -f ./*
	cp "$model" .
	spin "$@" -a log.pml >report
	gcc -O2 -w -DSAFETY -DNOREDUCE -DMEMLIM=3500 "$flag" -o verifier pan.c
	./verifier -m100000 >report 2>&1 || true # what it has found is in the report
}

states() { sed -n 's/^ *\([^ ]*\) states, stored.*/\1/p' report; }

wrong() {
	cat report
	echo "WRONG: $*"
	bad=1
}

# holds [-DNAME=VALUE ...]: there is no wrong answer in all that can be reached.
# Depth first, which takes the least memory.
holds() {
	explore -DDFS "$@"
	if grep -q 'errors: 0$' report && grep -q '^Full statespace search' report &&
		! grep -qiE 'search not completed|too small|out of memory|memory limit' report; then
		printf 'holds   %9s states, all that there are: %s\n' "$(states)" "$*"
	else
		wrong "it does not hold, or not all was explored: $*"
	fi
}

# breaks [-DNAME=VALUE ...]: there is a wrong answer. Breadth first: the way to it
# is the shortest.
breaks() {
	explore -DBFS "$@"
	if grep -q 'assertion violated' report; then
		printf 'breaks  after %s steps: %s\n' "$(spin "$@" -t log.pml | sed -n 's/.*trail ends after \([0-9]*\) steps.*/\1/p')" "$*"
	else
		wrong "found nothing: $*"
	fi
}

case ${1-} in
trail)
	shift
	breaks "$@"
	[ "$bad" = 0 ] && spin "$@" -t -T log.pml | sed -n '/trail ends/q; p'
	;;
short)
	holds -DPURGES=2 -DLOSSES=0
	holds -DPURGES=1 -DLOSSES=1
	breaks -DWITNESS=1
	breaks -DLOSSES=0 -DBORN_AT_SENDING=0
	breaks -DLOSSES=0 -DNO_JOIN_OVERTAKEN=0
	breaks -DYOUNG_WAITS=0
	;;
*)
	# Good runs first: a model in which nothing happens would hold as well.
	breaks -DWITNESS=1
	breaks -DWITNESS=2
	holds -DPURGES=3 -DLOSSES=0
	holds -DPURGES=2 -DLOSSES=1
	holds -DPURGES=1 -DLOSSES=2
	holds -DPURGES=2 -DLOSSES=0 -DRESTARTS=1
	holds -DPURGES=1 -DLOSSES=1 -DRESTARTS=1
	breaks -DLOSSES=0 -DBORN_AT_SENDING=0
	breaks -DLOSSES=0 -DRENEW_CAUGHT_UP=0
	breaks -DLOSSES=0 -DLEASE_FROM_SENDING=0
	breaks -DLOSSES=0 -DNO_JOIN_OVERTAKEN=0
	breaks -DLOSSES=0 -DNO_JOIN_CUT_OFF=0
	breaks -DLOSSES=0 -DLEASE_AT_EACH_HIT=0
	breaks -DLOSSES=0 -DLEASE_REGISTERED=0
	breaks -DLOSSES=0 -DWAIT_FROM_RETURN=0
	breaks -DYOUNG_WAITS=0
	breaks -DRUN_ID=0
	breaks -DLOSSES=2 -DREPLICATION_ID=0
	;;
esac
exit $bad
