# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# What the scripts share. To be sourced; sets -eu.

set -eu -o pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$(realpath -m "${BUILD:-$top/build}")
linux=$build/linux
# shellcheck disable=SC2034  # used by the scripts that source this
jobs=${JOBS:-$(nproc)}

mkdir -p "$build"

say()
{
	printf '%s\n' "$*"
}

warn()
{
	printf '%s: %s\n' "${0##*/}" "$*" >&2
}

die()
{
	warn "$*"
	exit 1
}

# logged NAME COMMAND...: the output goes to build/log/NAME.log, its end is
# shown if the command fails
logged()
{
	local log=$build/log/$1.log start=$SECONDS

	shift
	mkdir -p "$build/log"
	if "$@" >"$log" 2>&1 </dev/null; then
		say "    $(basename "$log" .log): ok, $((SECONDS - start)) s"
		return 0
	fi
	say "    $(basename "$log" .log): FAILED, the end of $log:"
	tail -n 30 "$log" | sed 's/^/    | /'
	return 1
}

# bad_lines CONSOLE [LIST]: the first lines of a console log that must not be
# there; if it cannot be searched, a line that says so
bad_lines()
{
	local list=${2:-$top/scripts/console-bad.txt} patterns bad='' log status=0

	patterns=$(grep -v -e '^#' -e '^!' -e '^$' "$list") || {
		say "cannot search for anything: $list has no patterns"
		return
	}
	log=$(mktemp)
	if "$top/scripts/kcsan.sh" "$1" >"$log"; then
		# The stack of whoever was refused memory, as fault_test wants it
		sed -i '/ vmalloc error: /,/Call Trace:/s/Call Trace:/stack:/' "$log"
		bad=$(grep -a -n -E -e "$patterns" "$log") || status=$?
	else
		status=2
	fi
	rm "$log"
	if [ $status = 0 ]; then
		bad=$(grep -a -v -E -f <(sed -n 's/^!//p' "$list") <<<"$bad") ||
			status=$?
	fi
	if [ $status -gt 1 ]; then
		say "cannot search $1 for what is in $list"
	elif [ -n "$bad" ]; then
		head -n 5 <<<"$bad"
	fi
}

# What failed, line by line, to be shown again at the end of a long run
failures=

# note_failure TEXT: one failure more
note_failure()
{
	failed=$((failed + 1))
	say "    failed: $*"
	failures+="    failed: $*"$'\n'
}

