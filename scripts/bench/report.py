#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""
Reads what bench.sh measured.

report.py report DIR BASE       tables, DIR/results.json, bars and the verdict
report.py short-cells DIR NAME  the cells of fio that are short of their bar
report.py readme DIR README SVG the table in README between its two markers, and
                                the picture, from DIR/results.json
"""

import collections
import json
import math
import os
import statistics
import sys
import time
from xml.sax.saxutils import escape

# What is held to what, as a ratio to native on tmpfs, and what 6.12 comes to
RATIO_BARS = [
    ("pread-1", 1.12),
    ("pread-4k", 1.02),
    ("pwrite-1", 1.25),
    ("pwrite-4k", 1.05),
    ("pwrite-64k", 1.01),
    ("pread-4k-fstat", 1.15),
    ("pwrite-1-no-killpriv", 1.25),
    ("pwrite-4k-no-killpriv", 1.05),
    ("pwrite-64k-no-killpriv", 1.01),
]
WRITES = ["pwrite-1", "pwrite-4k", "pwrite-64k", "pwrite-1m",
          "pwrite-1-no-killpriv", "pwrite-4k-no-killpriv",
          "pwrite-64k-no-killpriv"]
# The end of the modes, in logs, of servers without FUSE_HANDLE_KILLPRIV_V2:
# what they do is shown as operations of their own
NO_KILLPRIV = "-no-killpriv"
FIO_BAR = 0.95
# How much more one more may cost with the most ids than with ten
GROWTH_BAR = 1.10
GROWTH = ["backing-open", "open", "read-4k", "close", "backing-close"]
NO_FIGURES = {"ops": {}, "scale": {}, "memory": {}, "cached": {}, "fio": {}}
BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"

NAMES = {
    "pread-1": "pread 1 B", "pread-4k": "pread 4 KiB",
    "pread-64k": "pread 64 KiB", "pread-1m": "pread 1 MiB",
    "pwrite-1": "pwrite 1 B", "pwrite-4k": "pwrite 4 KiB",
    "pwrite-64k": "pwrite 64 KiB", "pwrite-1m": "pwrite 1 MiB",
    "pwrite-1-no-killpriv": "pwrite 1 B, no KILLPRIV_V2",
    "pwrite-4k-no-killpriv": "pwrite 4 KiB, no KILLPRIV_V2",
    "pwrite-64k-no-killpriv": "pwrite 64 KiB, no KILLPRIV_V2",
    "open-close": "open + close",
    "pread-4k-fstat": "pread 4 KiB + fstat",
    "pwrite-4k-fstat": "pwrite 4 KiB + fstat",
    "mmap-munmap": "mmap + munmap",
    "fault-read": "page of a mapping, read",
    "fault-write": "page of a mapping, written",
    "sendfile-from-64k": "sendfile from it, 64 KiB",
    "sendfile-to-64k": "sendfile into it, 64 KiB",
    "libaio-read-4k": "libaio read 4 KiB",
    "libaio-write-4k": "libaio write 4 KiB",
    "io_uring-read-4k": "io_uring read 4 KiB",
    "io_uring-write-4k": "io_uring write 4 KiB",
    "direct-pread-4k": "O_DIRECT pread 4 KiB",
    "direct-pwrite-4k": "O_DIRECT pwrite 4 KiB",
    "direct-libaio-read-4k": "O_DIRECT libaio read 4 KiB",
    "direct-libaio-write-4k": "O_DIRECT libaio write 4 KiB",
    "direct-io_uring-read-4k": "O_DIRECT io_uring read 4 KiB",
    "direct-io_uring-write-4k": "O_DIRECT io_uring write 4 KiB",
}
# What the picture and README show
SHOWN = ["pread-1", "pread-4k", "pread-64k", "pwrite-1", "pwrite-4k",
         "pwrite-64k", "pwrite-1-no-killpriv", "pwrite-4k-no-killpriv",
         "pread-4k-fstat", "pwrite-4k-fstat", "fault-read",
         "sendfile-from-64k", "libaio-read-4k", "mmap-munmap",
         "open-close"]


def tree():
    return collections.defaultdict(tree)


def add_op(ops, op, mode, figure):
    if mode.endswith(NO_KILLPRIV):
        # Native has no server: it is the same, and was measured before
        ops[op + NO_KILLPRIV]["native"] = ops[op]["native"]
        op, mode = op + NO_KILLPRIV, mode.removesuffix(NO_KILLPRIV)
    ops[op][mode] = figure


def read_log(path, figures):
    """Adds the lines of one VM's log to the figures of one kernel."""
    with open(path, encoding="ascii", errors="replace") as log:
        for line in log:
            word = line.split()
            if not word:
                continue
            if word[0] == "kernel":
                figures["kernel"] = word[1]
            elif word[0] == "op" and word[4] != "-":
                add_op(figures["ops"][word[1]], word[3], word[2], {
                    "instructions": float(word[4]),
                    "requests": float(word[5]),
                })
            elif word[0] == "scale":
                figures["scale"][word[2]][word[1]] = float(word[3])
            elif word[0] == "memory":
                figures["memory"][word[1]] = float(word[2])
            elif word[0] == "cached":
                figures["cached"][word[1]] = int(word[2]) / int(word[3])
            elif word[0] == "fio":
                # Again from round 0 where cells were measured again
                cell = " ".join(word[1:7])
                rounds = figures["fio"][cell].setdefault(word[7], [])
                rounds.append(float(word[9]))


