#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Measures what passthrough costs, in VMs, against the same operations on the
# backing file system itself and against plain FUSE. Ends with a line for each
# bar that the figures are held to, and the counts.
#
# PEER=1 measures mainline's 6.12 beside it. KIND= or KERNEL= is the kernel.
# PARTS="instructions scaling fio" picks some; the other figures stay as they
# were measured before. FS="tmpfs ext4" and OPS="pread-4k" pick from the part
# 'instructions', CELLS=regex from that of fio, whose cells are
#   FS buffered|direct ENGINE RW BS JOBS
# QUICK=1 takes a few of the cells. ROUNDS= is how often a cell is measured, and
# FIO_MS= how long. NO_PLAIN=1 leaves plain FUSE out of fio. SCALE_MAX= is the
# greatest number of ids and files.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/qemu.sh"

here=$top/scripts/bench
kind=${KIND:-fast}
work=$build/bench
peer_kernel=$build/peer/fast/arch/x86/boot/bzImage
read -r -a parts <<<"${PARTS:-instructions scaling fio}"
kernel=${KERNEL:-$build/$kind/arch/x86/boot/bzImage}
# Those that differ if the server does not ask for FUSE_HANDLE_KILLPRIV_V2
killpriv_ops="pwrite-1 pwrite-4k pwrite-64k"
quick='^(tmpfs|ext4) (buffered|direct) (psync|io_uring) (read|randwrite) 4k|'
quick+='^tmpfs buffered psync write 4k|^xfs buffered mmap randread 4k 1$'

for part in "${parts[@]}"; do
	case $part in
	instructions | scaling | fio) ;;
	*) die "unknown part '$part'; there are: instructions scaling fio" ;;
	esac
done
[ -e "$kernel" ] ||
	die "there is no kernel $kernel; run 'make kernel KIND=$kind'"
for tool in fio python3 mkfs.ext4 mkfs.xfs; do
	command -v $tool >/dev/null ||
		die "$tool is not installed; run 'make deps'"
done

# Guest time counts instructions, on one CPU. It is the same on a busy machine.
icount()
{
	# shellcheck disable=SC2317  # called by qemu_run
	qemu_accel()
	{
		qemu_accel="tcg,thread=single"
	}
	qemu_cpus=1
	qemu_more=(-icount "shift=0,sleep=off")
}

make_programs()
{
	local fuse=$top/tools/testing/selftests/filesystems/fuse

	install_selftests "$work/install" || return
	gcc -static -O2 -Wall -Wextra -I "$build/selftests/usr/include" \
		"$here/ops.c" -o "$work/ops" || return
	gcc -static -O2 -Wall -Wextra -I "$build/selftests/usr/include" \
		-I "$fuse" "$here/scale.c" "$fuse/fuse_server.c" -lpthread \
		-o "$work/scale"
}

make_disk()
{
	local image=$work/$1.img

	rm -f "$image"
	truncate -s "$2" "$image"
	shift 2
	"$@" "$image"
}

make_disks()
{
	make_disk ext4 64M mkfs.ext4 -q -F || return
	make_disk xfs 300M mkfs.xfs -q -f
}

# All that fit together: tmpfs has no direct I/O, and neither has mmap.
cells()
{
	local fs how engine rw bs jobs

	for fs in tmpfs ext4 xfs; do
	for how in buffered direct; do
	for engine in psync libaio io_uring mmap; do
	for rw in read write randread randwrite; do
	for bs in 4k 1m; do
	for jobs in 1 same different; do
		case $fs,$how,$engine in
		tmpfs,direct,* | *,direct,mmap) continue ;;
		esac
		say "$fs $how $engine $rw $bs $jobs"
	done
	done
	done
	done
	done
	done
}

# Of those, the ones that OPS= has
no_killpriv_ops()
{
	local op

	for op in $killpriv_ops; do
		case " ${OPS:-$killpriv_ops} " in
		*" $op "*) say "$op" ;;
		esac
	done
}

# Cells that are short of their bar are measured again, with more rounds: what
# counts is the median of all.
cells_again()
{
	"$here/report.py" short-cells "$work" "$1"
}

