#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Builds the patched kernel in a build folder of its own.
#
# kernel.sh KIND: one of the rig's own kernels, build/KIND, from tinyconfig and
# scripts/kernel/{common,KIND}.config. CONFIG=file starts from that
# configuration instead, and FRAGMENT=file is merged last.

. "$(dirname "$0")/lib.sh"

kind=${1:-fast}
out=$build/$kind
[ -e "$linux/Makefile" ] || die "there is no build/linux; run 'make tree'"
[ -e "$top/scripts/kernel/$kind.config" ] ||
	die "unknown kind of kernel '$kind'; there are:" \
		"$(cd "$top/scripts/kernel" && echo *.config |
		   sed 's/common.config //; s/\.config//g')"

# The base without the series, to compare with. Its files are as old as the base,
# so that nothing is built again.
if [ "$kind" = base ]; then
	base=$(tree_git rev-parse base)
	linux=$build/linux-base
	if [ "$base" != "$(cat "$linux.commit" 2>/dev/null)" ]; then
		rm -rf "$linux" "$out"
		mkdir -p "$linux"
		git -C "$build/linux" archive base | tar -x -C "$linux"
		say "$base" >"$linux.commit"
	fi
fi

# Not with gcov, which wants the files where they were compiled
[ "$kind" = cover ] || use_ccache

kmake()
{
	make -s -C "$linux" O="$out" -j"$jobs" "$@"
}

fragments=()
if [ -z "${CONFIG:-}" ]; then
	fragments+=("$top/scripts/kernel/common.config"
		    "$top/scripts/kernel/$kind.config")
fi
[ -z "${FRAGMENT:-}" ] || fragments+=("$(realpath "$FRAGMENT")")

# Runs in a condition, where set -e does not help
configure()
{
	if [ -n "${CONFIG:-}" ]; then
		cp "$CONFIG" "$out/.config" || return
	else
		kmake tinyconfig || return
	fi
	if [ ${#fragments[@]} -gt 0 ]; then
		"$linux/scripts/kconfig/merge_config.sh" -m -O "$out" \
			"$out/.config" "${fragments[@]}" || return
	fi
	kmake olddefconfig
}

# The last word on each option of the fragments is what the kernel must have
check_config()
{
	[ ${#fragments[@]} -gt 0 ] || return 0

	cat "${fragments[@]}" | awk '
		/^CONFIG_/ { split($0, a, "="); last[a[1]] = $0 }
		/^# CONFIG_.* is not set/ { last[$2] = $0 }
		END { for (o in last) print o "\t" last[o] }
	' | sort | while IFS=$'\t' read -r option line; do
		case $line in
		'#'*) ! grep -q "^$option=" "$out/.config" ||
			say "$option is set, but should not be" ;;
		*) grep -qxF -- "$line" "$out/.config" ||
			say "$line is asked for, but the kernel has:" \
				"$(grep -w "$option" "$out/.config" ||
				   echo nothing)" ;;
		esac
	done >"$out/config.bad"

	[ ! -s "$out/config.bad" ] || {
		cat "$out/config.bad"
		return 1
	}
}

series_objects()
{
	tree_git diff --no-renames --name-only base HEAD -- '*.c' ':!tools' |
		sed 's/\.c$/.o/' | tr '\n' ' '
}

mkdir -p "$out"
exec 9>"$out/lock"
if ! flock -n 9; then
	say "    waiting for another build in $out"
	flock 9
fi

# The fast kernel but for the feature: what that makes no difference to is there.
# objtool is made anew, as it has the folder's name in it, but does the same; what it
# has worked on must not be older than it.
copy_fast()
{
	local objtool=tools/objtool/objtool

	cp -a "$build/fast/." "$out" || return
	kmake prepare || return
	find "$out/tools" -newer "$build/fast/$objtool" \
		-exec touch -r "$build/fast/$objtool" {} +
}

if [ "$kind" = off ] && [ ! -e "$out/.config" ] &&
   [ -e "$build/fast/vmlinux" ]; then
	logged "copy-$kind" copy_fast
fi

say "    configuration: ${CONFIG:-tinyconfig} ${fragments[*]#"$top"/}"
# Only a changed configuration is made anew, so that builds are incremental
{
	cat ${CONFIG:+"$CONFIG"} "${fragments[@]}" /dev/null
	cat "$linux"/fs/fuse/Kconfig
} | sha256sum >"$out/config.sum.new"
if ! cmp -s "$out/config.sum.new" "$out/config.sum"; then
	logged "config-$kind" configure
	logged "config-check-$kind" check_config
	mv "$out/config.sum.new" "$out/config.sum"
fi

args=()
# What the series touches is instrumented, and nothing else. kbuild asks for each
# object.
if [ "$kind" = cover ]; then
	# shellcheck disable=SC2016  # for make
	object='$(obj)/$(basetarget).o'
	args+=("GCOV_PROFILE=\$(if \$(filter $(series_objects),$object),y)")
fi
logged "kernel-$kind" kmake bzImage ${MODULES:+modules} "${args[@]}"
say "    kernel: $out/arch/x86/boot/bzImage"
