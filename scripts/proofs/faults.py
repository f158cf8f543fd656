"""100,000 registrations through a bad network while callers and service are killed: nothing lost, nothing twice."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fault_judge import Found
from fault_run import FaultRun, Size
from nursery import Nursery

RUNS = 10
SIZE = Size(registrations=10_000, positions=300, not_open=1_700, service_kills=20, caller_kills=40, alone=0.2)
"""Of each run; all together 100,000 registrations of 20,000 tickets, 3,000 of them open at the terminal."""


def prove() -> tuple[str, Mapping[str, Any]]:
    """Ten seeds. Raises ``AssertionError`` at a violation."""
    whole = Found()
    played: Counter[Any] = Counter()
    rows = [["seed", "registrations", "lost", "double", "contradicting accepted", "wrongly refused"]]
    for seed in range(1, RUNS + 1):
        with tempfile.TemporaryDirectory() as folder, Nursery() as nursery:
            found = FaultRun(nursery, Path(folder), seed, SIZE).run()
        print(f"  seed {seed}: {found.line()}", flush=True)
        if found.violations:
            raise AssertionError(f"seed {seed}: {found.line()}: {found.violations[:5]}")
        counts = [found.told.total(), *map(len, (found.lost, found.doubled, found.accepted, found.refused))]
        rows.append([str(seed), *map(str, counts)])
        whole.told += found.told
        played += Counter(found.played)
        whole.trades += found.trades
        whole.service_kills += found.service_kills
        whole.caller_kills += found.caller_kills
    whole.played = played
    return whole.line(), {"runs": rows, "told": [["outcome", "count"], *([*pair] for pair in whole.told.items())]}
