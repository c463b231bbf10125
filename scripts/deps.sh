#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# deps.sh [GROUP...]: installs the Debian packages that the rig needs and that are
# missing: what every command needs, and what the groups do (check, programs, plain,
# series; all).

. "$(dirname "$0")/lib.sh"

# gcc-multilib itself cannot be installed beside a cross compiler
packages=(
	bc bison ccache flex libelf-dev libssl-dev cpio kmod rsync xz-utils
	python3 gcc-12-multilib
	qemu-system-x86 busybox-static e2fsprogs xfsprogs btrfs-progs
	perl git
)
check=(
	sparse coccinelle ocaml-nox shellcheck codespell python3-ply python3-git
	man-db groff mandoc python3-sphinx
)
programs=(sqlite3 tar make gcc fio)
plain=(bindfs fuse2fs fuse-overlayfs mergerfs)
series=(build-essential fakeroot gcc-aarch64-linux-gnu gcc-arm-linux-gnueabi)

for group; do
	case $group in
	check) packages+=("${check[@]}") ;;
	programs) packages+=("${programs[@]}") ;;
	plain) packages+=("${plain[@]}") ;;
	series) packages+=("${check[@]}" "${series[@]}") ;;
	all)
		packages+=("${check[@]}" "${programs[@]}" "${plain[@]}"
			   "${series[@]}")
		;;
	*) die "'$group' is no group of packages" ;;
	esac
done

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
