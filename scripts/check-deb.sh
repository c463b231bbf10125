#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Tries what make deb makes: packages of a small kernel with FUSE as a module,
# unpacked to a root of their own; that kernel is booted with the modules of the
# package in its initramfs, and runs the kselftests. TESTS= picks some.

. "$(dirname "$0")/lib.sh"

out=$build/check-deb
root=$out/root
[ -e "$linux/.git" ] || die "there is no build/linux; run 'make tree'"

small_config()
{
	local obj=$out/config.obj

	mkdir -p "$obj"
	make -s -C "$linux" O="$obj" tinyconfig || return
	"$linux/scripts/kconfig/merge_config.sh" -m -O "$obj" "$obj/.config" \
		"$top/scripts/kernel/common.config" \
		"$top/scripts/kernel/fast.config" || return
	"$linux/scripts/config" --file "$obj/.config" -m FUSE_FS -m CUSE \
		-m VIRTIO_FS -e MODULE_UNLOAD || return
	mv "$obj/.config" "$out/small.config"
	rm -rf "$obj"
}

# What the package has to have: a kernel, and the module with passthrough in it
unpack()
{
	local deb release

	deb=$(find "$out" -maxdepth 1 -name 'linux-image-*.deb' ! -name '*-dbg_*')
	if [ "$(grep -c . <<<"$deb")" != 1 ]; then
		say "there is not one linux-image package in $out: '$deb'"
		return 1
	fi
	rm -rf "$root"
	mkdir -p "$root"
	dpkg -x "$deb" "$root" || return
	release=$(basename "$root"/lib/modules/*)
	depmod -b "$root" "$release" || return
	cp "$root/boot/vmlinuz-$release" "$out/bzImage" || return
	case $release in
	*-fuse-passthrough) ;;
	*)
		say "its release is '$release', without the suffix"
		return 1
		;;
	esac
	grep -q fuse_passthrough_refused \
		"$root/lib/modules/$release/kernel/fs/fuse/fuse.ko" || {
		say "fuse.ko of the package has no passthrough"
		return 1
	}
}

mkdir -p "$out"
logged check-deb-config small_config
CONFIG=$out/small.config FRAGMENT='' "$top/scripts/deb.sh" check-deb
logged check-deb-unpack unpack
KIND=deb KERNEL=$out/bzImage MODULES_DIR=$root/lib/modules \
	"$top/scripts/kselftest.sh"
