#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""
Which lines and branches of the series were executed.

coverage.py LINUX REASONS < JSON: LINUX is the git tree with the series, JSON
what 'gcov --json-format --stdout' printed about objects of it, any number of
times. For a file that the base has, only the lines that the series adds are
looked at. The last line has the counts.

REASONS has one line for each part of the code that the tests do not reach:

    file | function | text of the line | word | why

with '*' for any function or any line of the function. The word is 'never' if
none of them may be reached, 'fault' the same, for what only fault injection
reaches, 'rarely' if it depends on who is first, 'unbuilt' for a file that this
kernel does not have. 'branch' is for branches of a line that is reached, to be
left out of their count because they are not the code's own or cannot be taken.
"""

import collections
import fnmatch
import json
import re
import subprocess
import sys

BRANCHES_WANTED = 95.0
WORDS = ('never', 'fault', 'rarely', 'unbuilt', 'branch')

# What these macros test by themselves is not a decision of the series: lockdep's
# and WARN's own state, and whether a message is asked for
MACROS = re.compile(r'\b(lockdep_assert_held|WARN_ON|pr_debug|'
                    r'TRACE_EVENT|trace_fuse_passthrough_refused)\b')

Reason = collections.namedtuple('Reason', 'number file function text word why')
Line = collections.namedtuple('Line', 'file number function text')


def git(linux, *args):
    return subprocess.run(['git', '-C', linux, *args], check=True, text=True,
                          stdout=subprocess.PIPE).stdout


def series_lines(linux):
    """The numbers of the lines that the series adds, for each file of code"""
    added = collections.defaultdict(set)
    diff = git(linux, 'diff', '-U0', '--no-renames', 'base', 'HEAD', '--',
               '*.c', '*.h', ':!tools')
    for line in diff.splitlines():
        if line.startswith('+++ b/'):
            path = line[6:]
        match = re.match(r'@@ -\S+ \+(\d+)(?:,(\d+))? @@', line)
        if match:
            first = int(match[1])
            added[path].update(range(first, first + int(match[2] or 1)))
    return added


def read_counts(stream, linux, added):
    """gcov's counts, for the lines that are added; and the files that it knows"""
    lines = {}
    branches = {}
    known = set()
    decoder = json.JSONDecoder()
    text = stream.read().strip()
    while text:
        report, end = decoder.raw_decode(text)
        text = text[end:].lstrip()
        # A function that several objects have is counted once for each
        of_object = collections.Counter()
        for file in report['files']:
            path = re.sub(r'^(.*/)?%s/' % re.escape(linux.rsplit('/', 1)[1]), '',
                          file['file'])
            if path not in added:
                continue
            known.add(path)
            for line in file['lines']:
                number = line['line_number']
                if number not in added[path]:
                    continue
                key = path, number
                function = line.get('function_name', '?')
                count, _ = lines.get(key, (0, ''))
                lines[key] = count + line['count'], function
                taken = [b['count'] for b in line['branches']]
                where = key + (function, of_object[key])
                of_object[key] += 1
                old = branches.setdefault(where, taken)
                branches[where] = [a + b for a, b in zip(old, taken)]
    return lines, branches, known


def read_reasons(path):
    reasons = []
    with open(path, encoding='utf-8') as file:
        for number, line in enumerate(file, 1):
            line = line.strip()
            if not line or line.startswith('#'):
                continue
            fields = [field.strip() for field in line.split(' | ')]
            if len(fields) != 5 or fields[3] not in WORDS:
                sys.exit('%s:%d: has to be: file | function | text | word | '
                         'why, with a word of: %s' %
                         (path, number, ', '.join(WORDS)))
            reasons.append(Reason(number, *fields))
    return reasons


def matches(reason, line):
    return (reason.file == line.file and
            fnmatch.fnmatchcase(line.function, reason.function) and
            reason.text in ('*', line.text))


