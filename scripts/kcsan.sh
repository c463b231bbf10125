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

. "$(dirname "$0")/lib.sh"

ours='fuse_(passthrough|backing|io)_[a-z0-9_]+'
ours+='|backing_file_[a-z0-9_]+|alloc_backing_file|to_backing_file'
ours+='|file_user_path|file_user_inode|file_open_fake_path'

# "BUG: KCSAN: data-race in F / G", or with one function and an offset. To a name
# the compiler may have added something.
awk -v ours="^($ours)([.+].*)?\$" '
	function is_ours(    i, n, name) {
		n = split($0, name, /[ \r\/]+/)
		for (i = 1; i <= n; i++)
			if (name[i] ~ ours)
				return 1
		return 0
	}
	{ print /BUG: KCSAN: / && !is_ours() ? "" : $0 }
' "$1"
