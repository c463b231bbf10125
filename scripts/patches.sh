# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Applying patches, and saying what does not fit. To be sourced after lib.sh.
#
# shellcheck disable=SC2154  # set by lib.sh

# hunk_of MAIL FILE NUMBER: its header
hunk_of()
{
	awk -v file="b/$2" -v number="$3" '
		/^\+\+\+ / { found = $2 == file; n = 0 }
		found && /^@@ / && ++n == number { print; exit }
	' "$1"
}

# Says what in the output of patch is a conflict
conflicts()
{
	local mail=$1 line file=

	while IFS= read -r line; do
		case $line in
		'patching file '*)
			file=${line#patching file }
			file=${file#\'}
			file=${file%\'}
			;;
		'Hunk #'*' FAILED at '*)
			line=${line#Hunk #}
			say "    $(basename "$mail"): $file: hunk ${line%% *}:" \
				"$(hunk_of "$mail" "$file" "${line%% *}")"
			;;
		esac
	done
}

# patch_files DIR ARGS MAIL...: 1 if a hunk does not fit exactly; says which
patch_files()
{
	local dir=$1 args=$2 mail out status=0

	shift 2
	out=$(mktemp "$build/patch.XXXXXX")
	for mail; do
		# shellcheck disable=SC2086  # words
		if ! LC_ALL=C patch -d "$dir" -p1 -F0 -f -s --verbose \
			--no-backup-if-mismatch -r - $args \
			<"$mail" >"$out" 2>&1; then
			conflicts "$mail" <"$out"
			status=1
		fi
	done
	rm -f "$out"
	return $status
}
