# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Starting QEMU, for the scripts that boot a kernel. To be sourced after lib.sh.
#
# shellcheck disable=SC2154  # set by lib.sh and by the script

qemu_cpus=${SMP:-2}
qemu_mem=${MEM:-2G}

# A kernel may find /dev/kvm and yet never get past the firmware in it, so it
# counts only if a trial boot does. Remembered in build/kvm.
qemu_accel()
{
	local kernel=$1 trial=$build/kvm

	if [ ! -e "$trial" ]; then
		say tcg >"$trial"
		if [ -w /dev/kvm ] && timeout 15 qemu-system-x86_64 \
			-accel kvm -m 256M -kernel "$kernel" -append \
			'console=ttyS0 panic=-1 reboot=t root=none' \
			-no-reboot -display none -nic none -monitor none \
			-serial "file:$trial.log" </dev/null >/dev/null 2>&1
		then
			! grep -q 'Kernel panic' "$trial.log" || say kvm >"$trial"
		fi
	fi

	case $(cat "$trial") in
	kvm) qemu_accel="kvm" ;;
	*) qemu_accel="tcg,thread=multi" ;;
	esac
}

# ACPI's interpreter takes minutes under emulation with KASAN, so that the CPUs
# come from SeaBIOS' MP table, which has one for each socket. A panic ends QEMU.
qemu_append="acpi=off reboot=t panic=-1 oops=panic panic_on_warn=1"
qemu_append+=" softlockup_panic=1 hung_task_panic=1 rcupdate.rcu_cpu_stall_suppress=0"
qemu_append+=" console=ttyS0 loglevel=7"

# QEMU 7.2 was seen to crash (SIGSEGV, at an address of 0xa0) while the guest's
# kernel set up PCI on two emulated CPUs. Of the guest's programs none ran then.
qemu_crashed_in_boot()
{
	case $1 in
	134 | 139) ;; # SIGABRT, SIGSEGV
	*) return 1 ;;
	esac
	! grep -q -a 'Run /init as init process' "$qemu_console"
}

# qemu_run KERNEL INITRAMFS LIMIT ARGS...: runs it to its end; 0 if it ended by
# itself, 124 if it was stopped after LIMIT seconds. The console goes to
# $qemu_console; $qemu_trash is removed if this is interrupted.
qemu_run()
{
	local status=0

	qemu_once "$@" || status=$?
	if qemu_crashed_in_boot $status; then
		warn "QEMU crashed with status $status before the guest's init" \
			"ran; it is started once more"
		status=0
		qemu_once "$@" || status=$?
	fi
	return $status
}

qemu_once()
{
	local kernel=$1 initramfs=$2 limit=$3 pid status=0

	shift 3
	qemu_accel "$kernel"
	timeout --foreground -k 5 "$limit" qemu-system-x86_64 \
		-accel "$qemu_accel" -m "$qemu_mem" \
		-smp "$qemu_cpus,sockets=$qemu_cpus,cores=1,threads=1" \
		-kernel "$kernel" -initrd "$initramfs" \
		-append "$qemu_append ${APPEND:-}" \
		-no-reboot -display none -nic none -monitor none \
		-serial "file:$qemu_console" -device virtio-serial-pci "$@" &
	pid=$!
	# shellcheck disable=SC2064  # this very process
	trap "kill $pid 2>/dev/null; wait $pid 2>/dev/null
		rm -rf ${qemu_trash:-}" EXIT
	trap 'exit 130' INT TERM
	wait $pid || status=$?
	trap - EXIT INT TERM

	return $status
}

# add_binary ROOT FILE...: copies programs with the libraries that they need
add_binary()
{
	local root=$1 file lib

	shift
	for file; do
		[ -x "$file" ] || die "$file is needed in the VM, but not here"
		cp "$file" "$root/bin/"
		for lib in $(ldd "$file" 2>/dev/null | grep -o '/[^ ]*'); do
			mkdir -p "$root/$(dirname "$lib")"
			cp -L "$lib" "$root/$lib"
		done
	done
}

# make_root ROOT INIT: the common part of an initramfs
make_root()
{
	local root=$1

	rm -rf "$root"
	mkdir -p "$root"/{bin,dev,proc,sys,tmp,mnt,run,etc}
	cp /bin/busybox "$root/bin/busybox"
	cp "$top/scripts/init/common" "$top/scripts/init/leaks" "$root/"
	cp "$2" "$root/init"
	chmod +x "$root/init"
}

pack_root()
{
	(cd "$1" && find . | cpio -o -H newc --quiet | gzip -1) >"$1.gz"
}
