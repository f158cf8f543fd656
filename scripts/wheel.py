#!/usr/bin/env python3
"""Compare the simulated terminal with the published MetaTrader5 package; one line per difference, exit code 1 if any.

The wheel is downloaded by pip, with its own configuration, and read without being run. ``--write`` keeps its names in
``tests/terminal/metatrader5_names.json``, so that they are known offline. Run it inside the environment:
``.venv/bin/python scripts/wheel.py``.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "support"))

from conformance import differences  # noqa: E402 -- the tests' support is on no path of a script
from published import Offline, download, read  # noqa: E402 -- the same

NAMES = ROOT / "tests" / "terminal" / "metatrader5_names.json"


def main(options: list[str]) -> int:
    """The exit code: 0 the same, 1 different, 2 the wheel could not be had."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            facts = read(download(Path(folder)))
        except Offline as error:
            print(f"the wheel could not be downloaded: {error}")
            return 2
    if "--write" in options:
        NAMES.write_text(json.dumps(facts.plain(), indent=1) + "\n", encoding="utf-8")
    found = differences(facts)
    print(
        f"MetaTrader5 {facts.version}: {len(facts.constants)} constants, {len(facts.structs)} structures, "
        f"{len(facts.functions)} functions, 2 array layouts; {len(found)} differences"
    )
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
