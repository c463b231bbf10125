#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs the kselftests in a VM, from an initramfs of its own.
#
# KIND=fast|debug|off is the kernel, TESTS="a_test b_test" picks some, FS=ext4,
# xfs, btrfs, tmpfs or overlay (on ext4) is where the backing files lie. OPS= is how
# many operations data_test makes, INPUTS= how many fuzz_test sends, SEED= makes
# both repeat a run. Ends with the counts.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/qemu.sh"

kind=${KIND:-debug}
fs=${FS:-ext4}
ops=${OPS:-}
inputs=${INPUTS:-}
seed=${SEED:-$((RANDOM * 32768 + RANDOM))}
# data_test and fuzz_test are slowest, and give up earlier
timeout=$((${ops:-0} / 5 + 600))
[ $((${inputs:-0} / 10 + 600)) -le $timeout ] || timeout=$((inputs / 10 + 600))
limit=${LIMIT:-$((timeout + 1800))}
kernel=$build/$kind/arch/x86/boot/bzImage
work=$build/kselftest-$kind-$fs
case $fs in
ext4 | xfs | btrfs | tmpfs | overlay) ;;
*) die "FS is '$fs', but has to be ext4, xfs, btrfs, tmpfs or overlay" ;;
esac
[ -e "$kernel" ] ||
	die "there is no kernel $kernel; run 'make kernel KIND=$kind'"

make_disk()
{
	local image=$work/$1.img

	[ ! -e "$image" ] || rm "$image"
	truncate -s "$2" "$image"
	shift 2
	"$@" "$image"
}

make_disks()
{
	make_disk ext4 256M mkfs.ext4 -q -F || return
	make_disk xfs 320M mkfs.xfs -q -f || return
	make_disk btrfs 256M mkfs.btrfs -q -f
}

case " ${TESTS:-data_test} " in
*' data_test '*) say "    data_test: SEED=$seed${ops:+ OPS=$ops}" ;;
esac

case " ${TESTS:-fuzz_test} " in
*' fuzz_test '*) say "    fuzz_test: SEED=$seed${inputs:+ INPUTS=$inputs}" ;;
esac

args=()
for t in ${TESTS:-}; do
	args+=(-t "filesystems/fuse:$t")
done

rm -rf "$work"
mkdir -p "$work"
logged "selftests-$kind-$fs" install_selftests "$work/install"
logged "disks-$kind-$fs" make_disks

make_root "$work/root" "$top/scripts/init/kselftest"
# kselftest's runner wants coreutils' timeout, by this path
add_binary "$work/root" /usr/bin/timeout
mkdir -p "$work/root/usr/bin"
mv "$work/root/bin/timeout" "$work/root/usr/bin/timeout"
cp -r "$work/install" "$work/root/kselftest"
say "timeout=$timeout" >"$work/root/kselftest/filesystems/fuse/settings"
{
	say "export FUSE_TEST_DIR=/mnt/$fs/fuse-test"
	[ -z "$ops" ] || say "export FUSE_DATA_OPS=$ops"
	say "export FUSE_DATA_SEED=$seed"
	[ -z "$inputs" ] || say "export FUSE_FUZZ_INPUTS=$inputs"
	say "export FUSE_FUZZ_SEED=$seed"
	say "RIG_ARGS='${args[*]}'"
} >"$work/root/run.conf"
pack_root "$work/root"

qemu_console=$work/console.log
export qemu_console
status=0
start=$SECONDS
disks=()
for image in ext4 xfs btrfs; do
	disks+=(-drive "file=$work/$image.img,if=virtio,format=raw,cache=unsafe")
done
qemu_run "$kernel" "$work/root.gz" "$limit" \
	-chardev "file,id=log,path=$work/test.log" \
	-device virtserialport,chardev=log,name=log \
	-chardev "file,id=verdict,path=$work/verdict" \
	-device virtserialport,chardev=verdict,name=verdict \
	"${disks[@]}" </dev/null || status=$?
say "    VM: $qemu_accel, $qemu_cpus CPUs, $fs, $kind kernel," \
	"$((SECONDS - start)) s"

"$top/scripts/results.sh" "kselftest-$kind-$fs" "$work" "$status"
