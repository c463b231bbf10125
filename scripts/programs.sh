#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs real programs over the mirror server with passthrough on ext4, in a VM
# with this machine's files, and on the plain ext4, and compares.
#
# PROGRAMS="git tar" picks some, KERNEL=bzImage or KIND=debug another kernel.
# Ends with the counts; only PASS passes.

. "$(dirname "$0")/lib.sh"

kind=${KIND:-fast}
here=$top/scripts/programs
read -r -a programs <<<"${PROGRAMS:-git sqlite3 tar make fio}"
work=$build/programs
trees=(Documentation/filesystems fs/ext4 fs/fuse fs/overlayfs fs/9p)

for program in "${programs[@]}"; do
	case $program in
	run) ;;
	*) [ ! -e "$here/$program" ] || continue ;;
	esac
	die "unknown program '$program'; there are:" \
		"$(cd "$here" && echo * | sed 's/ run//')"
done
for tool in git sqlite3 tar make fio gcc python3 mkfs.ext4; do
	command -v $tool >/dev/null ||
		die "$tool is not installed; run 'make deps'"
done
[ -e "$linux/.git" ] || die "there is no build/linux; run 'make tree'"

make_disk()
{
	mkdir -p "$work/disk/input"
	tar -C "$linux" -c "${trees[@]}" | tar -C "$work/disk/input" -x ||
		return
	rm -f "$work/disk.img"
	truncate -s 1G "$work/disk.img"
	mkfs.ext4 -q -F -d "$work/disk" "$work/disk.img" || return
	rm -rf "$work/disk"
}

passed=0
failed=0

failure()
{
	failed=$((failed + 1))
	say "    programs: $*"
}

run_vm()
{
	local args=("$here/run" "$work/install/filesystems/fuse/mirror_server" /dev/vda
		    "${programs[@]}")

	CONSOLE=$work/console.log KIND=$kind LIMIT=${LIMIT:-1500} \
		QEMU_ARGS="-drive file=$work/disk.img,if=virtio,format=raw,cache=unsafe ${QEMU_ARGS:-}" \
		"$top/scripts/vm.sh" "${args[*]@Q}"
}

# Each program has one line, whatever it came to
count_results()
{
	local line

	while IFS= read -r line; do
		case $line in
		'    PASS '*) passed=$((passed + 1)) ;;
		'    FAIL'*) failed=$((failed + 1)) ;;
		esac
	done <"$work/test.log"

	[ $((passed + failed)) -ge ${#programs[@]} ] ||
		failure "not all of them came to their end"
}

check_console()
{
	local bad

	[ -s "$work/console.log" ] || {
		failure "log unreadable: $work/console.log"
		return
	}
	bad=$(bad_lines "$work/console.log")
	[ -z "$bad" ] || {
		failure "the console log has bad lines, see $work/console.log:"
		printf '%s\n' "$bad" | sed 's/^/    | /'
	}
}

# Of a VM that was lost it says nothing, since the journal was not replayed.
check_disk()
{
	if dumpe2fs -h "$work/disk.img" 2>/dev/null | grep -q needs_recovery
	then
		[ "$failed" -gt 0 ] || failure "the disk was not unmounted"
	else
		logged programs-fsck e2fsck -f -n "$work/disk.img" ||
			failure "the disk has errors"
	fi
}

rm -rf "$work/test.log" "$work/console.log"
mkdir -p "$work"
logged programs-server install_selftests "$work/install"
logged programs-disk make_disk

start=$SECONDS
status=0
run_vm 2>&1 | sed -u 's/\r$//' | tee "$work/test.log" || status=$?
count_results
[ "$status" = 0 ] || [ "$failed" -gt 0 ] || failure "exit status $status"
check_console
check_disk
rm -f "$work/disk.img"
say "    VM: ${KERNEL:-$kind kernel}, $((SECONDS - start)) s"

say "$passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
