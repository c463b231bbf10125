#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Has FUSE servers that know nothing of passthrough changed with the series? Real
# ones are used in the same way on the patched kernel and on the base, each in a VM.
# What comes of each system call must be the same, and all requests that the
# server gets, with their arguments.
#
# SERVERS="bindfs fuse2fs" picks some, KIND=debug another patched kernel. The last
# line has the counts.

. "$(dirname "$0")/lib.sh"

work=$build/plain
kind=${KIND:-fast}
read -r -a servers <<<"${SERVERS:-bindfs fuse2fs fuse-overlayfs mergerfs mergerfs-writeback}"
passed=0
failed=0

for tool in bindfs fuse2fs fuse-overlayfs mergerfs python3 debugfs; do
	command -v $tool >/dev/null ||
		die "$tool is not installed; run 'make deps'"
done
[ -e "$linux/.git" ] || die "there is no build/linux; run 'make tree'"
[ -e "$build/$kind/arch/x86/boot/bzImage" ] ||
	die "there is no $kind kernel; run 'make kernel KIND=$kind'"

failure()
{
	failed=$((failed + 1))
	say "    plain: failed: $*"
}

make_tap()
{
	make -s -C "$linux" O="$build/selftests" headers_install || return
	gcc -O1 -g -Wall -Wextra -Wno-missing-field-initializers -fPIC -shared \
		-isystem "$build/selftests/usr/include" \
		-o "$work/tap.so" "$top/scripts/plain/tap.c" -ldl
}

# The same for both, as far as the order of names in a directory
make_disk()
{
	mkdir -p "$work/disk/fuse2fs"
	truncate -s 64M "$work/disk/fuse2fs/image"
	mkfs.ext4 -q -F "$work/disk/fuse2fs/image" || return
	truncate -s 512M "$work/base.img"
	mkfs.ext4 -q -F -d "$work/disk" "$work/base.img" || return
	cp --sparse=always "$work/base.img" "$work/$kind.img"
}

# run_vm KIND: leaves what it finds in $work/KIND
run_vm()
{
	local args=("$top/scripts/plain/run" "$work/tap.so" /dev/vda
		    "${servers[@]}") status=0

	CONSOLE=$work/$1.console KIND=$1 LIMIT=${LIMIT:-600} \
		QEMU_ARGS="-drive file=$work/$1.img,if=virtio,format=raw,cache=unsafe ${QEMU_ARGS:-}" \
		"$top/scripts/vm.sh" "${args[*]@Q}" >"$work/$1.out" 2>&1 ||
		status=$?
	mkdir -p "$work/$1"
	debugfs -R "rdump /out $work/$1" "$work/$1.img" >"$work/$1.dump" 2>&1 ||
		status=1
	return $status
}

# check_vm KIND STATUS
check_vm()
{
	local bad

	sed "s/\\r\$//; s/^    /    $1: /" "$work/$1.out"
	[ "$2" = 0 ] || failure "the VM with the $1 kernel, status $2"
	if [ ! -s "$work/$1.console" ]; then
		failure "log unreadable: $work/$1.console"
		return
	fi
	bad=$(bad_lines "$work/$1.console")
	[ -z "$bad" ] || {
		failure "bad lines in $work/$1.console:"
		printf '%s\n' "$bad" | sed 's/^/    | /'
	}
}

# compare SERVER WHAT [FILTER]: of the base and of the patched kernel
compare()
{
	local base=$work/base/out/$1.$2 new=$work/$kind/out/$1.$2
	local filter=${3:-cat}

	if [ ! -s "$base" ] || [ ! -s "$new" ]; then
		failure "$1: there are no $2 to compare"
	elif ! diff -u --label "the base's $2" --label "the series' $2" \
		<($filter <"$base") <($filter <"$new") >"$work/diff"; then
		failure "$1: the $2 differ, see $base and $new:"
		head -n 25 "$work/diff" | sed 's/^/    | /'
	else
		passed=$((passed + 1))
		say "    $1: $(wc -l <"$base") lines of $2, the same"
	fi
}

# The one thing that is new for everybody: passthrough is offered. And the one
# that differs from run to run on the same kernel.
usual()
{
	sed '/^INIT /s/ and passthrough$//' | "$top/scripts/plain/written-back.py"
}

check_offer()
{
	if grep -q '^INIT .* and passthrough$' "$work/base/out/$1.requests"; then
		failure "$1: the base offers passthrough"
	elif ! grep -q '^INIT .* and passthrough$' \
		"$work/$kind/out/$1.requests"; then
		failure "$1: the series does not offer passthrough"
	fi 2>/dev/null
}

rm -rf "$work"
mkdir -p "$work"
logged plain-tap make_tap
logged plain-disk make_disk

start=$SECONDS
base_status=0
status=0
if [ "$jobs" -gt 1 ]; then
	run_vm base &
	run_vm "$kind" || status=$?
	wait $! || base_status=$?
else
	run_vm base || base_status=$?
	run_vm "$kind" || status=$?
fi
check_vm base $base_status
check_vm "$kind" $status
for server in "${servers[@]}"; do
	check_offer "$server"
	compare "$server" requests usual
	compare "$server" results
done
rm -f "$work"/*.img
say "    VMs: $((SECONDS - start)) s"

say "$passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
