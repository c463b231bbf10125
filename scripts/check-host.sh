#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs the kselftests on the running kernel, natively, as a statement of what it
# does. FUSE_TEST_DIR= says where the backing files lie.

. "$(dirname "$0")/lib.sh"

work=$build/check-host
[ "$(id -u)" = 0 ] || die "the tests mount file systems: run it as root"
[ -c /dev/fuse ] || die "there is no /dev/fuse; try modprobe fuse"

say "== 1/3 packages and tree"
"$top/scripts/deps.sh"
"$top/scripts/tree.sh"

say "== 2/3 building the tests"
rm -rf "$work"
mkdir -p "$work"
logged host-tests install_selftests "$work/install"

args=()
for t in ${TESTS:-}; do
	args+=(-t "filesystems/fuse:$t")
done

list_programs "$work/install" >"$work/programs"

say "== 3/3 running them on Linux $(uname -r)"
# A pipe, because the runner opens /dev/stdout again, at offset 0
(cd "$work/install" && ./run_kselftest.sh "${args[@]}" 2>&1 </dev/null) |
	cat >"$work/test.log" || true
"$top/scripts/results.sh" "host" "$work" host
