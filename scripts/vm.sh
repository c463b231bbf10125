#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Boots a kernel with the files of this machine, read-only, and a tmpfs over
# them.
#
# vm.sh COMMAND: runs it as root and returns its exit status
# vm.sh: a shell
#
# KERNEL=bzImage boots another kernel, KIND=debug the rig's debug kernel. SMP=,
# MEM= and QEMU_ARGS= are passed on, LIMIT= is in seconds. CONSOLE=file keeps
# the kernel's messages.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/qemu.sh"

kernel=${KERNEL:-$build/${KIND:-fast}/arch/x86/boot/bzImage}
[ -e "$kernel" ] || die "there is no kernel $kernel; run 'make kernel'"

work=$(mktemp -d "$build/vm.XXXXXX")
qemu_console=${CONSOLE:-$work/console}
qemu_trash=$work
export qemu_console qemu_trash

make_root "$work/root" "$top/scripts/init/vm"
{
	say "cd $(printf %q "$PWD") 2>/dev/null || cd /"
	if [ $# -gt 0 ]; then
		# Lines of the command, not of a terminal
		say "stty -opost -echo 2>/dev/null"
		say "$*"
	else
		say "echo 'Linux '\$(uname -r)'; leave with exit'"
		say "exec bash -i"
	fi
} >"$work/root/run.sh"
pack_root "$work/root"

args=()
if [ $# -gt 0 ]; then
	exec 3</dev/null
else
	exec 3<&0
	saved_tty=$(stty -g 2>/dev/null || true)
	stty raw -echo 2>/dev/null || true
fi
# shellcheck disable=SC2206  # words
args+=(${QEMU_ARGS:-})

status=0
qemu_run "$kernel" "$work/root.gz" "${LIMIT:-86400}" \
	-chardev stdio,id=hvc,signal=off -device virtconsole,chardev=hvc \
	-chardev "file,id=verdict,path=$work/verdict" \
	-device virtserialport,chardev=verdict,name=verdict \
	-fsdev local,id=root,path=/,security_model=none,readonly=on,multidevs=remap \
	-device virtio-9p-pci,fsdev=root,mount_tag=root \
	"${args[@]}" <&3 || status=$?
[ -z "${saved_tty:-}" ] || stty "$saved_tty"

# A VM that did not end after its last word has failed, too
verdict=$(cat "$work/verdict" 2>/dev/null || true)
if [ $status != 0 ] || ! [[ $verdict =~ ^[0-9]+$ ]]; then
	tail -n 15 "$qemu_console" | tr -d '\r' | sed 's/^/    | /' >&2
	rm -rf "$work"
	[ $status != 124 ] || die "timed out after $LIMIT s"
	[ $status = 0 ] || die "VM lost: QEMU's exit status $status (see above)"
	die "VM lost: ${verdict:-it ended without an exit status} (see above)"
fi
rm -rf "$work"
exit "$verdict"
