#!/usr/bin/env python3
"""Start DTMS on a fresh machine: make the environment if needed, then run ``dtms serve`` with these options."""

import sys

if sys.version_info[:2] < (3, 11):  # noqa: UP036 - this line is what an older Python gets to read
    sys.exit("DTMS needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: python3.11 " + sys.argv[0])

import installation

if __name__ == "__main__":
    sys.exit(installation.serve(sys.argv[1:]))
