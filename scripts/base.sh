# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# The versions of the base that the package archive offers. To be sourced after
# lib.sh.
#
# shellcheck disable=SC2154  # set by lib.sh

package="linux-source-6.1"
tarball=$package.tar.xz

# base_versions: all that are on offer, oldest first
base_versions()
{
	local versions

	versions=$(apt-cache madison $package | awk '{ print $3 }' | sort -V -u)
	if [ -z "$versions" ]; then
		die "the package archive offers no $package;" \
			"run apt-get update, and see that the archive of" \
			"Debian 12 is among its sources"
	fi
	say "$versions"
}

known_sum()
{
	awk -v v="$1" '$1 == v { print $2 }' "$top/patches/base"
}

# fetch_base VERSION: leaves the sources in build/download/$tarball, and their
# sha256 in $base_sum
fetch_base()
{
	local version=$1 deb known

	mkdir -p "$build/download"
	cd "$build/download" || exit
	deb=$(find . -name "${package}_${version}_*.deb" | head -n 1)
	if [ -z "$deb" ]; then
		say "    fetching $package $version"
		apt-get download -q "$package=$version" \
			>"$build/download/log" 2>&1 ||
			die "cannot download $package=$version:" \
				"$(tail -n 1 "$build/download/log")"
		deb=$(find . -name "${package}_${version}_*.deb" | head -n 1)
	fi

	dpkg-deb --fsys-tarfile "$deb" |
		tar -xO "./usr/src/$tarball" >"$tarball" ||
		die "cannot unpack $build/download/$deb; remove it and try again"
	base_sum=$(sha256sum "$tarball" | cut -d ' ' -f 1)
	known=$(known_sum "$version")
	if [ -n "$known" ] && [ "$known" != "$base_sum" ]; then
		die "the sha256 of $package $version is $base_sum, but" \
			"patches/base says $known; remove $build/download and" \
			"try again"
	fi
}
