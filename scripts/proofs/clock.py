"""500 jumps of clocks while timers run, and twelve weekends, eight with a change of summer time: none ends early.

The same must not hold for a build on the machine's wall clock, and not for one that forgets the broker's old clock.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clock_run import CERTAIN, KINDS, Setting, Timers, WallClock, run

from dtms_service.clock import SystemClock
from dtms_service.terminal.offset import BrokerClock

SEEDS, JUMPS = (4, 2, 3, 1, 5), 100
"""4: a trade comes to RECOVERING."""
BEGINS = (
    "2025-01-06T08:00:00+00:00",
    "2025-01-09T13:00:00+00:00",
    "2025-03-06T07:00:00+00:00",
    "2025-06-26T12:00:00+00:00",
    "2025-10-30T10:00:00+00:00",
)
"""Mondays and Thursdays; a hundred jumps last longer than a day."""
NEW_YORK = ("2025-03-07T21:10:00+00:00", "2025-10-31T21:10:00+00:00")
BERLIN = ("2025-03-28T21:10:00+00:00", "2025-10-24T21:10:00+00:00")
PLAIN = ("2025-01-10T21:10:00+00:00", "2025-06-27T21:10:00+00:00")
"""Friday evenings, an hour before currencies close, each before the change of its city or before none."""
HOURS, OFF_S = 50.0, 46.5 * 3600
ON_THE_WALL = Setting(1, BEGINS[0], jumps=40, steps_s=(31.0, 61.0))
"""Short corrections forward: cycles go on, and what counts seconds on the wall clock ends early."""


def prove() -> str:
    """All of it; the figures. Raises ``AssertionError`` with every timer that ended early."""
    logging.disable()  # a line for every jump
    try:
        jumps: Counter[str] = Counter()
        ended: Counter[str] = Counter()
        running: Counter[str] = Counter()
        for setting in _settings():
            timers, made = _run(setting)
            jumps.update(made)
            ended.update(timers.ended)
            running.update(timers.running)
            if timers.broken:
                raise AssertionError("\n".join([f"{setting}:", *timers.broken]))
        found = list(_without_protection())
    finally:
        logging.disable(logging.NOTSET)
    unmet = {"pending", "settle window", "back-off", "verified absence"} - running.keys()
    unended = KINDS - ended.keys()
    if unmet or unended:
        message = f"met by no jump: {sorted(unmet)}; ended never: {sorted(unended)}"
        raise AssertionError(message)
    met = ", ".join(f"{count} {name}" for name, count in sorted(running.items()))
    clocks = ", ".join(f"{count} {kind}" for kind, count in jumps.items())
    timed = ", ".join(f"{count} {name}" for name, count in sorted(ended.items()))
    weekends = 2 * len(NEW_YORK + BERLIN + PLAIN)
    return (
        f"{jumps.total()} jumps ({clocks}) and {weekends} weekends: 0 of {ended.total()} timers ended early ({timed}), "
        f"timers in seconds that ran at a jump: {met}; no more than 2.5 periods without a cycle; {'; '.join(found)}"
    )


def _settings() -> Iterator[Setting]:
    for seed, begins in zip(SEEDS, BEGINS, strict=True):
        yield Setting(seed, begins, jumps=JUMPS)
    for begins in (*NEW_YORK, *BERLIN, *PLAIN):
        for off_s in (0.0, OFF_S):
            yield Setting(
                1,
                begins,
                hours=HOURS,
                cycle_s=60.0 if off_s else 300.0,
                summer=begins in NEW_YORK,
                europe=begins in BERLIN,
                rules=CERTAIN,
                off_s=off_s,
            )


def _without_protection() -> Iterator[str]:
    timers, _ = _run(ON_THE_WALL, WallClock)
    if not timers.early:
        message = "timers on the wall clock were not found"
        raise AssertionError(message)
    yield f"on the wall clock {len(timers.early)} timers ended early in {ON_THE_WALL.jumps} jumps"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BrokerClock, "_remember", lambda *_: None)
        timers, _ = _run(Setting(1, NEW_YORK[1], hours=HOURS, summer=True, rules=CERTAIN, off_s=OFF_S))
    if not timers.early:
        message = "times of old bars in the broker's new clock were not found"
        raise AssertionError(message)
    yield f"without the broker's old clock {len(timers.early)} on one weekend"


def _run(setting: Setting, clock: Callable[..., SystemClock] = SystemClock) -> tuple[Timers, Counter[str]]:
    with tempfile.TemporaryDirectory() as folder:
        timers, jumps = asyncio.run(run(Path(folder), setting, clock))
    return timers, Counter(jumps)
