"""500 jumps of clocks and twelve weekends, eight of them with a change of summer time: no timer ends early.

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
from clock_run import CERTAIN, Setting, Timers, WallClock, run

from dtms_service.clock import SystemClock
from dtms_service.terminal.offset import BrokerClock

RUNS, JUMPS = 5, 100
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


def prove() -> str:
    """All of it; the figures. Raises ``AssertionError`` with every timer that ended early."""
    logging.disable()  # a line for every jump
    try:
        jumps: Counter[str] = Counter()
        ended: Counter[str] = Counter()
        for setting in _settings():
            timers, made = _run(setting)
            jumps.update(made)
            ended.update(timers.ended)
            if timers.broken:
                raise AssertionError("\n".join([f"{setting}:", *timers.broken]))
        found = list(_without_protection())
    finally:
        logging.disable(logging.NOTSET)
    clocks = ", ".join(f"{count} {kind}" for kind, count in jumps.items())
    timed = ", ".join(f"{count} {name}" for name, count in sorted(ended.items()))
    weekends = 2 * len(NEW_YORK + BERLIN + PLAIN)
    return (
        f"{jumps.total()} jumps ({clocks}) and {weekends} weekends: 0 of {ended.total()} timers ended early ({timed}), "
        f"0 cycles missed; {'; '.join(found)}"
    )


def _settings() -> Iterator[Setting]:
    for number in range(RUNS):
        yield Setting(number + 1, BEGINS[number], jumps=JUMPS)
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
    timers, _ = _run(Setting(1, BEGINS[0], jumps=20), WallClock)
    if not timers.broken:
        message = "timers on the wall clock were not found"
        raise AssertionError(message)
    yield f"on the wall clock {len(timers.broken)} violations in 20 jumps"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BrokerClock, "_remember", lambda *_: None)
        timers, _ = _run(Setting(1, NEW_YORK[1], hours=HOURS, summer=True, rules=CERTAIN, off_s=OFF_S))
    if not timers.broken:
        message = "times of old bars in the broker's new clock were not found"
        raise AssertionError(message)
    yield f"without the broker's old clock {len(timers.broken)} on one weekend"


def _run(setting: Setting, clock: Callable[..., SystemClock] = SystemClock) -> tuple[Timers, Counter[str]]:
    with tempfile.TemporaryDirectory() as folder:
        timers, jumps = asyncio.run(run(Path(folder), setting, clock))
    return timers, Counter(jumps)
