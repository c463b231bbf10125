#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Tries make apply and make unapply on trees that have no more than the files that
# the series touches: a git repository and a plain tree, in each of the states that
# they have to refuse.

. "$(dirname "$0")/lib.sh"

out=$build/check-apply
passed=0
failed=0

[ -e "$linux/.git" ] || die "there is no build/linux; run 'make tree'"
rm -rf "$out"
mkdir -p "$out"

# check NAME WANTED-STATUS WANTED-TEXT COMMAND...
check()
{
	local name=$1 wanted=$2 text=$3 status=0

	shift 3
	"$@" >"$out/log" 2>&1 || status=$?
	if [ "$status" = "$wanted" ] &&
	   { [ -z "$text" ] || grep -q -e "$text" "$out/log"; }; then
		passed=$((passed + 1))
		say "    $name: ok"
	else
		failed=$((failed + 1))
		say "    FAILED: $name: exit status $status, not $wanted, or" \
			"without '$text':"
		tail -n 5 "$out/log" | sed 's/^/    | /'
	fi
}

apply()
{
	TREE=$tree "$top/scripts/apply.sh"
}

unapply()
{
	TREE=$tree "$top/scripts/apply.sh" -R
}

# The files, their modes and contents
state()
{
	(cd "$tree" && find . -name .git -prune -o -type f -printf '%m ' \
		-exec sha256sum {} + | sort -k 3) | sha256sum
}

# same NAME STATE: the tree is in that state again
same()
{
	check "$1: the tree is as it was" 0 '' test "$(state)" = "$2"
}

# shellcheck disable=SC2317  # called by check
is_series()
{
	local file

	for file in $(tree_git diff --no-renames --name-only base HEAD); do
		tree_git show "HEAD:$file" | cmp - "$tree/$file" || return
	done
}

# both KIND: what holds for a git repository and for a plain tree
both()
{
	local kind=$1 clean

	clean=$(state)
	check "$kind: unapply without apply" 1 'no record' unapply
	same "$kind: unapply without apply" "$clean"
	check "$kind: apply" 0 '' apply
	check "$kind: the files are those of the series" 0 '' is_series
	check "$kind: apply again" 0 'has the series already' apply
	check "$kind: unapply" 0 'off' unapply
	same "$kind: unapply" "$clean"

	touch "$tree/fs/fuse/backing.c"
	check "$kind: a file of the series is there" 1 'fs/fuse/backing.c already' \
		apply
	rm "$tree/fs/fuse/backing.c"
	same "$kind: a file of the series is there" "$clean"
}

# Breaks the context of one hunk
break_hunk()
{
	sed -i 's/^   fuse-io$/   fuse-io-x/' \
		"$tree/Documentation/filesystems/index.rst"
}

conflict='00[0-9][0-9]-Documentation.*Documentation/filesystems/index.rst: hunk 1'

tree=$out/git
sparse_clone "$tree"
git_in "$tree" checkout -q -B mine base
git_in "$tree" config user.name "A User"
git_in "$tree" config user.email user@example.org
both git
echo >>"$tree/fs/open.c"
check "git: edits" 1 'not committed' apply
git_in "$tree" checkout -q fs/open.c
apply >"$out/log"
check "git: who commits" 0 'A User <user@example.org>' \
	git_in "$tree" log -1 --format='%an <%ae>%n%(trailers)'
echo >>"$tree/fs/open.c"
check "git: unapply with edits" 1 'not committed' unapply
git_in "$tree" commit -q -a -m "on top"
check "git: unapply with commits on top" 1 'on top of the series' unapply
git_in "$tree" reset -q --hard HEAD~
unapply >"$out/log"
break_hunk
git_in "$tree" commit -q -a -m "conflict"
before=$(state)
check "git: conflict" 1 "$conflict" apply
same "git: conflict" "$before"

tree=$out/plain
mkdir "$tree"
mapfile -t files < <(git_in "$out/git" ls-files -t | sed -n 's/^H //p')
git_in "$out/git" archive base "${files[@]}" | tar -x -C "$tree"
both plain
apply >"$out/log"
echo >>"$tree/fs/open.c"
check "plain: unapply with edits" 1 'fs/open.c' unapply
sed -i '$d' "$tree/fs/open.c"
unapply >"$out/log"
break_hunk
before=$(state)
check "plain: conflict" 1 "$conflict" apply
same "plain: conflict" "$before"
rm "$tree/fs/seq_file.c"
check "plain: a file is missing" 1 'fs/seq_file.c is edited' apply
sed -i 's/^PATCHLEVEL = 1$/PATCHLEVEL = 6/' "$tree/Makefile"
check "another version" 1 'is Linux 6\.6\.' apply
rm "$tree/Makefile"
check "no kernel tree" 1 'not a kernel tree' apply
tree=$out/nothing
check "no such directory" 1 'not a directory' apply
tree=
check "no tree given" 1 'give the tree' apply

# For a git repository, apply leaves build/linux with that user's commits
"$top/scripts/tree.sh"
rm -rf "$out"
say "$passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
