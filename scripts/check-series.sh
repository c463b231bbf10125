#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Builds what the series touches after each of its patches, so that git bisect
# finds a tree that builds everywhere, and checks the form of each. One line for
# each patch and check; the last line has the counts.
#
# A warning of gcc's with W=1, or of sparse's, is a failure unless the base has it
# as well. Only objects that the series touches are built, in a source tree of
# its own, with one build folder for each configuration that is kept.

. "$(dirname "$0")/lib.sh"

out=$build/check-series
src=$out/src
passed=0
failed=0

[ -e "$linux/.git" ] || die "there is no build/linux; run 'make tree'"
for tool in sparse aarch64-linux-gnu-gcc arm-linux-gnueabi-gcc; do
	command -v "$tool" >/dev/null ||
		die "$tool is not installed; run 'make deps'"
done
use_ccache
mkdir -p "$out"
exec 9>"$out/lock"
flock -n 9 || die "another check-series runs in $out"
trap 'kill $(jobs -p) 2>/dev/null; wait; exit 130' INT TERM

# The configurations of each patch, and those of the last one
each=(on off m)
last=(i386 arm64 nommu allno allmod)

count()
{
	if [ "$1" = 0 ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
	fi
}

check()
{
	local status=0

	logged "$@" || status=1
	count "$status"
}

# kmake CONFIGURATION TARGET...: large stack frames are for gcc to say, because
# checkstack.pl adds up all that a function takes and gives back, on each way out
# of it, and finds 480 bytes in fuse_dev_do_write() whose frame has 120
kmake()
{
	local conf=$1 arch=x86_64 cross='' flags=()

	shift
	case $conf in
	on) flags=(KCFLAGS=-Wframe-larger-than=400) ;;
	i386) arch=i386 ;;
	arm64) arch=arm64 cross=aarch64-linux-gnu- ;;
	nommu) arch=arm cross=arm-linux-gnueabi- ;;
	esac
	make -s -C "$src" O="$out/$conf" -j"$jobs" ARCH=$arch \
		CROSS_COMPILE=$cross "${flags[@]}" "$@"
}

# The configuration to begin with, in $out/CONFIGURATION/.config
first_config()
{
	local conf=$1 fragments=()

	case $conf in
	allno) kmake "$conf" allnoconfig ;;
	allmod) kmake "$conf" allmodconfig ;;
	nommu) kmake "$conf" mps2_defconfig ;;
	*)
		fragments=("$top/scripts/kernel/common.config"
			   "$top/scripts/kernel/fast.config")
		kmake "$conf" tinyconfig &&
			"$src/scripts/kconfig/merge_config.sh" -m \
				-O "$out/$conf" "$out/$conf/.config" \
				"${fragments[@]}"
		;;
	esac
}

# WERROR would stop at what the base has already
options_of()
{
	case $1 in
	on) say "-e SECURITY" ;;
	off) say "-d FUSE_PASSTHROUGH" ;;
	m) say "-m FUSE_FS -m CUSE -m VIRTIO_FS -m OVERLAY_FS" ;;
	i386) say "-d 64BIT" ;;
	arm64) say "-e PERF_EVENTS" ;;
	allno) say "-e FUSE_FS -e FUSE_PASSTHROUGH" ;;
	nommu) say "-e FUSE_FS -e FUSE_PASSTHROUGH -e PROC_FS" ;;
	allmod) say "-d WERROR -d GCC_PLUGINS" ;;
	esac
}

# An option that a patch brings is set as it should be from that patch on
configure()
{
	local conf=$1 key options

	options=$(options_of "$conf")
	key=$({ cat "$top"/scripts/kernel/{common,fast}.config
		say "$options"
		find "$src" -maxdepth 1 -name Makefile -exec cat {} +
		cat "$src/fs/fuse/Kconfig" "$src/fs/overlayfs/Kconfig"
	      } | sha256sum)
	[ "$key" != "$(cat "$out/$conf/key" 2>/dev/null)" ] || return 0

	mkdir -p "$out/$conf"
	if [ ! -e "$out/$conf/.config" ]; then
		first_config "$conf" || return
	fi
	if [ -n "$options" ]; then
		# shellcheck disable=SC2086  # words
		"$src/scripts/config" --file "$out/$conf/.config" $options ||
			return
	fi
	kmake "$conf" olddefconfig || return
	say "$key" >"$out/$conf/key"
}

