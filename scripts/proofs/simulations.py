"""Seeds of the simulation for a day each: nothing breaks; and more of an hour, twice: a seed happens again exactly.

More of them: ``scripts/simulate.py --seeds 5000 --hours 24``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from simulate import runs, summary

SEEDS, HOURS = 20, 24.0
TWICE, TWICE_HOURS = 100, 1.0


def prove() -> tuple[str, Mapping[str, Any]]:
    """One line and a table of everything that happened. Raises ``AssertionError`` at a violation."""
    jobs = os.cpu_count() or 1
    done = []
    for ended in runs(0, SEEDS, HOURS, jobs):
        if ended.found is None:
            raise AssertionError(f"seed {ended.seed}: {ended.violation}")
        done.append(ended.found)
        print(f"  {summary(done, 0)}", flush=True)
    happened: dict[str, int] = {}
    for found in done:
        for name, count in found.seen.items():
            happened[name] = happened.get(name, 0) + count
    rows = [["what", "count"], *([name, count] for name, count in sorted(happened.items()))]
    return summary(done, 0), {"happened": rows}


def prove_again() -> str:
    """One line. Raises ``AssertionError`` at a seed that did not happen again."""
    jobs = os.cpu_count() or 1
    first, second = ({e.seed: e.found and e.found.trace for e in runs(0, TWICE, TWICE_HOURS, jobs)} for _ in range(2))
    differ = [seed for seed, trace in first.items() if trace is None or trace != second[seed]]
    if differ:
        raise AssertionError(f"these seeds broke an invariant or did not happen again: {differ}")
    return f"{TWICE} seeds of {TWICE_HOURS:g} h run twice: the same traces"