# note_failures FILE: what failed there, and the quotation below each
note_failures()
{
	failures+=$(sed -n -E '
		$d
		/(failed|timed out|VM lost|log unreadable|FAILED)(:|,|$)|^ *FAIL/ {
			p; b
		}
		/^    \| /p' "$1")$'\n'
}

# add_verdict FILE STATUS: adds to $passed, $failed and $skipped what the last line
# of FILE says, the output of a run of tests that ended with STATUS
add_verdict()
{
	local last status=$2

	last=$(tail -n 1 "$1" 2>/dev/null || true)
	if ! [[ $last =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed,\ ([0-9]+)\ skipped$ ]]
	then
		note_failure "did not come to its end, see $1"
		return
	fi

	passed=$((passed + BASH_REMATCH[1]))
	failed=$((failed + BASH_REMATCH[2]))
	skipped=$((skipped + BASH_REMATCH[3]))
	[ "${BASH_REMATCH[2]}" = 0 ] || note_failures "$1"
	if [ $((BASH_REMATCH[1] + BASH_REMATCH[2] + BASH_REMATCH[3])) = 0 ]; then
		note_failure "nothing was tested, see $1"
	elif [ "$status" != 0 ] && [ "${BASH_REMATCH[2]}" = 0 ]; then
		note_failure "ended with status $status, see $1"
	fi
}

# VMs in the background: an emulated one keeps little more than one CPU busy
declare -A vms=()

# start_vm FILE COMMAND...: as soon as there are fewer than $jobs. Its output, of
# which the last line is the verdict, goes to FILE, and is printed at its end.
start_vm()
{
	local out=$1

	shift
	trap 'kill "${!vms[@]}" 2>/dev/null; wait; exit 130' INT TERM
	[ ${#vms[@]} -lt "$jobs" ] || wait_for_vm
	"$@" >"$out" 2>&1 &
	vms[$!]=$out
}

wait_for_vm()
{
	local pid status=0

	wait -n -p pid || status=$?
	cat "${vms[$pid]}"
	add_verdict "${vms[$pid]}" $status
	unset "vms[$pid]"
}

wait_for_vms()
{
	while [ ${#vms[@]} -gt 0 ]; do
		wait_for_vm
	done
}

# git_in DIR ARGS...: with the git identity of whoever runs this
git_in()
{
	local dir=$1 name email

	shift
	name=$(git config user.name || echo "fuse-passthrough")
	email=$(git config user.email || echo "fuse-passthrough@localhost")
	git -C "$dir" -c core.autocrlf=false -c gc.auto=0 \
		-c user.name="$name" -c user.email="$email" "$@"
}

tree_git()
{
	git_in "$linux" "$@"
}

# sparse_clone DIR: a repository with the objects of build/linux, of whose files
# only the Makefile and those that the series touches will be there
sparse_clone()
{
	rm -rf "$1"
	git clone -q --shared --no-checkout "$linux" "$1"
	{
		say Makefile
		tree_git diff --no-renames --name-only base HEAD
	} | sed 's|^|/|' | git_in "$1" sparse-checkout set --no-cone --stdin
}

# The objects that the series touches outside of whole directories of its own
touched_objects()
{
	tree_git diff --no-renames --name-only base HEAD |
		grep -v -E '^(tools|Documentation|fs/fuse|fs/overlayfs)/' |
		sed -n 's/\.c$/.o/p'
}

# check_fuse_symbols OBJ: what the objects in OBJ/fs/fuse want of each other is there.
# Compiling them does not tell; they may be lacking only where an option is off.
check_fuse_symbols()
{
	local dir=$1/fs/fuse files lacking

	files=$dir/fuse.o
	[ -z "$(ar t "$dir/built-in.a" 2>/dev/null)" ] || files=$dir/built-in.a
	[ -e "$files" ] || {
		say "there is no $files"
		return 1
	}
	lacking=$(LC_ALL=C comm -23 \
		<(nm -u "$files" | awk '$2 ~ /^fuse_/ { print $2 }' |
			LC_ALL=C sort -u) \
		<(nm --defined-only "$files" | awk '{ print $3 }' |
			LC_ALL=C sort -u)) || return
	[ -z "$lacking" ] || {
		say "$files does not link, there is no:" "$lacking"
		return 1
	}
}

# series_each FUNCTION: calls it with each patch and the new files it adds
series_each()
{
	local line patch='' files=()

	while IFS= read -r line || [ -n "$line" ]; do
		case $line in
		'#'* | '') ;;
		[[:space:]]*)
			read -r line <<<"$line"
			files+=("$line")
			;;
		*)
			if [ -n "$patch" ]; then
				"$1" "$patch" "${files[@]}"
			fi
			patch=$line
			files=()
			;;
		esac
	done <"$top/patches/series"

	if [ -n "$patch" ]; then
		"$1" "$patch" "${files[@]}"
	fi
}

# The series as it lies here: its patches and the files that they add
series_sums()
{
	(cd "$top" && find patches fs include tools Documentation MAINTAINERS \
		-type f ! -path patches/base ! -path 'patches/*.txt' \
		-exec sha256sum {} +) | sort
}

# list_programs DIR: what of the kselftests installed there $TESTS asks for
list_programs()
{
	if [ -n "${TESTS:-}" ]; then
		tr -s ' ' '\n' <<<"$TESTS" | sed '/^$/d'
	else
		sed 's/.*://' "$1/kselftest-list.txt"
	fi
}

# Every clone, and every patch of the series, compiles much of the same text.
use_ccache()
{
	[ -d /usr/lib/ccache ] || return 0
	export PATH=/usr/lib/ccache:$PATH
	export CCACHE_BASEDIR=$build CCACHE_NOHASHDIR=1
	export CCACHE_SLOPPINESS=include_file_mtime,include_file_ctime
}

# install_selftests DIR: the programs are the same for every kernel, and made once
install_selftests()
{
	local out=$build/selftests

	mkdir -p "$out"
	exec 8>"$out/lock"
	flock 8
	make -s -C "$linux" O="$out" headers_install || return
	CFLAGS=-Werror make -s -C "$linux/tools/testing/selftests" -j"$jobs" O="$out" \
		TARGETS=filesystems/fuse SKIP_TARGETS='' \
		INSTALL_PATH="$1" FORCE_TARGETS=1 install || return
	exec 8>&-
}
