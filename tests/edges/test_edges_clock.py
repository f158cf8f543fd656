from __future__ import annotations

import asyncio
import time

from dtms_service.clock import FactorClock, SteppedClock, SystemClock, chance, new_id
from dtms_service.engine.ports import Clock, MovableClock


def test_all_clocks_are_clocks_and_the_simulators_can_be_moved() -> None:
    clocks: list[Clock] = [SystemClock(), FactorClock(1.0), SteppedClock()]
    assert [isinstance(clock, MovableClock) for clock in clocks] == [False, True, True]


def test_the_system_clock_shows_the_machines_time() -> None:
    assert abs(SystemClock().now() - time.time()) < 1


def test_a_factor_clock_runs_that_much_faster_from_where_the_market_is() -> None:
    process = [100.0]
    clock = FactorClock(60.0, origin=1_000.0, monotonic=lambda: process[0])
    assert clock.now() == 1_000.0
    process[0] = 102.0
    assert clock.now() == 1_120.0
    clock.move(5_000.0)
    process[0] = 103.0
    assert clock.now() == 5_060.0


async def test_a_factor_clock_sleeps_in_its_own_seconds() -> None:
    clock = FactorClock(10_000.0, origin=0.0)
    begun = time.monotonic()
    await asyncio.wait_for(clock.sleep_until(100.0), 5)
    assert clock.now() >= 100.0
    assert time.monotonic() - begun < 5


async def test_a_stepped_clock_stands_still_until_it_is_moved_past_the_time_waited_for() -> None:
    clock = SteppedClock(origin=50.0)
    woken: list[float] = []

    async def sleeper(until: float) -> None:
        await clock.sleep_until(until)
        woken.append(until)

    tasks = [asyncio.create_task(sleeper(until)) for until in (60.0, 50.0, 80.0)]
    await asyncio.sleep(0)
    assert woken == [50.0]
    clock.move(70.0)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert woken == [50.0, 60.0]
    assert clock.now() == 70.0
    clock.move(80.0)
    await asyncio.gather(*tasks)
    assert woken == [50.0, 60.0, 80.0]


def test_names_are_new_and_chances_lie_between_0_and_1() -> None:
    assert len({new_id() for _ in range(1000)}) == 1000
    assert all(0 <= chance().random() < 1 for _ in range(10))
