#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Tests of the rig itself: whatever goes wrong has to have the right word in the
# results, and a failing exit status. What is cheap enough goes wrong in a VM, the
# rest in logs that are made up. The last line has the counts.

. "$(dirname "$0")/lib.sh"

work=$build/rig-test
passed=0
failed=0
skipped=0

failure()
{
	failed=$((failed + 1))
	say "    rig: failed: $1: $2, but it was:"
	sed 's/^/    | /' "$3"
}

# check_run NAME OUTPUT STATUS COUNTS WORDS...: whether a run that printed OUTPUT
# and ended with STATUS says what it should. COUNTS is its last line; it fails if
# anything failed. WORDS are extended regular expressions, each for a line.
check_run()
{
	local name=$1 out=$2 status=$3 counts=$4 words good=0

	shift 4
	[[ $counts == *' 0 failed'* ]] || good=1
	if [ "$(tail -n 1 "$out")" != "$counts" ]; then
		failure "$name" "should end with '$counts'" "$out"
		return
	fi
	if [ $((status != 0)) != $good ]; then
		failure "$name" "should not end with status $status" "$out"
		return
	fi
	for words; do
		if ! grep -q -E -e "$words" "$out"; then
			failure "$name" "should say '$words'" "$out"
			return
		fi
	done
	passed=$((passed + 1))
}

# A run of two programs that went well
good_run()
{
	rm -rf "$dir"
	mkdir -p "$dir"
	printf '%s\n' one_test two_test >"$dir/programs"
	cat >"$dir/test.log" <<-'END'
		TAP version 13
		1..2
		# selftests: filesystems/fuse: one_test
		# TAP version 13
		# 1..2
		# # Starting 2 tests from 1 test cases.
		# #  RUN           one.first ...
		# #            OK  one.first
		# ok 1 one.first
		# #  RUN           one.second ...
		# #      SKIP      for no reason
		# #            OK  one.second
		# ok 2 # SKIP for no reason
		# # PASSED: 2 / 2 tests passed.
		ok 1 selftests: filesystems/fuse: one_test
		# selftests: filesystems/fuse: two_test
		# TAP version 13
		# 1..2
		# #  RUN           two.first ...
		# #            OK  two.first
		# ok 1 two.first
		# #  RUN           two.second ...
		# #            OK  two.second
		# ok 2 two.second
		ok 2 selftests: filesystems/fuse: two_test
	END
	cat >"$dir/console.log" <<-'END'
		[    0.000000] Linux version 6.1 (a compiler)
		[    0.000000] Kernel command line: oops=panic panic_on_warn=1
		[    2.480882] kselftest: Running tests in filesystems/fuse
		[   41.132516] reboot: Restarting system
	END
	say "done" >"$dir/verdict"
}

# made_up NAME STATUS EDIT COUNTS WORDS...: EDIT is what a shell does to the files
# of a good run, STATUS is QEMU's
made_up()
{
	local name=$1 qemu=$2 edit=$3 status=0

	shift 3
	good_run
	(cd "$dir" && eval "$edit")
	"$top/scripts/results.sh" rig "$dir" "$qemu" >"$work/out" 2>&1 ||
		status=$?
	check_run "$name" "$work/out" $status "$@"
}

good='3 passed, 0 failed, 1 skipped'
one_more='3 passed, 1 failed, 1 skipped'

