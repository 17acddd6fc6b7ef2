#!/usr/bin/env python3
"""Compares two results of bench/compare.sh by their share of the machine's ceiling, which depends less on the machine
and its neighbours than a time does:

    bench/regression.py BEFORE.json AFTER.json [--tolerance 3] [--rows REGEX]

Prints a table, and exits with 1 where a row has become slower by more than the tolerance, in percent of what it was;
with 2 where the files cannot be compared. Rows of one file alone are named and do not count. Results of different
processors are compared too, after a warning.
"""
import argparse
import json
import re
import sys


class NotComparable(Exception):
    pass


def read(path, rows):
    """{(row, threads): percent of the ceiling} and the processor."""
    try:
        with open(path, encoding="utf-8") as file:
            results = json.load(file)
        shares = {(r["row"], r["threads"]): float(r["percent_of_ceiling"]) for r in results["rows"]}
        processor = results["processor"]
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise NotComparable(f"{path}: not a result of bench/compare.sh: {type(e).__name__}: {e}") from e
    wrong = [row for row, share in shares.items() if not 0 < share < float("inf")]
    if wrong:
        raise NotComparable(f"{path}: row \"{wrong[0][0]}\" has no share of a ceiling above 0")
    return {key: share for key, share in shares.items() if rows.search(key[0])}, processor


def percent_change(before, after):
    """The change of speed against an equal ceiling, in percent; negative: slower."""
    return 100 * (after / before - 1)


def table(before, after, tolerance):
    """Lines to print, and the rows that have become slower."""
    common = [key for key in before if key in after]
    width = max(len(row) for row, _ in common)
    lines = [f"{'row':{width}}  threads  before   after   change"]
    slower = []
    for row, threads in common:
        one, two = before[row, threads], after[row, threads]
        change = percent_change(one, two)
        is_slower = change < -tolerance
        slower += [(row, threads)] if is_slower else []
        verdict = "  SLOWER" if is_slower else ""
        lines.append(f"{row:{width}}  {threads:7}  {one:5.1f}%  {two:5.1f}%  {change:+6.1f}%{verdict}")
    return lines, slower


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before")
    parser.add_argument("after")
    parser.add_argument("--tolerance", type=float, default=3.0, metavar="PERCENT",
                        help="slower by more fails (default: 3)")
    parser.add_argument("--rows", type=re.compile, default=re.compile(""), metavar="REGEX", help="only these rows")
    given = parser.parse_args(arguments)
    if not 0 <= given.tolerance < 100:
        parser.error(f"--tolerance {given.tolerance:g}: expected 0 or more, and less than 100")
    try:
        before, processor_before = read(given.before, given.rows)
        after, processor_after = read(given.after, given.rows)
        if not before.keys() & after.keys():
            raise NotComparable(f"{given.before} and {given.after} have no row in common")
    except NotComparable as e:
        print(f"regression.py: {e}", file=sys.stderr)
        return 2
    if processor_before != processor_after:
        print(f"warning: processors differ: {processor_before}; {processor_after}", file=sys.stderr)
    for path, ours, others in ((given.before, before, after), (given.after, after, before)):
        for row, threads in ours.keys() - others.keys():
            print(f"warning: only {path} has \"{row}\" with {threads} threads", file=sys.stderr)
    lines, slower = table(before, after, given.tolerance)
    print("\n".join(lines))
    if slower:
        print(f"{len(slower)} of {len(lines) - 1} rows are slower by more than {given.tolerance:g} %")
    return 1 if slower else 0


if __name__ == "__main__":
    sys.exit(main())
