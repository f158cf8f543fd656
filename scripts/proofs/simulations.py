"""Seeds of the simulation for a day each, and some of them twice: nothing breaks, and a seed happens again exactly.

More of them: ``scripts/simulate.py --seeds 5000 --hours 24``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from simulate import runs, summary

SEEDS, HOURS = 40, 24.0
TWICE, TWICE_HOURS = 100, 1.0


def prove() -> tuple[str, Mapping[str, Any]]:
    """One line and a table of everything that happened. Raises ``AssertionError`` at a violation."""
    jobs = os.cpu_count() or 1
    done = []
    for ended in runs(0, SEEDS, HOURS, jobs):
        if ended.found is None:
            raise AssertionError(f"seed {ended.seed}: {ended.violation}")
        done.append(ended.found)
        if len(done) % 20 == 0:
            print(f"  {summary(done, 0)}", flush=True)
    first, second = ({e.seed: e.found and e.found.trace for e in runs(0, TWICE, TWICE_HOURS, jobs)} for _ in range(2))
    differ = [seed for seed, trace in first.items() if trace is None or trace != second[seed]]
    if differ:
        raise AssertionError(f"these seeds did not happen again: {differ}")
    happened: dict[str, int] = {}
    for found in done:
        for name, count in found.seen.items():
            happened[name] = happened.get(name, 0) + count
    rows = [["what", "count"], *([name, count] for name, count in sorted(happened.items()))]
    return f"{summary(done, 0)}; {TWICE} seeds of {TWICE_HOURS:g} h run twice: the same traces", {"happened": rows}
