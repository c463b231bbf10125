#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Checks the form of the series and of the scripts. Each check that fails, or
# that cannot run, is one failure; the last line has the counts.

. "$(dirname "$0")/lib.sh"

out=$build/lint
passed=0
failed=0

[ -e "$linux/.git" ] || die "there is no build/linux; run 'make tree'"
rm -rf "$out/log"
mkdir -p "$out/log"

check()
{
	if logged "$@"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
	fi
}

need()
{
	command -v "$1" >/dev/null ||
		die "$1 is not installed; run 'make deps'"
}

new_files()
{
	tree_git diff --no-renames --diff-filter=A --name-only base HEAD
}

one_checkpatch()
{
	tree_git format-patch --stdout -1 "$2" >"$out/patch-$1"
	"$top/scripts/checkpatch.sh" "$out/patch-$1"
}

beside_names=()

# beside NAME COMMAND...: a check that keeps one CPU busy, in the background; as many
# at a time as there are jobs
beside()
{
	beside_names+=("$1")
	while [ "$(jobs -r | wc -l)" -ge "$jobs" ]; do
		wait -n || true
	done
	{
		logged "$@" && touch "$out/log/$1.passed"
	} &
}

# A check that was lost has not passed.
wait_for_all()
{
	local name

	wait
	for name in "${beside_names[@]}"; do
		if [ -e "$out/log/$name.passed" ]; then
			passed=$((passed + 1))
		else
			failed=$((failed + 1))
		fi
	done
}

checkpatches()
{
	local commit number=0 name

	for commit in $(tree_git rev-list --reverse base..HEAD); do
		number=$((number + 1))
		name=checkpatch-$(printf %04d $number)
		beside "$name" one_checkpatch "$name" "$commit"
	done
}

# sparse and W=1 on fs/fuse, without line numbers, so that only new ones differ
fs_fuse_warnings()
{
	local tree=$1 obj=$2

	if [ ! -e "$obj/.config" ]; then
		make -s -C "$tree" O="$obj" tinyconfig || return
		"$linux/scripts/kconfig/merge_config.sh" -m -O "$obj" \
			"$obj/.config" "$top/scripts/kernel/common.config" \
			"$top/scripts/kernel/fast.config" || return
	fi
	make -s -C "$tree" O="$obj" olddefconfig || return
	make -s -C "$tree" O="$obj" -j"$jobs" prepare || return
	rm -rf "$obj/fs/fuse"
	make -s -C "$tree" O="$obj" -j"$jobs" W=1 C=2 fs/fuse/ \
		>"$obj.out" 2>&1 || { cat "$obj.out"; return 1; }
	grep -E 'warning|error' "$obj.out" | sed 's/^.*fs\/fuse/fs\/fuse/; s/:[0-9]*:[0-9]*:/:/; s/:[0-9]*:/:/' |
		sort >"$obj.warnings" || true
}

compare_warnings()
{
	[ -e "$out/base/fs" ] || tree_git worktree prune
	rm -rf "$out/base"
	mkdir -p "$out/base"
	tree_git archive base | tar -x -C "$out/base" || return
	fs_fuse_warnings "$out/base" "$out/obj-base" || return
	fs_fuse_warnings "$linux" "$out/obj" || return
	rm -rf "$out/base"
	if comm -13 "$out/obj-base.warnings" "$out/obj.warnings" | grep .; then
		say "^ new warnings"
		return 1
	fi
}

# build_variant NAME OPTION...: fs/fuse with other options
build_variant()
{
	local obj=$out/obj-$1

	shift
	mkdir -p "$obj"
	cp "$out/obj/.config" "$obj/.config" || return
	"$linux/scripts/config" --file "$obj/.config" "$@" || return
	make -s -C "$linux" O="$obj" olddefconfig || return
	make -s -C "$linux" O="$obj" -j"$jobs" prepare || return
	make -s -C "$linux" O="$obj" -j"$jobs" fs/fuse/ 2>&1 | tee "$obj.out"
	! grep -E 'warning:|error:|\*\*\*' "$obj.out" || return
	check_fuse_symbols "$obj"
}

kernel_doc()
{
	local file

	for file in $(new_files | grep -E '\.[ch]$' | grep -v ^tools/); do
		"$linux/scripts/kernel-doc" -none -Werror "$linux/$file" ||
			return
	done
}

# Both formatters say what they do not understand, and man goes on
man_pages()
{
	local page said

	for page in $(new_files | grep -E '\.[1-9]$'); do
		said=$({
			LC_ALL=C.UTF-8 MANWIDTH=80 man --warnings -E UTF-8 \
				-l -Tutf8 -Z "$linux/$page" >/dev/null &&
				mandoc -Tlint "$linux/$page"
		} 2>&1) || {
			say "$said"
			return 1
		}
		[ -z "$said" ] || { say "$said"; return 1; }
	done
}

# What sphinx says of the series' own files; the base has warnings elsewhere
html_docs()
{
	local files

	files=$(tree_git diff --name-only base HEAD -- 'Documentation/*.rst' |
		paste -s -d '|')
	rm -rf "$out/docs"
	mkdir -p "$out/docs"
	make -s -C "$linux" O="$out/docs" SPHINXDIRS=filesystems htmldocs \
		>"$out/docs.out" 2>&1 || {
		cat "$out/docs.out"
		return 1
	}
	[ -e "$out/docs/Documentation/output/filesystems/fuse-passthrough.html" ] || {
		say "there is no fuse-passthrough.html"
		return 1
	}
	! grep -E "($files)" "$out/docs.out"
}

one_coccicheck()
{
	local log

	for file in $(new_files | grep '\.c$' | grep ^fs/); do
		for cocci in "$linux"/scripts/coccinelle/{api,free,iterators,locks,misc,null}/*.cocci; do
			spatch --very-quiet -D report --no-show-diff \
				--cocci-file "$cocci" "$linux/$file" \
				2>"$out/cocci.err" || {
				# A rule without a report mode has nothing to say
				grep -q 'virtual rule report' "$out/cocci.err" ||
				{ cat "$out/cocci.err"; return 1; }
			}
		done
	done >"$out/cocci.out"
	log=$(grep -v '^$' "$out/cocci.out" || true)
	[ -z "$log" ] || { say "$log"; return 1; }
}

shell_scripts()
{
	cd "$top" || return
	shellcheck -x .ci/run scripts/*.sh scripts/init/* scripts/programs/* scripts/rig/program scripts/plain/run
}

# coccinelle wants Debian's python3
PATH=/usr/bin:/bin:$PATH
for tool in sparse spatch ocamlc shellcheck codespell perl python3 man mandoc \
	sphinx-build; do
	need "$tool"
done

# The long ones first, so that no CPU waits for the last
beside htmldocs html_docs
beside coccicheck one_coccicheck
beside kernel-doc kernel_doc
beside man-pages man_pages
beside shellcheck shell_scripts
checkpatches
wait_for_all

check sparse-and-W1 compare_warnings
check build-module build_variant m -m FUSE_FS -m CUSE -m VIRTIO_FS
check build-off build_variant off -d FUSE_PASSTHROUGH
check build-dax build_variant dax -e VIRTIO_FS -e ZONE_DEVICE -e DAX \
	-e FS_DAX -e FUSE_DAX -e MEMORY_HOTPLUG -e MEMORY_HOTREMOVE \
	-e SPARSEMEM_VMEMMAP

say "$passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
