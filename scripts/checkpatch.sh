#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# checkpatch.sh ARGS...: the kernel's checkpatch as the series has to pass it,
# on patches or, with -f, on files. Nothing of it may be left out. What has passed
# is remembered in build/checkpatch, since most patches are asked for again.

. "$(dirname "$0")/lib.sh"

[ -e "$linux/.git" ] || die "there is no build/linux; run 'make tree'"

# The modules that its SPDX check needs are those of Debian's python3
PATH=/usr/bin:/bin:$PATH

# What is checked and by what, without the headers that each format-patch makes anew
contents()
{
	local arg

	printf '%s\n' "$(codespell --version)"
	cat "$0" "$linux/scripts/checkpatch.pl" "$linux/scripts/spelling.txt"
	for arg; do
		case $arg in
		-*) say "$arg" ;;
		*) sed -E '1,/^$/ {
			/^(From [0-9a-f]+|Date:|Message-Id:|In-Reply-To:|References:)/d
			s/^Subject: \[[^]]*\]/Subject:/
		   }' "$arg" ;;
		esac
	done
}

known=$build/checkpatch/$(contents "$@" | sha256sum | cut -d ' ' -f 1)
[ ! -e "$known" ] || exit 0

out=$(mktemp -d "$build/checkpatch.XXXXXX")
trap 'rm -rf "$out"' EXIT

# What checkpatch takes for words, in lower case
words()
{
	LC_ALL=C tr -c "A-Za-z0-9_'\`-" '\n' | LC_ALL=C tr '[:upper:]' '[:lower:]' |
		sort -u
}

# The dictionary's entries whose misspelling occurs, since checkpatch searches each
# line for all that it gets, 50,000 otherwise; those that are no word by itself are
# left in. Without names that the kernel has: filp, iput.
entries()
{
	awk -F '->' -v other="[^A-Za-z0-9_'\`-]" '
		NR == FNR { there[$1]; next }
		$1 == "filp" || $1 == "iput" { next }
		tolower($1) in there || $1 ~ other' \
		<(cat "${files[@]}" | words) "$1"
}

files=()
for arg; do
	[[ $arg == -* ]] || files+=("$arg")
done
dictionary=$(dpkg -L codespell | grep '/dictionary.txt$') ||
	die "codespell has no dictionary; run 'make deps'"
entries "$dictionary" >"$out/dictionary"

# FILE_PATH_CHANGES: the entry in MAINTAINERS is a patch of its own, at the end.
# ENOSYS: what a FUSE server answers a request with that it does not implement.
status=0
(cd "$linux" && scripts/checkpatch.pl --strict \
	--codespell --codespellfile "$out/dictionary" \
	--ignore FILE_PATH_CHANGES,ENOSYS "$@") >"$out/log" 2>&1 || status=1

# It goes on without what it cannot run
if grep -E 'No codespell|No structs|Traceback' "$out/log"; then
	say "^ a part of checkpatch did not run"
	status=1
fi
if [ "$status" = 0 ]; then
	mkdir -p "$build/checkpatch"
	touch "$known"
else
	cat "$out/log"
fi
exit "$status"
