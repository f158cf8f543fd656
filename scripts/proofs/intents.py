"""20,000 orders that must not be repeated, at a terminal that loses replies, executes late and fails to read."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from intent_run import FAILED_READS, LATE, LOST, Account, run

INTENTS, WORLDS, PROCESSES = 20_000, 20, 2


def prove(intents: int = INTENTS) -> str:
    """``intents`` in `WORLDS` worlds; the figures. Raises ``AssertionError`` with everything that was wrong."""
    counts: Counter[str] = Counter()
    broken: list[str] = []
    with ProcessPoolExecutor(PROCESSES, get_context("spawn")) as pool:
        for seed, account in enumerate(pool.map(_world, range(1, WORLDS + 1), [intents // WORLDS] * WORLDS), start=1):
            counts.update(account.counts)
            counts["orders that open or close volume"] += account.intents
            broken += [f"seed {seed}: {words}" for words in account.broken]
    figures = ", ".join(f"{count} {name}" for name, count in counts.items())
    line = (
        f"{figures}; {LOST:.0%} of the replies lost, {LATE:.0%} executed late, {FAILED_READS:.0%} of the reads failed: "
        f"{len(broken)} orders with two deals, with more volume than planned or with a looser stop"
    )
    if broken:
        raise AssertionError("\n".join([line, *broken]))
    return line


def _world(seed: int, intents: int) -> Account:
    logging.disable()  # a line for every lost reply
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(run(Path(folder), seed, intents))