def read_all(directory):
    results = {}
    for name in ("series", "peer"):
        figures = tree()
        for kind in NO_FIGURES:
            figures[kind] = tree()
        for part in ("instructions", "scaling", "fio"):
            path = os.path.join(directory, f"{name}-{part}.log")
            if os.path.exists(path):
                read_log(path, figures)
        if "kernel" in figures:
            # Without the making of what is missing
            results[name] = json.loads(json.dumps(figures))
    return results


def ratio(figures, fs, op, mode):
    """Instructions as a ratio to native on the same kernel, or None"""
    try:
        modes = figures["ops"][fs][op]
        return (modes[mode]["instructions"] /
                modes["native"]["instructions"])
    except KeyError:
        return None


def requests(figures, fs, op, mode):
    try:
        return figures["ops"][fs][op][mode]["requests"]
    except KeyError:
        return None


def fio_ratios(rounds, mode):
    """Of each round, since what disturbed it disturbed both"""
    return [a / b for a, b in zip(rounds.get(mode, []),
                                  rounds.get("native", [])) if b]


def show(value, digits=2):
    return "-" if value is None else f"{value:.{digits}f}"


def ops_table(results, fs):
    """The rows of the table of instructions, the heading first"""
    series, peer = results.get("series"), results.get("peer")
    head = ["operation", "native", "plain FUSE", "asked", "passthrough",
            "asked"]
    if peer:
        head += ["6.12's passthrough", "asked"]
    rows = [head]
    for op, name in NAMES.items():
        # There is no direct I/O on tmpfs
        if "native" not in series["ops"].get(fs, {}).get(op, {}):
            continue
        row = [name,
               show(series["ops"][fs][op]["native"]["instructions"], 0)]
        for figures, mode in [(series, "plain"), (series, "passthrough")] + \
                ([(peer, "passthrough")] if peer else []):
            row += [show(ratio(figures, fs, op, mode)),
                    show(requests(figures, fs, op, mode))]
        rows.append(row)
    return rows


def scale_table(figures):
    counts = sorted({int(n) for what in figures["scale"].values()
                     for n in what})
    rows = [["ids and open files"] + [str(n) for n in counts]]
    for what, values in figures["scale"].items():
        rows.append([what] + [show(values.get(str(n)), 0) for n in counts])
    return rows