class Report:
    """What is printed, and how often it was good"""

    def __init__(self, reasons):
        self.reasons = reasons
        self.used = set()
        self.passed = self.failed = 0

    def failure(self, *what):
        self.failed += 1
        print('    coverage: failed:', *what)

    def find(self, line, words):
        for reason in self.reasons:
            if reason.word in words and matches(reason, line):
                self.used.add(reason)
                return reason
        return None

    def lines(self, counts):
        """counts: Line -> count. Prints those that were not reached."""
        missed = collections.defaultdict(list)
        for line, count in sorted(counts.items()):
            reason = None
            if not count:
                reason = self.find(line, ('never', 'fault', 'rarely'))
            else:
                self.find(line, ('rarely',))
            if count or reason:
                self.passed += 1
            else:
                self.failure('%s:%d: %s: not reached: %s' % line_id(line))
            if reason:
                missed[reason.word].append((line, reason))
        for word, title in (('fault', 'only by fault injection'),
                            ('rarely', 'not each time'), ('never', 'not')):
            for line, reason in missed[word]:
                print('    reached %s: %s:%d: %s: %s' %
                      ((title,) + line_id(line)))
                print('        %s' % reason.why)

    def stale(self):
        for reason in self.reasons:
            if reason not in self.used:
                self.failure('line %d of the reasons matches nothing: %s' %
                             (reason.number, ' | '.join(reason[1:4])))


def line_id(line):
    return line.file, line.number, line.function, line.text


def table(counts, taken, total):
    """A line for each file"""
    files = collections.defaultdict(lambda: [0, 0])
    for line, count in counts.items():
        files[line.file][0] += bool(count)
        files[line.file][1] += 1
    print('    %-32s %14s %16s' % ('', 'lines', 'branches'))
    for path, (reached, lines) in sorted(files.items()):
        print('    %-32s %s %s' % (path, part(reached, lines),
                                   part(taken[path], total[path])))
    print('    %-32s %s %s' %
          ('all', part(sum(f[0] for f in files.values()),
                       sum(f[1] for f in files.values())),
           part(sum(taken.values()), sum(total.values()))))


def part(some, of_all):
    if not of_all:
        return '%16s' % '-'
    return '%4d of %4d %3.0f%%' % (some, of_all, 100.0 * some / of_all)


def main():
    linux, reasons = sys.argv[1:]
    added = series_lines(linux)
    lines, branches, known = read_counts(sys.stdin, linux, added)
    report = Report(read_reasons(reasons))
    source = {path: git(linux, 'show', 'HEAD:' + path).split('\n')
              for path in added}

    def line_of(path, number, function):
        return Line(path, number, function, source[path][number - 1].strip())

    for path in sorted(added):
        if path.endswith('.c') and path not in known:
            if not report.find(Line(path, 0, '-', '-'), ('unbuilt',)):
                report.failure('nothing is known of', path)

    counts = {line_of(*key, function): count
              for key, (count, function) in lines.items()}
    report.lines(counts)

    taken, total = collections.Counter(), collections.Counter()
    for (path, number, function, _), of_line in sorted(branches.items()):
        line = line_of(path, number, function)
        # A line that is not reached is one failure already
        if not of_line or not lines[path, number][0]:
            continue
        if MACROS.search(line.text) or report.find(line, ('branch',)):
            continue
        total[path] += len(of_line)
        taken[path] += sum(map(bool, of_line))
        if not all(of_line):
            print('    branch not taken: %s:%d: %s: %s' % line_id(line),
                  of_line)
    report.stale()
    table(counts, taken, total)

    percent = 100.0 * sum(taken.values()) / max(1, sum(total.values()))
    if percent < BRANCHES_WANTED:
        report.failure('%.1f %% of the branches were taken, less than %.0f %%' %
                       (percent, BRANCHES_WANTED))
    if not counts:
        report.failure('gcov has counted nothing')
    print('%d passed, %d failed, 0 skipped' % (report.passed, report.failed))
    sys.exit(1 if report.failed else 0)


if __name__ == '__main__':
    main()
