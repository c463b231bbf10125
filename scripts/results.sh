#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# results.sh NAME DIR STATUS: reads what a run of the kselftests left in DIR
# (test.log, console.log, verdict) and how QEMU ended; 124 is a time-out. Without
# a console.log the tests ran on the host. Says what failed and what was skipped
# and why, and ends with the counts. Only 'passed' passes: failed, timed out, VM
# lost and log unreadable each count as one failure more.

. "$(dirname "$0")/lib.sh"

name=$1
dir=$2
status=$3
log=$dir/test.log

passed=0
failed=0
skipped=0

failure()
{
	failed=$((failed + 1))
	say "    $name: $*"
}

# A program that fails as a whole shall not hide the others
failed_test()
{
	if [ "$program_failed" -le 10 ]; then
		failure "failed: $program: $1"
	else
		failed=$((failed + 1))
		[ "$program_failed" -gt 11 ] ||
			say "    $name: failed: $program: and more, see $log"
	fi
}

# kselftest prefixes what a program prints with '# '
count_tests()
{
	local line

	while IFS= read -r line; do
		line=${line%$'\r'}
		case $line in
		'# ok '*'# SKIP'*)
			skipped=$((skipped + 1))
			say "    skipped: $program:${line#*# SKIP}"
			;;
		'# ok '*)
			passed=$((passed + 1))
			;;
		'# not ok '*)
			program_failed=$((program_failed + 1))
			failed_test "${line#'# not ok '}"
			;;
		'# selftests: '*)
			program=${line##*: }
			program_failed=0
			;;
		'not ok '*'# TIMEOUT'*)
			failure "timed out: $program"
			;;
		'not ok '*)
			[ "$program_failed" -gt 0 ] ||
				failure "failed: ${line#'not ok '}"
			;;
		'ok '*'# SKIP'*)
			skipped=$((skipped + 1))
			say "    skipped: $program as a whole"
			;;
		esac
	done <"$log"
}

check_console()
{
	local console=$dir/console.log bad races

	if [ ! -s "$console" ]; then
		failure "log unreadable: $console is empty or not there"
		return
	fi

	races=$(grep -a -c 'BUG: KCSAN' "$console" || true)
	[ "$races" = 0 ] ||
		say "    $name: KCSAN has $races reports; what is about other" \
			"code is left out"
	bad=$(bad_lines "$console")
	if [ -n "$bad" ]; then
		failure "failed: the console log has bad lines, see $console:"
		printf '%s\n' "$bad" | sed 's/^/    | /'
	fi
}

check_verdict()
{
	local verdict

	verdict=$(cat "$dir/verdict" 2>/dev/null || true)
	case $status,$verdict in
	0,done) ;;
	124,*) failure "timed out: the VM was stopped" ;;
	*,leak) failure "failed: kmemleak has reports, see the end of $log" ;;
	*,) failure "VM lost: it ended without a verdict, see $dir/console.log" ;;
	*) failure "failed: verdict '$verdict', QEMU's exit status $status" ;;
	esac
}

program=
program_failed=0
if [ -s "$log" ]; then
	count_tests
	[ $((passed + failed + skipped)) -gt 0 ] ||
		failure "failed: no test ran, see $log"
else
	failure "log unreadable: $log is empty or not there"
fi
if [ "$status" != host ]; then
	check_console
	check_verdict
fi

say "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