def fio_table(figures):
    rows = [["cell", "native IO/s", "plain", "passthrough", "spread"]]
    for cell, rounds in figures["fio"].items():
        ratios = sorted(fio_ratios(rounds, "passthrough"))
        plain = fio_ratios(rounds, "plain")
        if not ratios:
            continue
        rows.append([cell, show(statistics.median(rounds["native"]), 0),
                     show(statistics.median(plain)) if plain else "-",
                     show(statistics.median(ratios), 3),
                     f"{ratios[0]:.2f}..{ratios[-1]:.2f} of {len(ratios)}"])
    return rows


def print_table(rows):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("    " + row[0].ljust(widths[0]) + "".join(
            "  " + cell.rjust(width)
            for cell, width in zip(row[1:], widths[1:])))
    print()


class Bars:
    """A line for each bar, and the counts"""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def held(self, what, value, met, bar):
        if value is None:
            self.skipped += 1
            print(f"    skipped: {what}: not measured (bar: {bar})")
        elif met(value):
            self.passed += 1
            print(f"    passed: {what}: {show(value, 3)} (bar: {bar})")
        else:
            self.failed += 1
            print(f"    FAILED: {what}: {show(value, 3)} (bar: {bar})")

    def at_most(self, what, value, bar):
        self.held(what, value, lambda v: v <= bar, f"at most {bar}")

    def at_least(self, what, value, bar):
        self.held(what, value, lambda v: v >= bar, f"at least {bar}")


def speed_up(figures, cell, mode):
    """Of two jobs on one file over one, or None"""
    try:
        one = figures["fio"][cell + " 1"][mode]
        two = figures["fio"][cell + " same"][mode]
        return statistics.median(two) / statistics.median(one)
    except (KeyError, statistics.StatisticsError, ZeroDivisionError):
        return None


def growth(figures, what):
    values = figures["scale"].get(what)
    if not values or "10" not in values:
        return None
    most = max(values, key=int)
    return values[most] / values["10"] if int(most) > 10 else None


def check_bars(figures):
    bars = Bars()
    for op, bar in RATIO_BARS:
        bars.at_most(f"{NAMES[op]} on tmpfs, instructions to native",
                     ratio(figures, "tmpfs", op, "passthrough"), bar)
    for op in WRITES:
        bars.at_most(f"{NAMES[op]} on tmpfs, requests to the server",
                     requests(figures, "tmpfs", op, "passthrough"), 0)
    for what in GROWTH:
        bars.at_most(f"{what} with the most ids, to that with 10",
                     growth(figures, what), GROWTH_BAR)
    cached = figures["cached"]
    bars.at_most("pages cached for each one of the file",
                 cached.get("passthrough"), 1.01)
    for cell, rounds in figures["fio"].items():
        ratios = fio_ratios(rounds, "passthrough")
        bars.at_least(f"fio {cell}, IO/s to native",
                      statistics.median(ratios) if ratios else None, FIO_BAR)
    if not figures["fio"]:
        bars.at_least("fio, IO/s to native", None, FIO_BAR)
    for fs in ("tmpfs", "ext4", "xfs"):
        cell = f"{fs} buffered psync write 4k"
        native = speed_up(figures, cell, "native")
        ours = speed_up(figures, cell, "passthrough")
        bars.at_least(f"speed-up by a second writer of one file on {fs}, "
                      "to native's",
                      ours / native if ours and native else None, FIO_BAR)
    return bars