# What the series touches, as targets of a configuration
targets_of()
{
	local conf=$1 skip

	case $conf in
	nommu) skip='^(fs/proc/task_mmu|mm/mmap|io_uring/.*|kernel/(events|trace)/.*|security/.*)\.o$' ;;
	allno) skip='^(fs/proc/.*|io_uring/.*|kernel/trace/.*|security/.*)\.o$' ;;
	on | allmod) skip='^$' ;;
	*) skip='^security/.*\.o$' ;;
	esac
	say fs/fuse/
	case $conf in
	nommu | allno) ;;
	*) say fs/overlayfs/ ;;
	esac
	tree_git diff --no-renames --name-only base HEAD |
		grep -v -E '^(tools|Documentation|fs/fuse|fs/overlayfs)/' |
		sed -n 's/\.c$/.o/p' | grep -v -E "$skip"
}

# Without line numbers and sizes, so that only new ones differ. Those in a header
# come once for each file that includes it.
warnings()
{
	grep -E '(warning|error):' "$1" | sed -E \
		"s|^.*check-series/src/||; s|^(\.\./)*src/||; s/:[0-9]+(:[0-9]+)?:/:/; s/[0-9]+ bytes/N bytes/" |
		LC_ALL=C sort | awk '!/^[^ ]*\.h:/ || !seen[$0]++' || true
}

# build_objects CONFIGURATION: what has changed since the last time. If that was
# interrupted, its warnings are lost, and everything is built again.
build_objects()
{
	local conf=$1 targets status=0

	mapfile -t targets < <(targets_of "$conf")
	if [ -e "$out/$conf/unfinished" ]; then
		rm -f "$out/$conf/base.key"
		find "$out/$conf/"{fs,mm,io_uring,kernel/events} -name '*.o' \
			-delete 2>/dev/null
	fi
	touch "$out/$conf/unfinished"
	kmake "$conf" W=1 C=1 "${targets[@]}" >"$out/$conf/out" 2>&1 ||
		status=1
	[ "$status" = 0 ] || {
		cat "$out/$conf/out"
		return 1
	}
	check_fuse_symbols "$out/$conf" || return
	warnings "$out/$conf/out" >"$out/$conf/warnings"
	rm "$out/$conf/unfinished"
}

base_key()
{
	tree_git rev-parse 'base^{tree}'
	targets_of "$1"
	options_of "$1"
	declare -f kmake warnings use_ccache
	cat "$top"/scripts/kernel/{common,fast}.config
}

# In the base, once
build_base()
{
	local conf=$1

	configure "$conf" || return
	rm -f "$out/$conf/base.key"
	touch "$out/$conf/unfinished"
	build_objects "$conf" || return
	cp "$out/$conf/warnings" "$out/$conf/base.warnings" || return
	base_key "$conf" >"$out/$conf/base.key"
}

# What has passed with the same sources and the same checks passes again: after
# a change to one patch, those before it need no build
tree_key()
{
	{
		git -C "$src" rev-parse 'HEAD^{tree}'
		base_key "$1"
		declare -f build_objects build_patch check_fuse_symbols
	} | sha256sum
}

build_patch()
{
	local conf=$1 key

	key=$(tree_key "$conf")
	if grep -qxF "$key" "$out/$conf/passed" 2>/dev/null; then
		say "the same files have passed before"
		return
	fi

	configure "$conf" || return
	build_objects "$conf" || return
	if LC_ALL=C comm -13 "$out/$conf/base.warnings" \
		"$out/$conf/warnings" | grep .; then
		say "^ not in the base"
		touch "$out/$conf/unfinished"
		return 1
	fi
	say "$key" >>"$out/$conf/passed"
}

