"""Clocks that jump while timers are running, in the real engine: none ends early, and the cycles go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from clock_run import CERTAIN, Setting, WallClock, run

from dtms_service.terminal.offset import BrokerClock

MONDAY, EVERYDAY = "2025-01-06T08:00:00+00:00", 12
FRIDAY = "2025-10-31T21:10:00+00:00"
CHANGE = Setting(1, FRIDAY, hours=50.0, summer=True, rules=CERTAIN, off_s=46.5 * 3600)
"""The weekend on which New York's summer time ends; the machine is off from Friday night to Sunday evening."""


async def test_no_timer_ends_early_and_no_cycle_is_missed_while_clocks_jump(tmp_path: Path) -> None:
    timers, jumps = await run(tmp_path, Setting(seed=4, begins=MONDAY, jumps=EVERYDAY))
    assert timers.broken == []
    assert sum(jumps.values()) == EVERYDAY
    assert timers.ended.keys() >= {"arming", "settle window", "back-off", "pending"}
    assert timers.running.keys() == {"settle window", "back-off", "pending", "verified absence"}, "at a jump"


async def test_timers_on_the_machines_wall_clock_are_found(tmp_path: Path) -> None:
    forward = Setting(seed=1, begins=MONDAY, jumps=26, steps_s=(31.0, 61.0))
    timers, _ = await run(tmp_path, forward, WallClock)
    assert {words.partition(" after ")[0] for words in timers.early} >= {"pending", "settle window"}


async def test_the_end_of_summer_time_ends_no_timer(tmp_path: Path) -> None:
    timers, _ = await run(tmp_path, CHANGE)
    assert timers.broken == []
    assert timers.ended["flat timer"] > 0


async def test_times_of_old_bars_in_the_new_clock_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(*_: Any) -> None:
        return None

    monkeypatch.setattr(BrokerClock, "_remember", forgetful)
    timers, _ = await run(tmp_path, CHANGE)
    assert any("flat timer" in words for words in timers.early), timers.broken