# shellcheck disable=SC2016  # for eval
results_of_tests()
{
	made_up "a good run" 0 : "$good" 'skipped: one_test: for no reason'
	made_up "a failed test" 0 \
		'sed -i "s/^# ok 2 two/# # two_test.c:9:second:Expected 1 == 2\n# not ok 2 two/;
			 s/^ok 2 .*/not ok 2 selftests: f: two_test # exit=1/" \
			test.log' \
		'2 passed, 1 failed, 1 skipped' \
		'failed: two_test: 2 two.second' \
		'^    \| two_test.c:9:second:Expected 1 == 2'
	made_up "a failed input of the fuzzer" 0 \
		'sed -i "s/^# ok 2 two/# # input 7 of seed 3: it worked\n# # before it:\n# not ok 2 two/;
			 s/^ok 2 .*/not ok 2 selftests: f: two_test # exit=1/" \
			test.log' \
		'2 passed, 1 failed, 1 skipped' \
		'^    \| input 7 of seed 3: it worked'
	made_up "a failed test in a program that ends with status 0" 0 \
		'sed -i "s/^# ok 2 two/# not ok 2 two/" test.log' \
		'2 passed, 2 failed, 1 skipped' 'failed: two_test: exit status 0'
	made_up "a test that timed out" 0 \
		'sed -i "s/^# \(ok 2 two.*\)/# # two.second: Test terminated by timeout\n# not \1/" \
			test.log
		 sed -i "s/^ok 2 .*/not ok 2 selftests: f: two_test # exit=1/" \
			test.log' \
		'2 passed, 1 failed, 1 skipped' \
		'timed out: two_test: .*two.second'
	made_up "a program that timed out" 0 \
		'sed -i "/two.second/d; s/^ok 2 .*/not ok 2 selftests: f: two_test # TIMEOUT 600 seconds/" \
			test.log' \
		'2 passed, 1 failed, 1 skipped' 'timed out: two_test$'
	made_up "a wrong exit status" 0 \
		'sed -i "s/^ok 2 .*/not ok 2 selftests: f: two_test # exit=3/" \
			test.log' \
		"$one_more" 'failed: .*two_test # exit=3'
	made_up "a program skipped as a whole" 0 \
		'sed -i "/ 1..2$/,\${/two/{/selftests/!d}}
			 s/^ok 2 .*/& # SKIP/" test.log' \
		'1 passed, 0 failed, 2 skipped' 'skipped: two_test as a whole'
}

# shellcheck disable=SC2016  # for eval
lost_lines()
{
	made_up "fewer results than planned" 0 'sed -i /two.second/d test.log' \
		'2 passed, 1 failed, 1 skipped' \
		'failed: two_test: 1 results of 2 tests'
	made_up "a result that was lost in between" 0 \
		'sed -i /two.first/d test.log' \
		'2 passed, 2 failed, 1 skipped' \
		'failed: two_test: result 2 instead of 1'
	made_up "more results than planned" 0 \
		'sed -i "s/^# ok 2 two.*/&\n# ok 3 two.third/" test.log' \
		'4 passed, 1 failed, 1 skipped' \
		'failed: two_test: 3 results of 2 tests'
	made_up "a program without results" 0 \
		'sed -i "/^# selftests.*two_test/,/^ok/{/selftests/!d}" test.log' \
		'1 passed, 1 failed, 1 skipped' \
		'failed: two_test: passed without any test'
	made_up "a program that was never started" 0 \
		'sed -i "/^# selftests.*two_test/,\$d" test.log' \
		'1 passed, 1 failed, 1 skipped' 'failed: never started: two_test'
	made_up "a program without an end" 0 'sed -i "\$d" test.log' \
		"$one_more" 'failed: two_test: did not come to its end'
	made_up "a program without an end before another" 0 \
		'sed -i "/^ok 1 /d" test.log' \
		"$one_more" 'failed: one_test: did not come to its end'
	made_up "results within another line" 0 \
		'sed -i "s/^# ok 2 two/# a message# not ok 2 two/" test.log' \
		'2 passed, 1 failed, 1 skipped' \
		'failed: two_test: 1 results of 2 tests'
	made_up "a program's end within another line" 0 \
		'sed -i "s/^ok 2 .*/# a messagenot ok 2 selftests: f: two_test # exit=1/" \
			test.log' \
		"$one_more" 'failed: two_test: did not come to its end'
	made_up "a log cut off within a line" 0 'truncate -s -4 test.log' \
		"$one_more" 'failed: two_test: did not come to its end'
	made_up "an empty log" 0 ': >test.log' \
		'0 passed, 1 failed, 0 skipped' 'log unreadable: .*test.log'
	made_up "no log" 0 'rm test.log' \
		'0 passed, 1 failed, 0 skipped' 'log unreadable: .*test.log'
	made_up "a log without tests" 0 'echo nothing >test.log' \
		'0 passed, 1 failed, 0 skipped' 'never started: one_test two_test'
	made_up "no list of programs" 0 'rm programs' \
		"$one_more" 'log unreadable: .*programs'
}