# check_all FUNCTION NAME CONFIGURATION...: at the same time
check_all()
{
	local function=$1 name=$2 conf pids=() pid status

	shift 2
	for conf; do
		logged "series-$name-$conf" "$function" "$conf" &
		pids+=($!)
		while [ "$(jobs -r | wc -l)" -ge "$jobs" ]; do
			sleep 0.2
		done
	done
	for pid in "${pids[@]}"; do
		status=0
		wait "$pid" || status=1
		count "$status"
	done
}

checkout()
{
	git -C "$src" checkout -q --detach "$1"
}

make_src()
{
	[ -e "$src/.git" ] || {
		rm -rf "$src"
		git clone -q --shared --no-checkout "$linux" "$src" || return
	}
	git -C "$src" fetch -q --force origin \
		"$(tree_git rev-parse HEAD)" tag base || return
	git -C "$src" checkout -q --force --detach FETCH_HEAD
}

one_checkpatch()
{
	tree_git format-patch --stdout -1 "$1" >"$out/patch" || return
	"$top/scripts/checkpatch.sh" "$out/patch"
}

# shellcheck disable=SC2317  # called by check
new_files_form()
{
	local file failed=0

	while IFS= read -r file; do
		case $file in
		*.[ch])
			"$top/scripts/checkpatch.sh" -f "$src/$file" || failed=1
			;;&
		fs/*.[ch] | include/*.h)
			"$src/scripts/kernel-doc" -none -Werror "$src/$file" ||
				failed=1
			;;
		esac
	done < <(tree_git diff --no-renames --diff-filter=A --name-only base HEAD)
	return "$failed"
}

# shellcheck disable=SC2317  # called by check
uapi_headers()
{
	mkdir -p "$out/uapi"
	[ -e "$out/uapi/.config" ] || kmake uapi tinyconfig || return
	"$src/scripts/config" --file "$out/uapi/.config" -e HEADERS_INSTALL \
		-e UAPI_HEADER_TEST || return
	kmake uapi olddefconfig || return
	grep -qx CONFIG_UAPI_HEADER_TEST=y "$out/uapi/.config" || {
		say "CONFIG_UAPI_HEADER_TEST cannot be set"
		return 1
	}
	kmake uapi headers_install INSTALL_HDR_PATH="$out/uapi/install" || return
	kmake uapi usr/ || return
	[ -e "$out/uapi/usr/include/linux/fuse.hdrtest" ] || {
		say "linux/fuse.h was not tested"
		return 1
	}
}

# shellcheck disable=SC2317  # called by check
build_selftests()
{
	rm -rf "$out/selftests/kselftest"
	mkdir -p "$out/selftests"
	make -s -C "$src" O="$out/selftests" headers_install || return
	CFLAGS=-Werror make -s -C "$src/tools/testing/selftests" -j"$jobs" \
		O="$out/selftests" TARGETS=filesystems/fuse SKIP_TARGETS='' \
		FORCE_TARGETS=1 all
}

# touches COMMIT PATTERN
touches()
{
	tree_git diff-tree -r --no-commit-id --name-only "$1" | grep -q -E "$2"
}

logged series-source make_src

stale=()
for conf in "${each[@]}" "${last[@]}"; do
	[ "$(base_key "$conf")" = "$(cat "$out/$conf/base.key" 2>/dev/null)" ] ||
		stale+=("$conf")
done
if [ ${#stale[@]} -gt 0 ]; then
	checkout base
	check_all build_base base "${stale[@]}"
fi

number=0
for commit in $(tree_git rev-list --reverse base..HEAD); do
	number=$((number + 1))
	name=$(printf %04d $number)
	checkout "$commit"
	check "series-$name-checkpatch" one_checkpatch "$commit"
	if touches "$commit" '^(fs|include|io_uring|kernel|mm)/'; then
		check_all build_patch "$name" "${each[@]}"
	fi
	if [ -e "$src/tools/testing/selftests/filesystems/fuse/Makefile" ] &&
	   touches "$commit" '^(tools|include/uapi)/'; then
		check "series-$name-selftests" build_selftests
	fi
done

check_all build_patch last "${last[@]}"
check series-last-uapi-headers uapi_headers
check series-last-new-files new_files_form

say "$passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
