#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs the kselftests in a VM, from an initramfs of its own.
#
# KIND=fast|debug|off is the kernel, TESTS="a_test b_test" picks some, FS=ext4,
# xfs, btrfs, tmpfs or overlay (on ext4) is where the backing files lie. OPS= is how
# many operations data_test makes, INPUTS= how many fuzz_test sends, SEED= makes
# both repeat a run. RACE_ROUNDS= and RACE_SECONDS= are the bounds of each test that
# races. KERNEL=bzImage boots another kernel, with the modules of MODULES_DIR=dir.
# Ends with the counts.
#
# For the rig's own tests, INSTALL=dir has other programs, TIMEOUT= seconds for each.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/qemu.sh"

kind=${KIND:-debug}
fs=${FS:-ext4}
ops=${OPS:-}
inputs=${INPUTS:-}
seed=${SEED:-$((RANDOM * 32768 + RANDOM))}
race_rounds=${RACE_ROUNDS:-}
race_seconds=${RACE_SECONDS:-}
# data_test and fuzz_test are slowest, and give up earlier; a program has up to 40
# races
timeout=$((${ops:-0} / 5 + ${inputs:-0} / 10 + ${race_seconds:-0} * 40 + 600))
timeout=${TIMEOUT:-$timeout}
limit=${LIMIT:-$((timeout + 1800))}
kernel=${KERNEL:-$build/$kind/arch/x86/boot/bzImage}
work=${WORK:-$build/kselftest-$kind-$fs}
case $fs in
ext4 | xfs | btrfs | tmpfs | overlay) ;;
*) die "FS is '$fs', but has to be ext4, xfs, btrfs, tmpfs or overlay" ;;
esac
[ -e "$kernel" ] ||
	die "there is no kernel $kernel; run 'make kernel KIND=$kind'"

# KCSAN's reports are warnings, and most are of other code (see kcsan.sh)
[ "$kind" != kcsan ] || APPEND="${APPEND:-} panic_on_warn=0"

make_disk()
{
	local image=$work/$1.img

	[ ! -e "$image" ] || rm "$image"
	truncate -s "$2" "$image"
	shift 2
	"$@" "$image"
}

install_programs()
{
	if [ -n "${INSTALL:-}" ]; then
		cp -r "$INSTALL" "$work/install"
	else
		install_selftests "$work/install"
	fi
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
logged "selftests-$kind-$fs" install_programs
# For results.sh to compare with
list_programs "$work/install" >"$work/programs"
logged "disks-$kind-$fs" make_disks

make_root "$work/root" "$top/scripts/init/kselftest"
# kselftest's runner wants coreutils' timeout, by this path
add_binary "$work/root" /usr/bin/timeout
mkdir -p "$work/root/usr/bin"
mv "$work/root/bin/timeout" "$work/root/usr/bin/timeout"
# error_test makes file systems of its own
add_binary "$work/root" /usr/sbin/mkfs.ext4
if [ -n "${MODULES_DIR:-}" ]; then
	mkdir -p "$work/root/lib"
	cp -r "$MODULES_DIR" "$work/root/lib/modules"
fi
cp -r "$work/install" "$work/root/kselftest"
say "timeout=$timeout" >"$work/root/kselftest/filesystems/fuse/settings"
{
	say "export FUSE_TEST_DIR=/mnt/$fs/fuse-test"
	say "export FUSE_TEST_FREEZE=1"
	[ "$kind" != off ] || say "export FUSE_TEST_WITHOUT_FEATURE=1"
	[ -z "$ops" ] || say "export FUSE_DATA_OPS=$ops"
	say "export FUSE_DATA_SEED=$seed"
	[ -z "$race_rounds" ] || say "export FUSE_RACE_ROUNDS=$race_rounds"
	[ -z "$race_seconds" ] || say "export FUSE_RACE_SECONDS=$race_seconds"
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
	-chardev "file,id=gcov,path=$work/gcov.tar" \
	-device virtserialport,chardev=gcov,name=gcov \
	"${disks[@]}" </dev/null || status=$?
say "    VM: $qemu_accel, $qemu_cpus CPUs, $fs, $kind kernel," \
	"$((SECONDS - start)) s"

"$top/scripts/results.sh" "kselftest-$kind-$fs" "$work" "$status"
