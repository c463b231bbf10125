#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Makes Debian packages of the patched kernel.
#
# deb.sh [NAME]: in build/NAME (build/deb unless given). CONFIG=file is the
# configuration, else that of the running kernel if that is a 6.1, else that of
# the archive's stock kernel. FRAGMENT=file is merged last.

. "$(dirname "$0")/lib.sh"

name=${1:-deb}
out=$build/$name
obj=$out/obj
suffix=-fuse-passthrough
[ -e "$linux/.git" ] || die "there is no build/linux; run 'make tree'"

kmake()
{
	make -s -C "$linux" O="$obj" -j"$jobs" LOCALVERSION=$suffix "$@"
}

stock_config()
{
	local deb file

	rm -rf "$out/stock"
	mkdir -p "$out/stock"
	(cd "$out/stock" && { apt-get download -q "linux-config-6.1=$version" ||
		apt-get download -q linux-config-6.1; }) >"$out/stock.log" 2>&1 ||
		die "cannot download linux-config-6.1:" \
			"$(tail -n 1 "$out/stock.log"); give a configuration" \
			"by CONFIG=file"
	deb=$(find "$out/stock" -name '*.deb')
	file=./usr/src/linux-config-6.1/config.amd64_none_amd64.xz
	dpkg-deb --fsys-tarfile "$deb" | tar -xO "$file" | xz -dc \
		>"$out/config"
	say "    configuration: the archive's stock kernel ($(basename "$deb"))"
}

choose_config()
{
	local running

	running=/boot/config-$(uname -r)
	if [ -n "${CONFIG:-}" ]; then
		[ -e "$CONFIG" ] || die "CONFIG is '$CONFIG', which is not there"
		cp "$CONFIG" "$out/config"
		say "    configuration: $CONFIG"
		return
	fi
	case $(uname -r) in
	6.1.*)
		if [ -e "$running" ]; then
			cp "$running" "$out/config"
			say "    configuration: the running kernel ($running)"
			return
		fi
		;;
	esac
	stock_config
}

# Certificates that lie in a distribution's own build tree are not there
configure()
{
	local option

	cp "$out/config" "$obj/.config" || return
	for option in SYSTEM_TRUSTED_KEYS SYSTEM_REVOCATION_KEYS; do
		if grep -q "^CONFIG_$option=\"..*\"" "$obj/.config"; then
			"$linux/scripts/config" --file "$obj/.config" \
				--set-str $option '' || return
		fi
	done
	"$linux/scripts/config" --file "$obj/.config" -d LOCALVERSION_AUTO ||
		return
	if [ -n "${FRAGMENT:-}" ]; then
		"$linux/scripts/kconfig/merge_config.sh" -m -O "$obj" \
			"$obj/.config" "$(realpath "$FRAGMENT")" || return
	fi
	kmake olddefconfig || return
	grep -qx 'CONFIG_FUSE_PASSTHROUGH=y' "$obj/.config" || {
		say "the configuration has no CONFIG_FUSE_PASSTHROUGH: it needs" \
			"CONFIG_FUSE_FS"
		return 1
	}
}

packages()
{
	local ident

	ident=$(tree_git var GIT_COMMITTER_IDENT)
	ident=${ident%>*}
	DEBFULLNAME=${ident% <*} DEBEMAIL=${ident##*<} kmake \
		KDEB_PKGVERSION="$version+passthrough" bindeb-pkg
}

mkdir -p "$obj"
exec 9>"$out/lock"
flock -n 9 || die "another make deb runs in $out"
version=$(tree_git show -s --format=%s base | sed 's/.* //')
choose_config
# Only a changed configuration is made anew, so that builds are incremental
{
	cat "$out/config" ${FRAGMENT:+"$FRAGMENT"} "$linux/fs/fuse/Kconfig"
} | sha256sum >"$out/config.sum.new"
if ! cmp -s "$out/config.sum.new" "$out/config.sum"; then
	logged "config-$name" configure
	mv "$out/config.sum.new" "$out/config.sum"
fi

rm -f "$out"/*.deb "$out"/*.changes "$out"/*.buildinfo
logged "packages-$name" packages
say "    $(kmake kernelrelease):"
find "$out" -maxdepth 1 -name '*.deb' | sort | sed 's/^/    /'
