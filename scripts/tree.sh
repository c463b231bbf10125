#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Makes build/linux: the base as one commit, tagged base, and each patch of the
# series as one commit on top, on the branch series.
#
# BASE=version asks for a version of the base, FORCE=1 throws away what is in
# build/linux and was not saved. Files whose contents stay the same are not
# touched, so that builds go on where they were.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/base.sh"

base_version()
{
	if [ -n "${BASE:-}" ]; then
		say "$BASE"
	elif [ -e "$linux/.git" ]; then
		tree_git show -s --format=%s base | sed "s/^base: $package //"
	else
		newest_version
	fi
}

newest_version()
{
	base_versions | tail -n 1
}

make_base()
{
	local version=$1 new=$build/linux.new

	fetch_base "$version"
	if [ -z "$(known_sum "$version")" ]; then
		warn "WARNING: $package $version is not in patches/base: the" \
			"series has not been tried on it. Its sha256 is $base_sum"
	fi
	say "    unpacking"
	rm -rf "$new"
	mkdir -p "$new"
	tar -C "$new" --strip-components=1 -xf "$build/download/$tarball"
	rm -f "$build/download/$tarball"

	git -C "$new" init -q -b series
	rm -rf "$linux"
	mv "$new" "$linux"
	export GIT_AUTHOR_DATE='2022-12-11T22:15:18Z'
	export GIT_COMMITTER_DATE=$GIT_AUTHOR_DATE
	tree_git add -A -f .
	tree_git commit -q -m "base: $package $version"
	# Debian's own part of it ignores every file that is not committed yet
	sed -i '/^# Debian packaging/,$d' "$linux/.gitignore"
	tree_git update-index --skip-worktree .gitignore
	tree_git tag base
	tree_git update-ref refs/fuse/saved HEAD
}

# Everything in build/linux is in the series, or can be made from it
check_saved()
{
	local head

	[ -z "${FORCE:-}" ] || return 0

	if [ -n "$(tree_git status --porcelain)" ]; then
		tree_git status --short | head -n 5 >&2
		die "build/linux has edits that are not committed; commit them" \
			"and run 'make save', or throw them away with" \
			"'make tree FORCE=1'"
	fi

	head=$(tree_git rev-parse HEAD)
	if [ "$head" != "$(tree_git rev-parse -q --verify refs/fuse/saved)" ]; then
		die "build/linux has commits that are not in patches/; run" \
			"'make save', or throw them away with" \
			"'make tree FORCE=1'"
	fi
}

# Before the first title with the same first letter that sorts after ours: some
# entries of other letters stand out of order. Who signs the series off maintains it.
insert_maintainers()
{
	local entry=$top/MAINTAINERS

	LC_ALL=C awk -v title="$(head -n 1 "$entry")" -v entry="$entry" \
		-v person="$signer" '
		/^Maintainers List/ { list = 1 }
		list && !done && previous == "" && !/^[A-Z]:\t/ &&
		toupper(substr($0, 1, 1)) == substr(title, 1, 1) &&
		toupper($0) > toupper(title) {
			while ((getline line < entry) > 0) {
				print line
				if (line == title)
					print "M:\t" person
			}
			print ""
			done = 1
		}
		{ print; previous = $0 }
	'
}

add_file()
{
	local path=$1 patch=$2 mode=100644 blob

	if [ "$path" = MAINTAINERS ]; then
		tree_git cat-file blob ":$path" | insert_maintainers \
			>"$build/tree.maintainers"
		blob=$(tree_git hash-object -w "$build/tree.maintainers")
		rm "$build/tree.maintainers"
	else
		[ -f "$top/$path" ] ||
			die "$patch adds $path, which is not here"
		if [ -n "$(tree_git ls-files -- "$path")" ]; then
			die "$patch adds $path, which the base or an earlier" \
				"patch has already"
		fi
		[ ! -x "$top/$path" ] || mode=100755
		blob=$(tree_git hash-object -w "$top/$path")
	fi
	tree_git update-index --add --cacheinfo "$mode,$blob,$path"
}

commit_message()
{
	sed -e '/^---$/,$d' -e '1s/^Subject: \[PATCH\] //' "$1"
	printf '\nSigned-off-by: %s\n' "$signer"
}

commit_patch()
{
	local patch=$1 path tree

	shift
	[ -f "$top/patches/$patch" ] ||
		die "patches/series names $patch, which is not in patches/"

	if grep -q '^diff --git ' "$top/patches/$patch" &&
	   ! tree_git apply --cached --whitespace=nowarn \
		"$top/patches/$patch" 2>"$build/tree.err"; then
		sed 's/^/    /' "$build/tree.err" >&2
		die "patches/$patch does not apply to $version (see above for" \
			"file and line)"
	fi

	for path; do
		add_file "$path" "$patch"
	done

	tree=$(tree_git write-tree)
	parent=$(commit_message "$top/patches/$patch" |
		 tree_git commit-tree "$tree" -p "$parent")
	count=$((count + 1))
}

commit_series()
{
	parent=$(tree_git rev-parse base)
	count=0
	signer=$(tree_git var GIT_COMMITTER_IDENT | sed 's/>.*/>/')
	GIT_AUTHOR_DATE=$(tree_git show -s --format=%cI base)
	GIT_COMMITTER_DATE=$GIT_AUTHOR_DATE
	GIT_INDEX_FILE=$build/tree.index
	export GIT_AUTHOR_DATE GIT_COMMITTER_DATE GIT_INDEX_FILE

	tree_git read-tree base
	series_each commit_patch
	rm -f "$build/tree.index" "$build/tree.err"
	unset GIT_INDEX_FILE
}

# Two at a time would take each other's files for old ones
exec 9>"$build/tree.lock"
flock 9
version=$(base_version)
if [ ! -e "$linux/.git" ]; then
	make_base "$version"
else
	check_saved
	if [ "$(tree_git show -s --format=%s base)" != \
	     "base: $package $version" ]; then
		make_base "$version"
	fi
fi

commit_series
# make save must not overwrite what is edited here from now on
series_sums >"$build/series.sums"

if [ "$(tree_git rev-parse HEAD)" = "$parent" ] && [ -z "${FORCE:-}" ]; then
	say "    build/linux is up to date: $version and $count patches"
	exit 0
fi

tree_git checkout -q -B series
if [ -n "${FORCE:-}" ]; then
	tree_git reset -q --hard "$parent"
else
	tree_git reset -q --keep "$parent"
fi
tree_git update-ref refs/fuse/saved "$parent"
say "    build/linux: $version and $count patches"