def report(directory, base):
    results = read_all(directory)
    results["date"] = time.strftime("%Y-%m-%d", time.gmtime())
    results["base"] = base
    with open(os.path.join(directory, "results.json"), "w",
              encoding="ascii") as out:
        json.dump(results, out, indent=1)
        out.write("\n")

    series = results.get("series", NO_FIGURES)
    for fs in series["ops"]:
        print(f"Instructions per operation on {fs}: native, and ratios to it. "
              "'asked': requests to the server.\n")
        print_table(ops_table(results, fs))
    for name in ("series", "peer"):
        figures = results.get(name, NO_FIGURES)
        if figures["scale"]:
            print(f"Instructions, {figures['kernel']}: of one more\n")
            print_table(scale_table(figures))
        if figures["memory"]:
            print(f"Slab, {figures['kernel']}, bytes: " + ", ".join(
                f"{what} {show(value, 0)}"
                for what, value in figures["memory"].items()))
            print("Pages in page caches for each one read: " + ", ".join(
                f"{mode} {show(value)}"
                for mode, value in figures["cached"].items()) + "\n")
        if figures["fio"]:
            print(f"fio, {figures['kernel']}: median IO/s, and medians of the "
                  "rounds' ratios to native\n")
            print_table(fio_table(figures))

    bars = check_bars(series)
    print(f"{bars.passed} passed, {bars.failed} failed, "
          f"{bars.skipped} skipped")
    return 1 if bars.failed else 0


def short_cells(directory, name):
    figures = read_all(directory).get(name, NO_FIGURES)
    for cell, rounds in figures["fio"].items():
        ratios = fio_ratios(rounds, "passthrough")
        if ratios and statistics.median(ratios) < FIO_BAR:
            print(cell)
    return 0


class Picture:
    """Ratios to native on tmpfs, a row for each operation, on a log scale"""

    LEFT, TOP, ROW, WIDTH, RIGHT = 220, 84, 26, 790, 40
    # Readable on white and on black
    STYLE = """
text { font: 13px sans-serif; fill: #57606a; }
.title { font-size: 16px; font-weight: bold; }
.note { font-size: 11px; }
.grid { stroke: #8b949e; stroke-opacity: .35; }
.one { stroke: #8b949e; stroke-width: 2; }
.plain { fill: #8b949e; } .peer { fill: #d4761b; } .ours { fill: #1f7fd6; }
@media (prefers-color-scheme: dark) {
  text { fill: #b1bac4; }
}
"""
    SERIES = [("plain", "plain FUSE, 6.1"),
              ("peer", "mainline's passthrough, 6.12"),
              ("ours", "this passthrough, 6.1")]

    def __init__(self, results):
        self.results = results
        self.rows = [row for row in map(self.row, SHOWN) if row]
        self.top_ratio = max(max(r for r in values.values() if r)
                             for _, values in self.rows) * 1.2
        self.height = self.TOP + self.ROW * len(self.rows) + 62

    def row(self, op):
        series = self.results.get("series", {"ops": {}})
        peer = self.results.get("peer", {"ops": {}})
        values = {"plain": ratio(series, "tmpfs", op, "plain"),
                  "peer": ratio(peer, "tmpfs", op, "passthrough"),
                  "ours": ratio(series, "tmpfs", op, "passthrough")}
        return (NAMES[op], values) if values["ours"] else None

    def x(self, value):
        """Left of native is a margin, for what is a little below it."""
        span = self.WIDTH - self.LEFT - self.RIGHT
        low = math.log10(0.85)
        return self.LEFT + span * (math.log10(max(value, 0.85)) - low) / (
            math.log10(self.top_ratio) - low)

    def legend(self):
        x = 12
        for name, text in self.SERIES:
            if name == "peer" and "peer" not in self.results:
                continue
            yield self.mark(name, x + 5, 46)
            yield f'<text x="{x + 16}" y="50">{escape(text)}</text>'
            x += 250

    @staticmethod
    def mark(name, x, y):
        """A shape of its own for each, for who does not see the colours"""
        if name == "plain":
            return (f'<rect class="plain" x="{x - 4:.1f}" y="{y - 4}" '
                    'width="8" height="8"/>')
        if name == "peer":
            return (f'<path class="peer" d="M{x:.1f} {y - 6}l6 11h-12z"/>')
        return f'<circle class="ours" cx="{x:.1f}" cy="{y}" r="5.5"/>'

    def grid(self, bottom):
        for value in (1, 2, 5, 10, 20, 50, 100, 200):
            if value > self.top_ratio:
                break
            x = self.x(value)
            kind = "one" if value == 1 else "grid"
            label = "native" if value == 1 else f"{value} times"
            yield (f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" '
                   f'y1="{self.TOP - 14}" y2="{bottom}"/>')
            yield (f'<text class="note" text-anchor="middle" x="{x:.1f}" '
                   f'y="{bottom + 16}">{label}</text>')

    def svg(self):
        bottom = self.TOP + self.ROW * len(self.rows) - 8
        yield ('<svg xmlns="http://www.w3.org/2000/svg" role="img" '
               f'viewBox="0 0 {self.WIDTH} {self.height}" '
               f'width="{self.WIDTH}" height="{self.height}">')
        yield "<title>What an operation costs, as a ratio to native</title>"
        yield f"<style>{self.STYLE}</style>"
        yield ('<text class="title" x="12" y="24">Instructions per operation '
               "on tmpfs, as a ratio to the backing file itself</text>")
        yield from self.legend()
        yield from self.grid(bottom)
        for i, (name, values) in enumerate(self.rows):
            y = self.TOP + self.ROW * i
            yield (f'<text text-anchor="end" x="{self.LEFT - 14}" '
                   f'y="{y + 4}">{escape(name)}</text>')
            for which, _ in self.SERIES:
                if values[which]:
                    yield self.mark(which, self.x(values[which]), y)
        yield (f'<text class="note" x="12" y="{self.height - 12}">'
               f'{self.results["date"]}, base {self.results["base"]}; the '
               "whole guest's instructions, the server's among them; "
               "logarithmic; less is better</text>")
        yield "</svg>"


