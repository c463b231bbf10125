#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Everything from nothing: lint, builds, and every test in a VM. The last line is
# the verdict.

. "$(dirname "$0")/lib.sh"

passed=0
failed=0
skipped=0
started=$SECONDS

phase()
{
	say "== $1 ($((SECONDS - started)) s)"
}

# test_step COMMAND...: prints, and counts
test_step()
{
	local out=$build/check.out status=0

	"$@" 2>&1 | tee "$out" || status=$?
	add_verdict "$out" $status
}

# How many inputs the fuzzer sends, and for how long each race goes on
declare -A inputs=([debug]=50000 [fast]=5000 [off]=0)
declare -A seconds=([debug]=2 [fast]=1 [off]=1)

# run_vms 'KIND FS OPS TESTS'...: the kselftests in as many VMs, some at a time
run_vms()
{
	local vm kind fs ops tests

	for vm; do
		read -r kind fs ops tests <<<"$vm"
		start_vm "$build/check.$kind-$fs.out" env KIND="$kind" FS="$fs" \
			OPS="$ops" TESTS="$tests" INPUTS="${inputs[$kind]}" \
			RACE_SECONDS="${seconds[$kind]}" \
			"$top/scripts/kselftest.sh"
	done
	wait_for_vms
}

# step WHAT COMMAND...: passes or fails as a whole
step()
{
	local what=$1

	shift
	if "$@"; then
		passed=$((passed + 1))
	else
		note_failure "$what"
	fi
}

verdict()
{
	[ -z "$failures" ] || printf '== what failed\n%s' "$failures"
	say "$passed passed, $failed failed, $skipped skipped"
	[ "$failed" = 0 ] || exit 1
	exit 0
}

# shellcheck disable=SC2317  # called by step
# The series is the one source: what is made of it gives it back
round_trip()
{
	local before after

	before=$(series_sums)
	"$top/scripts/save.sh" || return
	after=$(series_sums)
	[ "$before" = "$after" ] || {
		diff <(printf '%s\n' "$before") <(printf '%s\n' "$after")
		return 1
	}
}

phase "1/6 packages"
"$top/scripts/deps.sh" check programs

phase "2/6 the tree, there and back"
"$top/scripts/tree.sh"
step "make tree && make save changes files" round_trip
step "make tree does something when run again" \
	grep -q 'up to date' <("$top/scripts/tree.sh")

phase "3/6 lint"
test_step "$top/scripts/lint.sh"

phase "4/6 kernels: debug, fast, without the feature"
for kind in debug fast off; do
	step "the $kind kernel" "$top/scripts/kernel.sh" "$kind"
done

phase "5/6 the rig itself, and the kselftests"
test_step "$top/scripts/rig-test.sh"
# The file system that most use on the kernel that sees most; each of the others
# with all the tests on the fast kernel, and with the data checker on both
run_vms "debug ext4 5000" \
	"fast xfs 20000" "fast btrfs 20000" "fast tmpfs 20000" \
	"fast overlay 20000" "fast ext4 20000 data_test" \
	"debug xfs 5000 data_test" "debug btrfs 5000 data_test" \
	"debug tmpfs 5000 data_test" "debug overlay 5000 data_test stack_test" \
	"off ext4 0 without_feature_test plain_test"

phase "6/6 real programs"
KIND=fast test_step "$top/scripts/programs.sh"

say "== done ($((SECONDS - started)) s)"
verdict
