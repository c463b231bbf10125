#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Puts the series on a 6.1 tree of the user's own, or with -R takes it off again:
# all of it or nothing.
#
# TREE=dir is the tree. If it is a git repository, the patches become commits,
# and refs/fuse-passthrough/{base,series} say which; else they are applied to the
# files, and $TREE/.fuse-passthrough has what is needed to take them off.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/patches.sh"

command=apply
[ "${1:-}" != -R ] || command=unapply
tree=${TREE:-}
[ -n "$tree" ] ||
	die "give the tree, e.g. 'make $command TREE=../linux-6.1.y'"
[ -d "$tree" ] || die "TREE is '$tree', which is not a directory"
tree=$(realpath "$tree")
[ "$tree" != "$linux" ] || die "build/linux is the rig's; see 'make tree'"
record=$tree/.fuse-passthrough
ref=refs/fuse-passthrough

work=$(mktemp -d "$build/apply.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

user_git()
{
	git -C "$tree" "$@"
}

# A plain tree may lie in somebody else's repository
is_git()
{
	[ "$(user_git rev-parse --show-toplevel 2>/dev/null)" = "$tree" ] &&
		user_git rev-parse -q --verify HEAD >/dev/null
}

check_version()
{
	local version

	version=$(sed -n -E '/^(VERSION|PATCHLEVEL|SUBLEVEL) = /{s/.*= //;p}' \
		"$tree/Makefile" 2>/dev/null | paste -s -d .) || true
	if [ -z "$version" ] || [ ! -d "$tree/fs/fuse" ]; then
		die "$tree is not a kernel tree: it has no Makefile with a" \
			"VERSION, or no fs/fuse"
	fi
	case $version in
	6.1 | 6.1.*) ;;
	*) die "$tree is Linux $version, but the series is for 6.1.y" ;;
	esac
}

check_clean()
{
	local operation

	if [ -n "$(user_git status --porcelain -uno)" ]; then
		user_git status --short -uno | head -n 5 >&2
		die "$tree has edits that are not committed; commit them, or put" \
			"them aside with 'git stash'"
	fi
	for operation in rebase-apply rebase-merge MERGE_HEAD CHERRY_PICK_HEAD; do
		if (cd "$tree" &&
		    [ -e "$(git rev-parse --git-path $operation)" ]); then
			die "$tree is in the middle of a merge, rebase or am" \
				"($operation); finish or abort that first"
		fi
	done
}

# What a diff changes, wherever in the files that is
patch_id()
{
	git patch-id --stable | cut -d ' ' -f 1
}

# recorded: 0 if the series, or another version of it, was put on by this script
recorded()
{
	if is_git; then
		user_git merge-base --is-ancestor "$ref/series" HEAD 2>/dev/null
	else
		[ -e "$record/sums" ]
	fi
}

recorded_id()
{
	if is_git; then
		user_git diff --no-renames "$ref/base" "$ref/series" | patch_id
	else
		patch_id <"$record/series.diff"
	fi
}

touched()
{
	tree_git diff --no-renames --name-only base HEAD
}

added()
{
	tree_git diff --no-renames --diff-filter=A --name-only base HEAD
}

check_not_applied()
{
	local file

	if recorded; then
		if [ "$(recorded_id)" = "$(tree_git diff --no-renames base HEAD |
					   patch_id)" ]; then
			say "    $tree has the series already"
			exit 0
		fi
		die "$tree has another version of the series; take that off first" \
			"with 'make unapply TREE=$tree'"
	fi
	for file in $(added); do
		[ ! -e "$tree/$file" ] ||
			die "$tree has $file already: it has the series, or some" \
				"of it, from elsewhere; take that off first"
	done
}

# copy_files FROM TO: the files that a list on standard input names, if they are
# there
copy_files()
{
	(cd "$1" && while IFS= read -r file; do
		if [ -e "$file" ]; then
			printf '%s\0' "$file"
		fi
	done | xargs -0 -r cp -p --parents -t "$2")
}

