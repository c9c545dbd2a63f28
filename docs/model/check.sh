#!/bin/sh
# Explores the model of the log with spin: fully, with all rules, and then with
# each of the rules taken out, which must let a wrong answer through.
#
#   docs/model/check.sh [short]
#
# Short is a smaller model, and three of the rules. The exit code is 0 where all
# is as it must be.
set -eu
cd "$(dirname "$0")"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
bad=0

# explore NAME [-DRULE=0 ...]: builds the verifier and runs it, breadth first, so
# that what it finds is as short as can be. Its report is left in $dir/report.
explore() {
	spin "$@" -a log.pml >"$dir/spin" 2>&1 || { cat "$dir/spin"; exit 1; }
	mv pan.* "$dir"
	gcc -O2 -w -DSAFETY -DNOREDUCE -DBFS -DMEMLIM=3500 -o "$dir/pan" "$dir/pan.c"
	(cd "$dir" && ./pan -m100000 >report 2>&1) || { cat "$dir/report"; exit 1; }
}

states() { sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' "$dir/report" | head -n 1; }

# holds [-DX=n ...]: no wrong answer in all that can be reached.
holds() {
	explore "$@"
	if grep -q 'errors: 0$' "$dir/report" && ! grep -qE 'too small|out of memory|truncated|not completed|hit' "$dir/report"; then
		printf 'holds       %10s states  %s\n' "$(states)" "$*"
	else
		cat "$dir/report"
		echo "FAILED: $*"
		bad=1
	fi
}

# breaks NAME [-DX=n ...]: a wrong answer is found.
breaks() {
	explore "$@"
	if grep -q 'assertion violated' "$dir/report"; then
		printf 'as it must  %10s states  %s: found after %s steps\n' "$(states)" "$*" "$(sed -n 's/.*depth reached \([0-9]*\).*/\1/p' "$dir/report")"
	else
		cat "$dir/report"
		echo "FAILED: nothing found with $*"
		bad=1
	fi
}
holds -DLOSSES=0
breaks -DLOSSES=0 -DBORN_AT_SENDING=0
breaks -DLOSSES=0 -DRENEW_CAUGHT_UP=0
breaks -DLOSSES=0 -DLEASE_FROM_SENDING=0
breaks -DLOSSES=0 -DNO_JOIN_OVERTAKEN=0
breaks -DLOSSES=0 -DLEASE_AT_EACH_HIT=0
breaks -DLOSSES=0 -DNO_JOIN_CUT_OFF=0
breaks -DLOSSES=0 -DLEASE_REGISTERED=0
breaks -DLOSSES=0 -DWAIT_FROM_RETURN=0
breaks -DLOSSES=1 -DYOUNG_WAITS=0
breaks -DLOSSES=1 -DRUN_ID=0
breaks -DLOSSES=2 -DREPLICATION_ID=0
breaks -DLOSSES=1 -DWITNESS=1
breaks -DLOSSES=1 -DWITNESS=2
exit $bad
