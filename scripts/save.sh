#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Writes the commits between base and HEAD of build/linux back: their new files
# to the in-tree paths here, their changelogs and hunks to patches/.

. "$(dirname "$0")/lib.sh"

[ -e "$linux/.git" ] || die "there is no build/linux; run 'make tree'"

if [ -n "$(tree_git status --porcelain)" ]; then
	tree_git status --short | head -n 5 >&2
	die "build/linux has edits that are not committed; commit them, e.g." \
		"with 'git commit --fixup' and 'git rebase -i --autosquash base'"
fi

changed=$(series_sums | comm -3 - "$build/series.sums" | awk '{ print $2 }' |
	  sort -u | head -n 5)
if [ -n "$changed" ] && [ -z "${FORCE:-}" ]; then
	say "$changed" | sed "s|^|    |" >&2
	die "these files have been edited here since 'make tree', and would be" \
		"overwritten. Without commits of your own in build/linux, run" \
		"'make tree'; else put the edits aside (git stash) or throw them" \
		"away with 'make save FORCE=1'"
fi

new=$build/save
rm -rf "$new"
mkdir -p "$new/patches" "$new/tree"
declare -A added_by

# The lines that a commit adds to the kernel's MAINTAINERS are the entry, but for
# the person, who is the one that signs the series off
save_maintainers()
{
	tree_git diff -U0 "$1~" "$1" -- MAINTAINERS |
		sed -n '/^+++/d; s/^+//p' | sed -e '/^M:/d; ${/^$/d}' \
		>"$new/tree/MAINTAINERS"
}

save_commit()
{
	local commit=$1 number=$2 subject name path hunks=()

	subject=$(tree_git show -s --format=%s "$commit")
	name=$(printf '%s' "$subject" | LC_ALL=C tr -cs 'A-Za-z0-9.' '-' |
	       cut -c 1-60 | sed 's/^-*//; s/-*$//')
	name=$(printf '%04d-%s.patch' "$number" "$name")
	say "$name" >>"$new/patches/series"

	while IFS=$'\t' read -r status path; do
		if [ "$path" = MAINTAINERS ]; then
			save_maintainers "$commit"
		elif [ "$status" = A ]; then
			mkdir -p "$new/tree/$(dirname "$path")"
			tree_git show "$commit:$path" >"$new/tree/$path"
			case $(tree_git ls-tree "$commit" "$path") in
			100755*) chmod +x "$new/tree/$path" ;;
			esac
			added_by[$path]=$name
		else
			[ -z "${added_by[$path]:-}" ] ||
				die "'$subject' edits $path, which" \
					"${added_by[$path]} adds: each new" \
					"file belongs to one patch"
			hunks+=("$path")
			continue
		fi
		say "    $path" >>"$new/patches/series"
	done < <(tree_git diff-tree -r --no-commit-id --no-renames \
			--name-status "$commit")

	{
		say "Subject: [PATCH] $subject"
		say
		tree_git show -s --format=%b "$commit" |
			sed '/^Signed-off-by: /d' |
			sed -e :a -e '/^\n*$/{$d;N;ba' -e '}'
		say "---"
		if [ ${#hunks[@]} -gt 0 ]; then
			tree_git diff --no-renames "$commit~" "$commit" \
				-- "${hunks[@]}" | sed '/^index [0-9a-f]*\.\./d'
		fi
	} >"$new/patches/$name"
}

count=0
for commit in $(tree_git rev-list --reverse base..HEAD); do
	count=$((count + 1))
	save_commit "$commit" "$count"
done

# What is no longer in the series, then what is
forget_patch()
{
	local path

	rm -f "$top/patches/$1"
	shift
	for path; do
		[ -e "$new/tree/$path" ] || rm -f "$top/${path:?}"
	done
}
series_each forget_patch

rm -f "$top"/patches/*.patch
cp "$new"/patches/* "$top/patches/"
cp -r "$new/tree/." "$top/"
rm -rf "$new"
tree_git update-ref refs/fuse/saved HEAD
series_sums >"$build/series.sums"
say "    saved $count patches"
