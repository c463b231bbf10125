#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Builds mainline's 6.12, as Debian has it, with the configuration of the rig's
# fast kernel, in build/peer. It is only run, to be compared with.

. "$(dirname "$0")/../lib.sh"

package="linux-source-6.12"
peer=$build/peer

fetch()
{
	mkdir -p "$peer/download"
	cd "$peer/download"
	[ -z "$(find . -name "${package}_*.deb")" ] || return 0
	say "    fetching $package"
	apt-get download -q "$package" >"$peer/download/log" 2>&1 ||
		die "cannot download $package:" \
			"$(tail -n 1 "$peer/download/log"); run apt-get" \
			"update, and see that the archive of Debian 12 with" \
			"its security updates is among its sources"
}

unpack()
{
	local deb

	[ ! -e "$peer/linux/Makefile" ] || return 0
	deb=$(find "$peer/download" -name "${package}_*.deb" | head -n 1)
	say "    unpacking $package"
	rm -rf "$peer/linux.new"
	mkdir -p "$peer/linux.new"
	dpkg-deb --fsys-tarfile "$deb" | tar -xO "./usr/src/$package.tar.xz" |
		tar -xJ -C "$peer/linux.new" --strip-components=1
	rm -rf "$peer/linux"
	mv "$peer/linux.new" "$peer/linux"
}

(fetch)
unpack
BUILD=$peer FRAGMENT=$top/scripts/bench/peer.config "$top/scripts/kernel.sh" fast
