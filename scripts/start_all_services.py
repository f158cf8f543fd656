#!/usr/bin/env python3
"""Start DTMS, wait until it is ready, then start the others in their order; Ctrl-C stops all in reverse.

What is started is in ``config/services.toml``; ``--dry-run`` shows it. See ``docs/howto/start-order.md``.
"""

import pathlib
import sys

if sys.version_info[:2] < (3, 11):  # noqa: UP036 - this line is what an older Python gets to read
    sys.exit("DTMS needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: python3.11 " + sys.argv[0])

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "src"))  # two modules that need nothing else

from starting import order

if __name__ == "__main__":
    sys.exit(order.main(sys.argv[1:]))
