#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Installs the Debian packages that the rig needs and that are missing.

. "$(dirname "$0")/lib.sh"

packages=(
	bc bison flex libelf-dev libssl-dev cpio kmod rsync xz-utils python3
	build-essential fakeroot
	gcc-multilib gcc-aarch64-linux-gnu gcc-arm-linux-gnueabi
	qemu-system-x86 busybox-static e2fsprogs xfsprogs btrfs-progs
	sparse coccinelle ocaml-nox shellcheck codespell python3-ply python3-git
	perl man-db groff mandoc python3-sphinx
	git sqlite3 tar make gcc fio
	bindfs fuse2fs fuse-overlayfs mergerfs
)

missing=()
for package in "${packages[@]}"; do
	status=$(dpkg-query -W -f '${db:Status-Status}' "$package" \
		 2>/dev/null || true)
	[ "$status" = installed ] || missing+=("$package")
done

if [ ${#missing[@]} -eq 0 ]; then
	say "    all packages are installed"
	exit 0
fi

as_root=()
if [ "$(id -u)" != 0 ]; then
	if ! sudo -n true 2>/dev/null; then
		die "not root, and sudo wants a password. As root, run:" \
			"apt-get update && apt-get install ${missing[*]}"
	fi
	as_root=(sudo)
fi

say "    installing: ${missing[*]}"
logged apt-update "${as_root[@]}" apt-get update
logged apt-install "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
	apt-get install -y --no-install-recommends "${missing[@]}"
