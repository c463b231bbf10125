#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The data checker and the fuzzer for long, on the fast and the debug kernel and on
# every backing file system, and the tests that race for long, on the debug kernel
# and on the one with KCSAN. JOBS= VMs run at a time. The last line is the verdict.
#
# OPS_FAST=200000 and OPS_DEBUG=20000 are how many operations the data checker makes
# on each of them, INPUTS_FAST=150000 and INPUTS_DEBUG=50000 how many inputs the
# fuzzer sends; 0 leaves it out. FS="ext4 xfs" picks file systems, SEED= repeats.
# RACE_ROUNDS=100000 and RACE_SECONDS=20 bound each test that races, of which there
# are about 50; they run on the first of the file systems; 0 leaves them out.

. "$(dirname "$0")/lib.sh"

kinds=(fast debug)
declare -A ops=([fast]=${OPS_FAST:-200000} [debug]=${OPS_DEBUG:-20000})
declare -A inputs=([fast]=${INPUTS_FAST:-150000} [debug]=${INPUTS_DEBUG:-50000})
read -r -a filesystems <<<"${FS:-ext4 xfs btrfs tmpfs overlay}"
seed=${SEED:-$((RANDOM * 32768 + RANDOM))}
race_kinds=(debug kcsan)
race_tests='race_test teardown_test backing_fs_test'
race_rounds=${RACE_ROUNDS:-100000}
race_seconds=${RACE_SECONDS:-20}
logs=$build/torture

passed=0
failed=0
skipped=0
started=$SECONDS
number=0

# Kernels that are needed, and the tests that they run on each file system
wanted=()
runs=()
for kind in "${kinds[@]}"; do
	[[ ${ops[$kind]} =~ ^[0-9]+$ ]] ||
		die "'${ops[$kind]}' is no number of operations"
	[[ ${inputs[$kind]} =~ ^[0-9]+$ ]] ||
		die "'${inputs[$kind]}' is no number of inputs"
	[ "${ops[$kind]}" = 0 ] || runs+=("$kind data_test")
	[ "${inputs[$kind]}" = 0 ] || runs+=("$kind fuzz_test")
	[ "${ops[$kind]}${inputs[$kind]}" = 00 ] || wanted+=("$kind")
done
[[ $race_rounds$race_seconds =~ ^[0-9]+$ ]] ||
	die "'$race_rounds' rounds, '$race_seconds' s: not both are numbers"
if [ "$race_rounds" = 0 ] || [ "$race_seconds" = 0 ]; then
	race_kinds=()
fi
# Those of either, each of them once
read -r -a kernels < <(printf '%s\n' "${wanted[@]}" "${race_kinds[@]}" |
	sort -u | xargs)
phases=$((2 + ${#kernels[@]} + ${#runs[@]} * ${#filesystems[@]} +
	${#race_kinds[@]}))

phase()
{
	number=$((number + 1))
	say "== $number/$phases $* ($((SECONDS - started)) s)"
}

# torture KIND FS TESTS: the run's verdict is the last line
torture()
{
	local work=$logs/$1-$2-${3%% *} pid status=0

	KIND=$1 FS=$2 TESTS=$3 OPS=${ops[$1]:-} INPUTS=${inputs[$1]:-} SEED=$seed \
		RACE_ROUNDS=$race_rounds RACE_SECONDS=$race_seconds WORK=$work \
		"$top/scripts/kselftest.sh" >"$work.out" 2>&1 &
	pid=$!
	trap 'kill $pid; exit 143' TERM
	wait $pid || status=$?
	head -n -1 "$work.out"
	# How far it came
	grep -a -E ' (rounds|operations|inputs) in ' "$work/test.log" |
		sed 's/^[# ]*/    /' || true
	[ "$status" != 0 ] || rm -f "$work"/*.img
	tail -n 1 "$work.out"
	return $status
}

rm -rf "$logs"
mkdir -p "$logs"

phase "packages"
"$top/scripts/deps.sh"
phase "the tree"
"$top/scripts/tree.sh"
for kind in "${kernels[@]}"; do
	phase "the $kind kernel"
	"$top/scripts/kernel.sh" "$kind"
done
for run in "${runs[@]}"; do
	read -r kind test <<<"$run"
	amount="${ops[$kind]} operations"
	[ "$test" = data_test ] || amount="${inputs[$kind]} inputs"
	for fs in "${filesystems[@]}"; do
		phase "$amount on $fs, $kind kernel"
		start_vm "$logs/vm-$number" torture "$kind" "$fs" "$test"
	done
done
for kind in "${race_kinds[@]}"; do
	phase "races of $race_rounds rounds or $race_seconds s, $kind kernel"
	start_vm "$logs/vm-$number" torture "$kind" "${filesystems[0]}" \
		"$race_tests"
done
wait_for_vms

say "== done ($((SECONDS - started)) s), SEED=$seed"
[ -z "$failures" ] || printf '== what failed\n%s' "$failures"
say "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