# What the files of the tree would be
try_series()
{
	local file missing=0

	for file in $(tree_git diff --no-renames --diff-filter=M \
			--name-only base HEAD); do
		[ -e "$tree/$file" ] || {
			say "    $file is edited by the series, but not there" >&2
			missing=1
		}
	done
	mkdir "$work/old" "$work/new"
	touched | copy_files "$tree" "$work/old"
	cp -a "$work/old/." "$work/new"
	if ! patch_files "$work/new" '' "$work"/mails/*.patch \
		>"$work/conflicts" || [ "$missing" = 1 ]; then
		cat "$work/conflicts" >&2
		die "the series does not fit $tree: see above for patch, file and" \
			"hunk (later ones may follow from earlier ones). Nothing" \
			"was changed"
	fi
}

# Puts the files of $work/new in the tree; if that fails, those of $work/old.
# Files are replaced and not written to, since trees may share them by hard links.
put_files()
{
	local from=$1 file

	while IFS= read -r file; do
		if [ -e "$from/$file" ]; then
			mkdir -p "$tree/$(dirname "$file")" &&
			cp --preserve=mode,ownership "$from/$file" \
				"$tree/$file.new" &&
			mv "$tree/$file.new" "$tree/$file" || return
		else
			rm -f "$tree/$file" "$tree/$file.new"
			rmdir -p --ignore-fail-on-non-empty \
				"$tree/$(dirname "$file")" 2>/dev/null || true
		fi
	done
}

replace_files()
{
	touched_files >"$work/files"
	trap 'put_files "$work/old" <"$work/files"; rm -rf "$work"' EXIT
	put_files "$work/new" <"$work/files" ||
		die "cannot write to $tree (see above); it is as it was"
}

# The commits shall be those of whoever commits to that tree
take_identity()
{
	local ident

	ident=$(user_git -c user.useConfigOnly=true var GIT_COMMITTER_IDENT \
		2>/dev/null) ||
		die "git does not know who commits to $tree; say it with" \
			"'git config user.name' and 'git config user.email' there"
	ident=${ident%>*}
	export GIT_AUTHOR_NAME=${ident% <*} GIT_AUTHOR_EMAIL=${ident##*<}
	export GIT_COMMITTER_NAME=$GIT_AUTHOR_NAME
	export GIT_COMMITTER_EMAIL=$GIT_AUTHOR_EMAIL
}

apply_git()
{
	local before

	before=$(user_git rev-parse HEAD)
	trap 'user_git am --abort >/dev/null 2>&1; rm -rf "$work"' EXIT
	user_git -c core.hooksPath=/dev/null am -q --ignore-date \
		--whitespace=nowarn "$work"/mails/*.patch >"$work/out" 2>&1 || {
		sed 's/^/    | /' "$work/out" >&2
		die "git am has failed (see above); $tree is as it was"
	}
	trap 'rm -rf "$work"' EXIT
	user_git update-ref "$ref/base" "$before"
	user_git update-ref "$ref/series" HEAD
	say "    $tree: the series is on $(user_git log -1 --format=%h "$before")," \
		"as commits $(user_git log -1 --format=%h "$before")..$(
		user_git log -1 --format=%h)"
}

apply_plain()
{
	replace_files
	mkdir -p "$record"
	cp -r "$work/mails" "$record/"
	tree_git diff --no-renames base HEAD >"$record/series.diff"
	touched >"$record/files"
	(cd "$tree" && touched | tr '\n' '\0' | xargs -0 sha256sum) \
		>"$record/sums.new"
	mv "$record/sums.new" "$record/sums"
	trap 'rm -rf "$work"' EXIT
	say "    $tree: $(find "$record/mails" -type f | wc -l) patches applied"
}

unapply_git()
{
	check_clean
	if [ "$(user_git rev-parse HEAD)" != \
	     "$(user_git rev-parse "$ref/series")" ]; then
		user_git log --oneline "$ref/series..HEAD" | head -n 5 >&2
		die "$tree has commits on top of the series (see above); take" \
			"the series from under them with" \
			"'git rebase --onto $ref/base $ref/series'"
	fi
	user_git reset -q --keep "$ref/base" ||
		die "git reset has failed (see above); $tree is as it was"
	user_git update-ref -d "$ref/base"
	user_git update-ref -d "$ref/series"
	say "    $tree: the series is off, HEAD is" \
		"$(user_git log -1 --format='%h %s')"
}

unapply_plain()
{
	local mails=()

	if ! (cd "$tree" && sha256sum -c --quiet "$record/sums") \
		>"$work/out" 2>/dev/null; then
		sed 's/^/    /; s/: FAILED/: changed/' "$work/out" >&2
		die "$tree has changes on top of the series in the files above;" \
			"nothing was changed"
	fi
	mkdir "$work/old" "$work/new"
	copy_files "$tree" "$work/old" <"$record/files"
	cp -a "$work/old/." "$work/new"
	mapfile -t mails < <(find "$record/mails" -type f | LC_ALL=C sort -r)
	patch_files "$work/new" -R "${mails[@]}" ||
		die "the patches in $record do not come off; nothing was changed"
	replace_files
	rm -rf "$record"
	trap 'rm -rf "$work"' EXIT
	say "    $tree: ${#mails[@]} patches taken off"
}

touched_files()
{
	if [ $command = apply ]; then
		touched
	else
		cat "$record/files"
	fi
}

check_version
kind=plain
! is_git || kind=git

if [ $command = unapply ]; then
	recorded ||
		die "$tree does not have the series from 'make apply': there is no" \
			"record of it"
	unapply_$kind
	exit 0
fi

if [ $kind = git ]; then
	take_identity
fi
"$top/scripts/tree.sh"
check_not_applied
if [ $kind = git ]; then
	check_clean
fi
tree_git format-patch -q -o "$work/mails" --no-signature base..HEAD
try_series
apply_$kind