# shellcheck disable=SC2016  # for eval
consoles()
{
	made_up "a kernel's complaint" 0 \
		'echo "[ 3.0] WARNING: CPU: 0 PID: 1 at fs/fuse/x.c" >>console.log' \
		"$one_more" 'failed: the console log has bad lines' \
		'\| 5:.*WARNING'
	made_up "a complaint before the first test" 0 \
		'sed -i "2i [ 0.0] BUG: sleeping function called" console.log' \
		"$one_more" '\| 2:.*BUG'
	made_up "a complaint among bytes that are no text" 0 \
		'printf "\0\377\200\nBUG: bad\r\n" >>console.log' \
		"$one_more" '\| .*BUG'
	made_up "a checker that gave up" 0 \
		'sed -i "3i [ 1.0] kmemleak: Kernel memory leak detector disabled" \
			console.log' \
		"$one_more" 'kmemleak: Kernel memory leak detector disabled'
	made_up "an empty console log" 0 ': >console.log' \
		"$one_more" 'log unreadable: .*console.log is empty'
	made_up "no console log" 0 'rm console.log' \
		"$one_more" 'log unreadable: .*console.log is empty'
	made_up "a console log without an end" 0 'sed -i /reboot/d console.log' \
		"$one_more" 'log unreadable: .*console.log has no end'
	made_up "a run on the host" host 'rm console.log verdict' "$good"
}

verdicts()
{
	made_up "a verdict that is missing" 0 'rm verdict' \
		"$one_more" 'VM lost: it ended without a verdict'
	made_up "an empty verdict" 0 ': >verdict' \
		"$one_more" 'VM lost: it ended without a verdict'
	made_up "a QEMU that was killed" 137 'rm verdict' \
		"$one_more" 'VM lost: it ended without a verdict'
	made_up "a VM that was stopped" 124 'rm verdict' \
		"$one_more" 'timed out: the VM was stopped'
	made_up "a VM that was stopped after its verdict" 124 : \
		"$one_more" 'timed out: the VM was stopped'
	made_up "a QEMU that failed" 1 : \
		"$one_more" "failed: verdict 'done', QEMU's exit status 1"
	made_up "a leak" 0 'echo leak >verdict' \
		"$one_more" 'failed: kmemleak has reports'
	made_up "a kernel with a mark on it" 0 'echo tainted by 512 >verdict' \
		"$one_more" "failed: verdict 'tainted by 512'"
}

# bad_list NAME LIST: whether a list that cannot be used is noticed
bad_list()
{
	good_run
	printf '%s' "$2" >"$work/list"
	bad_lines "$dir/console.log" "$work/list" >"$work/out" 2>&1
	if grep -q '^cannot search' "$work/out"; then
		passed=$((passed + 1))
	else
		failure "$1" "should say 'cannot search'" "$work/out"
	fi
}

failures_of()
{
	local passed=0 failed=0 skipped=0

	add_verdict "$@" >/dev/null
	say "$failed"
}

