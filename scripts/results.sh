#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# results.sh NAME DIR STATUS: reads what a run of the kselftests left in DIR
# (programs, test.log, console.log, verdict) and how QEMU ended; 124 is a
# time-out. STATUS host: the tests ran on the host, without console and verdict.
# Says what failed and what was skipped and why, and ends with the counts. Only
# 'passed' passes: failed, timed out, VM lost and log unreadable each count as one
# failure more.
#
# Each program that is listed in DIR/programs has to have a result of its own, and
# as many results of tests as it planned: lines can get lost, or be written into
# each other.

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

# A program that fails as a whole shall not hide the others. What the test said
# goes with it, as far as three lines can: a log is not always at hand.
failed_test()
{
	if [ "$program_failed" -le 10 ]; then
		failure "$1: $program: $2"
		[ ${#remarks[@]} = 0 ] ||
			printf '    | %s\n' "${remarks[@]:0:3}"
	else
		failed=$((failed + 1))
		[ "$program_failed" -gt 11 ] ||
			say "    $name: $1: $program: and more, see $log"
	fi
}

begin_program()
{
	end_program ''
	program=$1
	plan=
	results=0
	remarks=()
	program_failed=0
	test_timed_out=
}

# end_program RESULT: the runner's line on it, empty if there is none
end_program()
{
	[ -n "$program" ] || return 0

	ended[$program]=1
	case $1 in
	'') failure "failed: $program: did not come to its end, see $log" ;;
	*'# TIMEOUT'*) failure "timed out: $program" ;;
	'not ok '*)
		[ "$program_failed" -gt 0 ] ||
			failure "failed: ${1#'not ok '}"
		;;
	*'# SKIP'*)
		skipped=$((skipped + 1))
		say "    skipped: $program as a whole"
		;;
	*) check_plan ;;
	esac
	program=
}

# Of one that has failed anyway it is clear that results are missing
check_plan()
{
	if [ -z "$plan" ]; then
		failure "failed: $program: passed without any test"
	elif [ "$plan" != "$results" ]; then
		failure "failed: $program: $results results of $plan tests," \
			"see $log"
	elif [ "$program_failed" -gt 0 ]; then
		failure "failed: $program: exit status 0 in spite of this"
	fi
}

# result NUMBER: each counts in its place only
count_result()
{
	results=$((results + 1))
	[ "$1" = "$results" ] || [ -n "$out_of_order" ] || {
		out_of_order=1
		failure "failed: $program: result $1 instead of $results, see $log"
	}
}

test_failed()
{
	local word=failed

	[ -z "$test_timed_out" ] || word="timed out"
	test_timed_out=
	program_failed=$((program_failed + 1))
	failed_test "$word" "$1"
}

# kselftest prefixes what a program prints with '# '
count_tests()
{
	local line number out_of_order=

	while IFS= read -r line || [ -n "$line" ]; do
		line=${line%$'\r'}
		number=${line#'# '}
		number=${number#'not '}
		number=${number#'ok '}
		number=${number%% *}
		case $line in
		'# ok '*'# SKIP'*)
			count_result "$number"
			remarks=()
			skipped=$((skipped + 1))
			say "    skipped: $program:${line#*# SKIP}"
			;;
		'# ok '*)
			count_result "$number"
			remarks=()
			passed=$((passed + 1))
			;;
		'# not ok '*)
			count_result "$number"
			test_failed "${line#'# not ok '}"
			remarks=()
			;;
		'# 1..'*)
			plan=${line#'# 1..'}
			plan=${plan%% *}
			;;
		'# # '*': Test terminated by timeout')
			test_timed_out=1
			;;
		'# # '*.c:[0-9]*:* | '# # must be: '* | \
		'# # input '*' of seed '* | '# # no end of '*)
			remarks+=("${line#'# # '}")
			;;
		'# selftests: '*)
			begin_program "${line##*: }"
			out_of_order=
			;;
		'ok '*" selftests: "*": $program" | 'ok '*": $program # SKIP" | \
		'not ok '*": $program" | 'not ok '*": $program # "*)
			end_program "$line"
			;;
		esac
	done <"$log"
	end_program ''
}

check_programs()
{
	local expected missing=''

	[ -s "$dir/programs" ] || {
		failure "log unreadable: $dir/programs does not say what was to run"
		return
	}
	while read -r expected; do
		[ -n "${ended[$expected]:-}" ] || missing+=" $expected"
	done <"$dir/programs"
	[ -z "$missing" ] || failure "failed: never started:$missing"
}

check_console()
{
	local console=$dir/console.log bad races

	if [ ! -f "$console" ] || [ ! -s "$console" ]; then
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

	# It is complete only if it has the kernel's last words
	[ "$verdict" != "done" ] || grep -q -a 'reboot: ' "$console" ||
		failure "log unreadable: $console has no end"
}

check_verdict()
{
	case $status,$verdict in
	0,done) ;;
	124,*) failure "timed out: the VM was stopped" ;;
	*,leak) failure "failed: kmemleak has reports, see the end of $log" ;;
	*,) failure "VM lost: it ended without a verdict, see $dir/console.log" ;;
	*) failure "failed: verdict '$verdict', QEMU's exit status $status" ;;
	esac
}

declare -A ended=()
remarks=()
program=
if [ -f "$log" ] && [ -s "$log" ]; then
	count_tests
	check_programs
	[ $((passed + failed + skipped)) -gt 0 ] ||
		failure "failed: no test ran, see $log"
else
	failure "log unreadable: $log is empty or not there"
fi
if [ "$status" != host ]; then
	verdict=$(cat "$dir/verdict" 2>/dev/null || true)
	check_console
	check_verdict
fi

say "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
