#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Tries the series on every version of the base that the package archive offers,
# oldest first: it applies without fuzz, what it touches builds, and git am -3 of
# its mails gives the same tree. patches/base gets those where all of this is so.
#
# BASE=version tries only that one.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/base.sh"
. "$(dirname "$0")/patches.sh"

out=$build/check-bases
src=$out/src
obj=$out/obj
passed=0
failed=0

[ -e "$linux/.git" ] || die "there is no build/linux; run 'make tree'"
use_ccache
mkdir -p "$out"
exec 9>"$out/lock"
flock -n 9 || die "another check-bases runs in $out"

src_git()
{
	git_in "$src" "$@"
}

kmake()
{
	make -s -C "$src" O="$obj" -j"$jobs" "$@"
}

# The repository that has every version as a commit, and what build/linux has
make_src()
{
	if [ ! -e "$src/.git" ]; then
		rm -rf "$src"
		git clone -q --shared --no-checkout "$linux" "$src" || return
	fi
	rm -rf "$out/mails"
	tree_git format-patch -q -o "$out/mails" --no-signature base..HEAD
}

# import VERSION: as refs/bases/VERSION; the message has its sha256
import()
{
	local version=$1 tree commit new=$out/import

	if src_git rev-parse -q --verify "refs/bases/$version" >/dev/null; then
		return
	fi
	(
		fetch_base "$version"
		rm -rf "$new"
		mkdir -p "$new"
		tar -C "$new" --strip-components=1 -xf "$tarball" || exit
		rm -f "$tarball"
		export GIT_INDEX_FILE=$out/import.index
		rm -f "$GIT_INDEX_FILE"
		src_git --work-tree="$new" add -A -f . || exit
		tree=$(src_git write-tree) || exit
		commit=$(say "$base_sum" | src_git commit-tree "$tree") || exit
		src_git update-ref "refs/bases/$version" "$commit"
		rm -rf "$new" "$GIT_INDEX_FILE"
	)
}

checkout()
{
	src_git am --abort 2>/dev/null
	src_git checkout -q --force --detach "refs/bases/$1" &&
		src_git clean -q -f -d -x
}

# Leaves the files of the series on top of the version
apply_exactly()
{
	local version=$1

	checkout "$version" || return
	patch_files "$src" '' "$out"/mails/*.patch || {
		say "^ does not fit $version"
		return 1
	}
	src_git add -A -f . || return
	src_git write-tree >"$out/tree"
}

configure()
{
	if [ ! -e "$obj/.config" ]; then
		mkdir -p "$obj"
		kmake tinyconfig || return
		"$src/scripts/kconfig/merge_config.sh" -m -O "$obj" "$obj/.config" \
			"$top/scripts/kernel/common.config" \
			"$top/scripts/kernel/fast.config" || return
		# There is no security/security.o without
		"$src/scripts/config" --file "$obj/.config" -e SECURITY || return
	fi
	kmake olddefconfig
}

build()
{
	local targets

	configure || return
	mapfile -t targets < <(touched_objects)
	kmake KCFLAGS=-Werror fs/fuse/ fs/overlayfs/ "${targets[@]}"
}

three_way()
{
	local version=$1

	checkout "$version" || return
	src_git am -q -3 "$out"/mails/*.patch || {
		src_git am --abort
		return 1
	}
	if [ "$(src_git rev-parse 'HEAD^{tree}')" != "$(cat "$out/tree")" ]; then
		src_git diff --stat "$(cat "$out/tree")" HEAD
		say "^ git am -3 gives another tree"
		return 1
	fi
}

# try_version VERSION: what was not tried because of an earlier failure is one too
try_version()
{
	local version=$1

	logged "base-$version-fetch" import "$version" &&
		logged "base-$version-applies" apply_exactly "$version" &&
		logged "base-$version-builds" build &&
		logged "base-$version-am" three_way "$version"
}

# Puts what has passed in patches/base, and removes what has failed
list_versions()
{
	local list=$out/list version

	grep -v '^#' "$top/patches/base" >"$list" || true
	for version in "${bad[@]}" "${good[@]}"; do
		sed -i "/^$version /d" "$list"
	done
	for version in "${good[@]}"; do
		say "$version $(src_git show -s --format=%s "refs/bases/$version")"
	done >>"$list"
	{
		grep '^#' "$top/patches/base"
		sort -V -r "$list"
	} >"$list.new"
	if ! cmp -s "$list.new" "$top/patches/base"; then
		cp "$list.new" "$top/patches/base"
		say "    patches/base: updated"
	fi
}

logged base-source make_src
good=()
bad=()
for version in ${BASE:-$(base_versions)}; do
	if try_version "$version"; then
		say "    $version: applies, builds, git am -3"
		good+=("$version")
		passed=$((passed + 1))
	else
		say "    $version: FAILED"
		bad+=("$version")
		failed=$((failed + 1))
	fi
done
list_versions

say "$passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
