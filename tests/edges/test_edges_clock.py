from __future__ import annotations

import asyncio
import time

import pytest

from dtms_service.clock import FactorClock, SteppedClock, SystemClock, chance, new_id
from dtms_service.engine.ports import Clock, MovableClock


def test_all_clocks_are_clocks_and_the_simulators_can_be_moved() -> None:
    clocks: list[Clock] = [SystemClock(), FactorClock(1.0), SteppedClock()]
    assert [isinstance(clock, MovableClock) for clock in clocks] == [False, True, True]


def test_the_system_clock_shows_the_machines_time() -> None:
    assert abs(SystemClock().now() - time.time()) < 1


class Machine:
    """A computer: ``elapsed`` is real time, its sleeps included; ``wrong`` what its clock is wrong by."""

    def __init__(self) -> None:
        self.elapsed, self.wrong = 0.0, 0.0
        self.clock = SystemClock(wall=lambda: 1e9 + self.elapsed + self.wrong, steady=lambda: 77.0 + self.elapsed)

    def now(self, after: float = 0.0) -> float:
        """What the clock shows after so many seconds, since the start."""
        self.elapsed += after
        return self.clock.now() - 1e9


@pytest.mark.parametrize("jump", [-86_400.0, -3600.0, -61.0, 61.0, 3600.0, 86_400.0, 1e9])
def test_a_jump_of_the_machines_clock_is_left_out_and_logged(jump: float, caplog: pytest.LogCaptureFixture) -> None:
    machine = Machine()
    assert machine.now(10) == 10
    machine.wrong = jump
    assert machine.now() == pytest.approx(10)
    assert machine.now(5) == pytest.approx(15)
    assert [record.message for record in caplog.records] == ["clock_jumped"]
    machine.wrong = 0.0  # corrected again
    assert machine.now(5) == pytest.approx(20)


def test_a_sleep_of_the_machine_counts() -> None:
    machine = Machine()
    assert machine.now(8 * 3600) == 8 * 3600


@pytest.mark.parametrize("wrong", [-40.0, 40.0])
def test_a_small_jump_is_taken_over_so_slowly_that_no_timer_notices(wrong: float) -> None:
    machine = Machine()
    machine.wrong = wrong
    machine.now()
    before = 0.0
    for second in range(1, 4500):
        now = machine.now(1)
        assert now - before == pytest.approx(1, abs=0.0101), second
        before = now
    assert before == pytest.approx(4499 + wrong)


def test_small_corrections_are_followed_and_never_backwards() -> None:
    machine = Machine()
    machine.wrong = 1.5
    assert machine.now(10) == pytest.approx(11.5, abs=0.2)
    machine.wrong = 0.0
    shown = [machine.now(0.5) for _ in range(10)]
    assert shown == sorted(shown)
    assert shown[-1] == pytest.approx(15, abs=0.2)


def test_what_was_left_out_is_taken_over_when_nothing_is_timed() -> None:
    machine = Machine()
    machine.wrong = -7200.0
    assert machine.now(10) == 10
    machine.clock.renew()
    assert machine.now(10) == 20 - 7200


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
