#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Writes the series as mails to outgoing/vN: a cover letter, the patches, and
# in the file cc whom they concern. VERSION=N says which posting it is; 1 unless
# given. If an earlier one is still there, the cover letter says what changed.
# Nothing is sent.
#
# The sender's name, as git has it, is in the sign-offs and in MAINTAINERS. A mail of
# more than 100,000 characters is an error: mailing lists take no more.
#
# The text is patches/cover-letter.txt; what is in patches/measured.txt, if that is
# there, goes where it says @MEASURED@.

. "$(dirname "$0")/lib.sh"

version=${VERSION:-1}
out=$top/outgoing/v$version
cover=$top/patches/cover-letter.txt
measured=$top/patches/measured.txt

case $version in
[1-9] | [1-9][0-9]) ;;
*) die "VERSION is '$version', but has to be a number from 1 to 99" ;;
esac

for ident in AUTHOR COMMITTER; do
	git -C "$top" -c user.useConfigOnly=true var "GIT_${ident}_IDENT" \
		>/dev/null 2>&1 ||
		die "git does not know who sends this. Say it, with" \
			"'git config user.name \"First Last\"' and" \
			"'git config user.email name@example.org', and run" \
			"'make series' again"
done

# The text of the cover letter: measurements, if there are any, and the base
cover_text()
{
	local base

	base="The base is Debian's $(tree_git show -s --format=%s base |
		sed 's/^base: //'), tree $(tree_git rev-parse --short=12 'base^{tree}')."
	awk -v measured="$measured" -v base="$base" '
		$0 == "@MEASURED@" {
			n = 0
			while ((getline line < measured) > 0) {
				print line
				n++
			}
			skip = !n
			next
		}
		skip && $0 == "" { skip = 0; next }
		$0 == "@BASE@" { print base; next }
		{ print }
	' "$cover"
}

# previous_posting: the newest that is older than this one
previous_posting()
{
	local n

	for ((n = version - 1; n > 0; n--)); do
		if [ -d "$top/outgoing/v$n" ]; then
			say "$n"
			return
		fi
	done
}

# am_onto_base DIR MAIL...: the mails as commits in a repository of their own
am_onto_base()
{
	local dir=$1

	shift
	sparse_clone "$dir" || return
	git_in "$dir" checkout -q --detach base || return
	git_in "$dir" am -q --empty=drop "$@"
}

# Sets $range_diff if a posting is there to compare with
find_range_diff()
{
	local previous dir=$build/series-previous

	range_diff=()
	previous=$(previous_posting)
	[ -n "$previous" ] || return 0
	if ! am_onto_base "$dir" "$top/outgoing/v$previous"/*.patch \
		>"$build/series.log" 2>&1; then
		warn "WARNING: no range-diff: outgoing/v$previous does not" \
			"apply to this base, see $build/series.log"
		return 0
	fi
	tree_git fetch -q "$dir" "+HEAD:refs/fuse/posted/v$previous"
	range_diff=("--range-diff=base..refs/fuse/posted/v$previous")
	say "    with the range-diff to outgoing/v$previous"
}

# Commits have the date of the base, so that they stay the same; mails do not
date_mails()
{
	local mail now

	now=$(date +%s)
	for mail in "$new"/*.patch; do
		sed -i "0,/^Date: .*/s//Date: $(date -R -d "@$now")/" "$mail"
		now=$((now + 1))
	done
}

write_mails()
{
	local reroll=()

	[ "$version" = 1 ] || reroll=(-v "$version")
	rm -rf "$new"
	mkdir -p "$new"
	tree_git -c "branch.series.description=$(cover_text)" \
		-c format.useAutoBase=false format-patch -q -o "$new" \
		--cover-letter --cover-from-description=subject \
		--subject-prefix='PATCH 6.1' "${reroll[@]}" --numbered \
		--base=base --thread=shallow --no-signature \
		"${range_diff[@]}" base..series || return
	date_mails
}

write_cc()
{
	(cd "$linux" && scripts/get_maintainer.pl --no-rolestats --no-git \
		--no-git-fallback "$new"/*[0-9][0-9][0-9][1-9]-*.patch \
		"$new"/*[0-9][0-9][1-9]0-*.patch) >"$new/cc"
}

check_am()
{
	local dir=$build/series-am

	am_onto_base "$dir" "$new"/*.patch || return
	if [ "$(git -C "$dir" rev-parse 'HEAD^{tree}')" != \
	     "$(tree_git rev-parse 'series^{tree}')" ]; then
		git_in "$dir" diff --stat HEAD series
		say "^ git am of the mails gives another tree"
		return 1
	fi
	rm -rf "$dir"
}

# The kernel's lists refuse more, see "Taboo things" of vger's majordomo-info
max_mail=100000

check_sizes()
{
	local mail size failed=0

	for mail in "$new"/*.patch; do
		size=$(wc -c <"$mail")
		if [ "$size" -gt "$max_mail" ]; then
			say "$(basename "$mail") has $size characters, which is" \
				"more than the $max_mail that lists take"
			failed=1
		fi
	done
	return "$failed"
}

check_mails()
{
	local mail failed=0

	for mail in "$new"/*.patch; do
		case $mail in
		*0000-cover-letter.patch) continue ;;
		esac
		"$top/scripts/checkpatch.sh" "$mail" || failed=1
	done
	return "$failed"
}

"$top/scripts/tree.sh"
new=$build/outgoing
find_range_diff
logged series-mails write_mails
logged series-cc write_cc
logged series-am check_am
logged series-sizes check_sizes
logged series-checkpatch check_mails

rm -rf "$out"
mkdir -p "$top/outgoing"
mv "$new" "$out"
say "    $(find "$out" -name '*.patch' | wc -l) mails in outgoing/v$version;" \
	"nothing has been sent. To do so:"
say "    git send-email --cc-cmd='cat outgoing/v$version/cc' --to=..." \
	"outgoing/v$version/*.patch"