def markdown(rows):
    yield "| " + " | ".join(rows[0]) + " |"
    yield "|---|" + "---:|" * (len(rows[0]) - 1)
    for row in rows[1:]:
        yield "| " + " | ".join(row) + " |"


def readme_lines(results, svg):
    """What stands between the markers"""
    names = {NAMES[op] for op in SHOWN}
    rows = ops_table(results, "tmpfs")
    rows = [rows[0]] + [row for row in rows[1:] if row[0] in names]
    yield (f"![What an operation costs, as a ratio to native]({svg})")
    yield ""
    yield (f"Measured {results['date']} on {results['base']}"
           + (f", beside {results['peer']['kernel']}" if "peer" in results
              else "") + ", on tmpfs: instructions of")
    yield ("the whole guest for one operation on the backing file itself, and "
           "ratios to that")
    yield ("on the same kernel. 'Asked' is how many requests of it the server "
           "got.")
    yield ""
    yield from markdown(rows)


def readme(directory, readme_path, svg_path):
    with open(os.path.join(directory, "results.json"),
              encoding="ascii") as file:
        results = json.load(file)
    with open(svg_path, "w", encoding="ascii") as out:
        out.write("\n".join(Picture(results).svg()) + "\n")

    with open(readme_path, encoding="utf-8") as file:
        lines = file.read().split("\n")
    if BEGIN not in lines or END not in lines:
        sys.exit(f"{readme_path} lacks the line {BEGIN} or {END}")
    link = os.path.relpath(svg_path, os.path.dirname(readme_path) or ".")
    lines[lines.index(BEGIN) + 1:lines.index(END)] = \
        readme_lines(results, link)
    with open(readme_path, "w", encoding="utf-8") as out:
        out.write("\n".join(lines))
    return 0


def main(argv):
    if len(argv) == 4 and argv[1] == "report":
        return report(argv[2], argv[3])
    if len(argv) == 4 and argv[1] == "short-cells":
        return short_cells(argv[2], argv[3])
    if len(argv) == 5 and argv[1] == "readme":
        return readme(argv[2], argv[3], argv[4])
    print(__doc__.strip(), file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv))