# said_again NAME LINES...: of a run that printed them
said_again()
{
	local name=$1 failures='' expected

	shift
	expected=$(printf '%s\n' "$@")
	printf '    skipped: a test\n%s\n%s\n' "$expected" \
		'2 passed, 1 failed, 1 skipped' >"$work/sum"
	note_failures "$work/sum"
	say "$failures" >"$work/out"
	if [ "$failures" = "$expected"$'\n' ]; then
		passed=$((passed + 1))
	else
		failure "$name" "should be '$expected'" "$work/out"
	fi
}

# sum NAME LAST STATUS FAILED: what one run of several adds up to
sum()
{
	local sum

	say "$2" >"$work/sum"
	sum=$(failures_of "$work/sum" "$3")
	say "$sum failed" >"$work/out"
	if [ "$sum" = "$4" ]; then
		passed=$((passed + 1))
	else
		failure "$1" "should be '$4 failed'" "$work/out"
	fi
}

sums()
{
	sum "a good run" '3 passed, 0 failed, 1 skipped' 0 0
	sum "a failed run" '3 passed, 2 failed, 1 skipped' 1 2
	sum "a run with the wrong status" '3 passed, 0 failed, 1 skipped' 1 1
	sum "a run of nothing" '0 passed, 0 failed, 0 skipped' 0 1
	sum "a run without a verdict" 'ok' 0 1
	sum "a run with more in its verdict" '3 passed, 0 failed, 1 skipped?' 0 1
	said_again "a failed test, once more" \
		'    kselftest-fast-xfs: failed: two_test: 2 two.second' \
		'    | two_test.c:9:second:Expected 1 == 2'
	said_again "a lost VM, once more" '    kselftest-fast-xfs: VM lost: why'
	said_again "a real program, once more" '    FAIL git: it differs'
}

# crash NAME CONSOLE STATUS TIMES: how often a QEMU is started that writes CONSOLE
# and ends with STATUS, which is what qemu_run returns
crash()
{
	local got

	got=$(
		. "$top/scripts/qemu.sh"
		qemu_console=$work/crash.console
		times=0
		# shellcheck disable=SC2317  # called by qemu_run
		qemu_once()
		{
			times=$((times + 1))
			say "$2" >"$qemu_console"
			return "$1"
		}
		status=0
		qemu_run "$3" "$2" 2>"$work/crash.said" || status=$?
		say "$times times, status $status"
	)
	say "$got" >"$work/out"
	if [ "$got" = "$4 times, status $3" ]; then
		passed=$((passed + 1))
	else
		failure "$1" "should be '$4 times, status $3'" "$work/out"
	fi
}

crashes()
{
	crash "QEMU that crashed in boot" 'pci 0000:00:04.0' 139 2
	crash "QEMU that crashed in a test" 'Run /init as init process' 139 1
	crash "QEMU that was killed" 'pci 0000:00:04.0' 137 1
	crash "QEMU that ended well" 'pci 0000:00:04.0' 0 1
}

programs=(good bad status killed short slow end warn oops spin block leak lockdep)

# make_programs KIND: where kselftest.sh installs from
make_programs()
{
	local install=$work/install-$1 module=$work/module-$1 program

	rm -rf "$install" "$module"
	mkdir -p "$install/kselftest" "$install/filesystems/fuse" "$module"
	cp "$linux/tools/testing/selftests/run_kselftest.sh" "$install/" ||
		return
	cp "$linux/tools/testing/selftests/kselftest/runner.sh" \
		"$install/kselftest/" || return
	for program in "${programs[@]}"; do
		cp "$top/scripts/rig/program" \
			"$install/filesystems/fuse/${program}_test" || return
		say "filesystems/fuse:${program}_test"
	done >"$install/kselftest-list.txt"
	say "filesystems/fuse:missing_test" >>"$install/kselftest-list.txt"

	cp "$top/scripts/rig/rig_trouble.c" "$module/" || return
	say "obj-m := rig_trouble.o" >"$module/Makefile"
	make -s -C "$linux" O="$build/$1" -j"$jobs" modules_prepare || return
	# The kernel's own symbols, in the place of what 'make modules' leaves
	make -s -C "$linux" O="$build/$1" M="$module" \
		KBUILD_EXTRA_SYMBOLS="$build/$1/vmlinux.symvers" \
		KBUILD_MODPOST_WARN=1 modules || return
	cp "$module/rig_trouble.ko" "$install/"
}

