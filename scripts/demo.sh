#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Everything from nothing: a patched kernel is built and booted, and serves a
# real tree, the kernel's own Documentation/, through passthrough.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/qemu.sh"

work=$build/demo
kernel=$build/fast/arch/x86/boot/bzImage

phase()
{
	say "== $1 ($SECONDS s)"
}

make_disk()
{
	mkdir -p "$work/disk"
	cp -a "$linux/Documentation" "$work/disk/" || return
	truncate -s 1G "$work/disk.img"
	mkfs.ext4 -q -F -d "$work/disk" "$work/disk.img" || return
	rm -rf "$work/disk"
}

phase "1/5 packages"
"$top/scripts/deps.sh"
phase "2/5 the base and the series"
"$top/scripts/tree.sh"
phase "3/5 the kernel"
"$top/scripts/kernel.sh" fast

phase "4/5 the server and a disk with the kernel's Documentation/"
rm -rf "$work"
mkdir -p "$work"
logged demo-server install_selftests "$work/install"
logged demo-disk make_disk
make_root "$work/root" "$top/scripts/init/demo"
mkdir -p "$work/root/src"
cp "$work/install/filesystems/fuse/mirror_server" "$work/root/bin/"
say "MEGABYTES=128" >"$work/root/run.conf"
pack_root "$work/root"

qemu_console=$work/console.log
export qemu_console
status=0
qemu_accel "$kernel"
phase "5/5 the VM ($qemu_accel, $qemu_cpus CPUs)"
touch "$work/test.log"
tail -s 0.2 -f --pid=$$ "$work/test.log" &
tail=$!
qemu_run "$kernel" "$work/root.gz" "${LIMIT:-900}" \
	-chardev "file,id=log,path=$work/test.log" \
	-device virtserialport,chardev=log,name=log \
	-chardev "file,id=verdict,path=$work/verdict" \
	-device virtserialport,chardev=verdict,name=verdict \
	-drive "file=$work/disk.img,if=virtio,format=raw,cache=unsafe" \
	</dev/null || status=$?
sleep 0.5	# of the last lines, too
kill $tail

verdict=$(cat "$work/verdict" 2>/dev/null || true)
case $status,$verdict in
0,done) ;;
124,*) die "timed out: the VM was stopped; see $qemu_console" ;;
*,) die "VM lost: it ended without a verdict; see $qemu_console" ;;
*) die "failed, see above and $qemu_console" ;;
esac
rm -f "$work/disk.img"
say "== demo passed ($SECONDS s)"
