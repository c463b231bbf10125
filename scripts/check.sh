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

# test_step COMMAND...: prints, and counts by its own last line
test_step()
{
	local out=$build/check.out last

	"$@" 2>&1 | tee "$out" || true
	last=$(tail -n 1 "$out")
	if [[ $last =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed,\ ([0-9]+)\ skipped$ ]]
	then
		passed=$((passed + BASH_REMATCH[1]))
		failed=$((failed + BASH_REMATCH[2]))
		skipped=$((skipped + BASH_REMATCH[3]))
	else
		failed=$((failed + 1))
		say "    failed: $* did not come to its end"
	fi
}

# step WHAT COMMAND...: passes or fails as a whole
step()
{
	local what=$1

	shift
	if "$@"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		say "    failed: $what"
	fi
}

verdict()
{
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

phase "1/7 packages"
"$top/scripts/deps.sh"

phase "2/7 the tree, there and back"
"$top/scripts/tree.sh"
step "make tree && make save changes files" round_trip
step "make tree does something when run again" \
	grep -q 'up to date' <("$top/scripts/tree.sh")

phase "3/7 lint"
test_step "$top/scripts/lint.sh"

phase "4/7 the debug kernel"
step "the debug kernel" "$top/scripts/kernel.sh" debug
phase "5/7 the kselftests on it"
KIND=debug test_step "$top/scripts/kselftest.sh"

phase "6/7 the kernel without the feature"
step "the kernel without the feature" "$top/scripts/kernel.sh" off
phase "7/7 the ioctls on it"
KIND='off' TESTS="without_feature_test plain_test" \
	test_step "$top/scripts/kselftest.sh"

say "== done ($((SECONDS - started)) s)"
verdict