declare -A vms=()
trap 'kill "${!vms[@]}" 2>/dev/null; wait; exit 130' INT TERM

# vm NAME KIND LIMIT PROGRAMS COUNTS WORDS...: programs in a VM of their own
vm()
{
	local out name=$1 kind=$2 limit=$3 tests=$4

	shift 4
	if [ ! -e "$build/$kind/arch/x86/boot/bzImage" ]; then
		skipped=$((skipped + 1))
		say "    rig: skipped: $name: there is no $kind kernel"
		return
	fi
	[ ${#vms[@]} -lt "$jobs" ] || wait_for_vm
	out=$work/vm-${name// /-}
	WORK=$out.d KIND=$kind FS=tmpfs LIMIT=$limit TESTS=$tests TIMEOUT=3 \
		INSTALL=$work/install-$kind MEM=1G \
		"$top/scripts/kselftest.sh" >"$out" 2>&1 &
	vms[$!]=$name
	printf '%s\n' "$name" "$out" "$@" >"$out.expected"
}

wait_for_vm()
{
	local pid status=0 expected

	wait -n -p pid || status=$?
	mapfile -t expected <"$work/vm-${vms[$pid]// /-}.expected"
	unset "vms[$pid]"
	check_run "${expected[@]::2}" $status "${expected[@]:2}"
}

# The slow ones first
troubles()
{
	vm "a leak" debug 150 leak_test '1 passed, 2 failed, 0 skipped' \
		'failed: kmemleak has reports'
	vm "a hung task and a wrong order of locks" debug 150 \
		'lockdep_test block_test' '1 passed, 3 failed, 0 skipped' \
		'failed: block_test: did not come to its end' \
		'possible circular locking' 'VM lost' 'blocked for more than'
	vm "programs that do not do well" fast 60 \
		'good_test bad_test status_test killed_test short_test slow_test missing_test' \
		'5 passed, 6 failed, 1 skipped' \
		'failed: bad_test: 2 bad' 'failed: .*status_test # exit=3' \
		'failed: .*killed_test # exit=137' \
		'failed: short_test: 1 results of 2 tests' \
		'timed out: slow_test' 'failed: .*missing_test' \
		'skipped: good_test: for no reason'
	vm "a warning" fast 60 'good_test warn_test' \
		'1 passed, 3 failed, 1 skipped' 'VM lost' \
		'\| .*WARNING: CPU' 'failed: warn_test: did not come to its end'
	vm "an oops" fast 60 oops_test '0 passed, 3 failed, 0 skipped' \
		'VM lost' '\| .*BUG: kernel NULL pointer dereference'
	vm "a CPU that spins" fast 12 spin_test \
		'0 passed, 2 failed, 0 skipped' 'timed out: the VM was stopped'
	vm "a VM that ends by itself" fast 60 'good_test end_test good_test' \
		'1 passed, 2 failed, 1 skipped' 'VM lost' \
		'failed: end_test: did not come to its end'
	while [ ${#vms[@]} -gt 0 ]; do
		wait_for_vm
	done
}

rm -rf "$work"
mkdir -p "$work"
dir=$work/made-up

results_of_tests
lost_lines
consoles
verdicts
bad_list "a pattern that is none" $'BUG\n(\n'
bad_list "a list without patterns" $'# nothing\n'
sums
crashes
say "    rig: logs that are made up: $SECONDS s"
for kind in fast debug; do
	[ ! -e "$build/$kind/arch/x86/boot/bzImage" ] ||
		logged "rig-programs-$kind" make_programs "$kind"
done
troubles
say "    rig: $SECONDS s"

say "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
