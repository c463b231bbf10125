#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# kcsan.sh CONSOLE: prints a console log with the same lines, but the first line
# of each of KCSAN's reports that is about other code is left empty.
#
# KCSAN finds data races all over 6.1, of which many are harmless and none is
# this project's to mend. A report counts if the function on top of either of its
# two stacks, which are the ones that its first line names, is in the list below.
# That loses nothing: what the series adds to the kernel's data is stored to by
# these functions, so that one of them has part in every race about it.
#
# One exception: 6.1's get_cred() is inlined into whoever takes a reference to
# credentials, and clears cred->non_rcu each time, without a lock. Everybody stores
# the same. So two plain stores of 4 bytes do not count if both of the functions
# are among those that call get_cred().

. "$(dirname "$0")/lib.sh"

ours='fuse_(passthrough|backing|io)_[a-z0-9_]+'
ours+='|backing_file_[a-z0-9_]+|alloc_backing_file|to_backing_file'
ours+='|file_user_path|file_user_inode|file_open_fake_path'
takes_cred='fuse_backing_(ioctl|open|alloc)|fuse_passthrough_attach'
takes_cred+='|alloc_backing_file|init_file|__alloc_file'

# "BUG: KCSAN: data-race in F / G", or with one function and an offset. To a name
# the compiler may have added something.
awk -v ours="^($ours)([.+].*)?\$" -v takes_cred="^($takes_cred)([.+].*)?\$" '
	# How many of the functions that a first line names are in a list
	function named(line, list,    i, n, name, found) {
		sub(/.*BUG: KCSAN: .* in /, "", line)
		n = split(line, name, /[ \r\/]+/)
		for (i = 1; i <= n; i++)
			if (name[i] ~ list)
				found++
		return found
	}
	# The accesses of the report that begins at a line are two such stores
	function are_stores_of_4(i,    stores) {
		for (i++; i <= NR && line[i] !~ /=====|BUG: /; i++) {
			if (line[i] !~ / to 0x[0-9a-f]+ of [0-9]+ bytes by /)
				continue
			if (line[i] !~ /\] write to 0x[0-9a-f]+ of 4 bytes by /)
				return 0
			stores++
		}
		return stores == 2
	}
	function counts(i) {
		if (!named(line[i], ours))
			return 0
		return named(line[i], takes_cred) < 2 || !are_stores_of_4(i)
	}
	{ line[NR] = $0 }
	END {
		for (i = 1; i <= NR; i++)
			if (line[i] ~ /BUG: KCSAN: / && !counts(i))
				print ""
			else
				print line[i]
	}
' "$1"
