#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs the kselftests on a kernel that counts which lines and branches are
# executed, of the files that the series touches. What is not reached has to have
# its reason in coverage-reasons.txt. The last line has the counts; a line that is
# reached, or has a reason, passes.
#
# FS="ext4 tmpfs" picks file systems, TESTS= test programs. AGAIN=1 looks at the
# counts of the last run, without another one.

. "$(dirname "$0")/lib.sh"

read -r -a filesystems <<<"${FS:-ext4}"
work=$build/coverage
obj=$build/cover
failed=0

command -v gcov >/dev/null || die "gcov is not installed; run 'make deps'"

failure()
{
	failed=$((failed + 1))
	say "    coverage: $*"
}

# The tests' own results count, too: lines may have been missed by a failure
run_tests()
{
	local fs=$1 out=$work/$1.out

	KIND=cover FS=$fs OPS=${OPS:-5000} "$top/scripts/kselftest.sh" 2>&1 |
		tee "$out" || failure "the tests on $fs have failed"
}

# counts FS: as JSON. gcov wants what the compiler and what the kernel has
# written side by side.
counts()
{
	local dir=$work/$1 archive=$build/kselftest-cover-$1/gcov.tar file

	rm -rf "$dir"
	mkdir -p "$dir"
	tar -x -C "$dir" --strip-components=$(($(tr -cd / <<<"$obj" | wc -c) + 1)) \
		-f "$archive" || return
	cd "$dir" || return
	find . -name '*.gcda' | while read -r file; do
		ln -s "$obj/${file%.gcda}.gcno" "${file%.gcda}.gcno"
	done
	find . -name '*.gcda' -exec gcov --json-format --stdout \
		--branch-probabilities {} \;
}

mkdir -p "$work"
"$top/scripts/kernel.sh" cover
for fs in "${filesystems[@]}"; do
	[ -n "${AGAIN:-}" ] || run_tests "$fs"
	(counts "$fs") >"$work/$fs.json" 2>"$work/$fs.err" || {
		tail -n 5 "$work/$fs.err" | sed 's/^/    | /'
		die "log unreadable: no counts of the run on $fs"
	}
done

for fs in "${filesystems[@]}"; do
	cat "$work/$fs.json"
done | "$top/scripts/coverage.py" "$linux" "$top/scripts/coverage-reasons.txt" \
	>"$work/report" || true
head -n -1 "$work/report"
[[ $(tail -n 1 "$work/report") =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed,\  ]] ||
	die "coverage.py did not come to its end"
say "${BASH_REMATCH[1]} passed, $((BASH_REMATCH[2] + failed)) failed, 0 skipped"
[ $((BASH_REMATCH[2] + failed)) = 0 ]
