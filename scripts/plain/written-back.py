#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""
Filters the requests that a server got. When, and in which pieces, the kernel
writes back pages is up to its flusher threads, from run to run. So these WRITEs
(write_flags 1, FUSE_WRITE_CACHE) are taken out, and which bytes of a file they
cover in all is said at the end. What the bytes are shows in the files.
"""

import re
import sys

WRITE = re.compile(r"WRITE (\S+) .* at (\d+) size (\d+) write_flags 1 ")


def union(pieces):
    """The pieces [start, end), those that touch made one"""
    result = []
    for start, end in sorted(pieces):
        if result and start <= result[-1][1]:
            result[-1][1] = max(result[-1][1], end)
        else:
            result.append([start, end])
    return result


written = {}
for line in sys.stdin:
    match = WRITE.match(line)
    if match:
        node, start, size = match[1], int(match[2]), int(match[3])
        written.setdefault(node, []).append((start, start + size))
    else:
        sys.stdout.write(line)
for node in sorted(written):
    print("WRITTEN BACK", node,
          " ".join(f"{start}-{end}" for start, end in union(written[node])))