choose_cells()
{
	local regex=${CELLS:-.}

	[ -z "${QUICK:-}" ] || regex=${CELLS:-$quick}
	cells | grep -E -- "$regex" >"$work/cells" ||
		die "CELLS is '$regex', which none of these cells match:" \
			"$(cells | head -n 3 | tr '\n' ',') ..."
}

# vm NAME PART KERNEL: the figures go to build/bench/NAME-PART.log
vm()
{
	local name=$1 part=$2 kernel=$3 status=0 start=$SECONDS verdict
	local log=$work/$name-$part.log

	rm -f "$work/log" "$work/verdict"
	make_root "$work/root" "$top/scripts/init/bench"
	cp "$work/install/filesystems/fuse/mirror_server" "$work/ops" \
		"$work/scale" "$work/root/bin/"
	if [ "$part" = fio ]; then
		add_binary "$work/root" "$(command -v fio)"
		cp "$work/cells" "$work/root/cells"
	fi
	{
		say "PART=$part"
		say "FSES='$fses'"
		say "OPS='${OPS:-}'"
		say "NO_KILLPRIV_OPS='$(no_killpriv_ops)'"
		say "SCALE_MAX=${SCALE_MAX:-100000}"
		say "ROUNDS=${rounds:-}"
		say "FIO_MS=${FIO_MS:-100}"
		say "NO_PLAIN=$no_plain"
	} >"$work/root/run.conf"
	pack_root "$work/root"

	qemu_console=$work/$name-$part.console
	export qemu_console
	qemu_run "$kernel" "$work/root.gz" "${LIMIT:-7200}" \
		-chardev "file,id=log,path=$work/log" \
		-device virtserialport,chardev=log,name=log \
		-chardev "file,id=verdict,path=$work/verdict" \
		-device virtserialport,chardev=verdict,name=verdict \
		-drive "file=$work/ext4.img,if=virtio,format=raw,readonly=on" \
		-drive "file=$work/xfs.img,if=virtio,format=raw,readonly=on" \
		"${qemu_more[@]}" </dev/null || status=$?

	verdict=$(cat "$work/verdict" 2>/dev/null || true)
	case $status,$verdict in
	0,done) ;;
	124,*) die "$name, $part: timed out after ${LIMIT:-7200} s" ;;
	*,)
		tail -n 15 "$qemu_console" | sed 's/^/    | /' >&2
		die "$name, $part: VM lost, see $qemu_console"
		;;
	*)
		grep -a ^failed "$work/log" | sed 's/^failed/    |/' >&2
		die "$name, $part: failed, see above and $qemu_console"
		;;
	esac
	cat "$work/log" >>"$log"
	say "    $name, $part: $((SECONDS - start)) s"
}

measure()
{
	local name=$1 part=$2 kernel=$3 no_plain=${NO_PLAIN:-} i

	qemu_more=()
	rm -f "$work/$name-$part.log"
	case $part in
	instructions)
		fses=${FS:-tmpfs ext4}
		icount
		;;
	scaling)
		fses='tmpfs ext4'
		icount
		;;
	fio)
		# Of mainline, only its passthrough is compared
		[ "$name" = series ] || no_plain=1
		fses='tmpfs ext4 xfs'
		rounds=${ROUNDS:-5}
		[ -z "${QUICK:-}" ] || rounds=${ROUNDS:-3}
		choose_cells
		;;
	esac
	vm "$name" "$part" "$kernel"

	[ "$part,$name" = fio,series ] || return 0
	for i in 2 4; do
		cells_again "$name" >"$work/cells"
		[ -s "$work/cells" ] || return 0
		say "    $(wc -l <"$work/cells") cells are short of their" \
			"bar and are measured again"
		rounds=$((${ROUNDS:-5} * i))
		vm "$name" "$part" "$kernel"
	done
}

base=$(tree_git show -s --format=%s base 2>/dev/null || true)
mkdir -p "$work"
[ -z "${PEER:-}" ] || "$here/peer.sh"
logged bench-programs make_programs
logged bench-disks make_disks

for part in "${parts[@]}"; do
	(measure series "$part" "$kernel")
	[ -z "${PEER:-}" ] || (measure peer "$part" "$peer_kernel")
done

"$here/report.py" report "$work" "${base##* }"
