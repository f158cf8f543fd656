#!/usr/bin/env python3
"""Run the whole check: format, lint, types, import rules, tests. Options given here go to pytest."""

import sys

if sys.version_info[:2] < (3, 11):  # noqa: UP036 - this line is what an older Python gets to read
    sys.exit("DTMS needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: python3.11 " + sys.argv[0])

import installation

if __name__ == "__main__":
    sys.exit(installation.check(sys.argv[1:]))
