"""The monitor: runs by itself, survives what may pass, ends loudly on what does not, never looks healthy when dead."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from engine_world import World, open_world

from dtms_service.domain.errors import StorageBusy, StorageFailed
from dtms_service.engine.dtms import longest_pause

FACTOR = 600.0
"""Ten minutes a second: a cycle of 30 s takes 50 ms."""


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    opened = await open_world(tmp_path, factor=FACTOR)
    yield opened
    await opened.close()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.005)


async def test_cycles_run_by_themselves_until_the_service_stops(world: World) -> None:
    monitor = asyncio.create_task(world.dtms.run())
    before = world.dtms.counts.cycles
    await until(lambda: world.dtms.counts.cycles >= before + 3)
    world.dtms.request_stop()
    await asyncio.wait_for(monitor, 5)


async def test_a_locked_database_is_shown_and_survived(world: World) -> None:
    monitor = asyncio.create_task(world.dtms.run())
    await world.register(await world.open())
    world.ledger.failing = StorageBusy()
    await world.simulator.close_position(world.opened[0], None)
    await until(lambda: any(reason.code == "storage_busy" for reason in world.dtms.report().reasons))
    world.ledger.failing = None
    await until(lambda: world.dtms.report().ready)
    await until(lambda: world.trade(world.opened[0]).state.final)
    world.dtms.request_stop()
    await asyncio.wait_for(monitor, 5)


async def test_an_unknown_commit_ends_the_monitor_at_once(world: World) -> None:
    monitor = asyncio.create_task(world.dtms.run())
    await world.register(await world.open())
    world.ledger.failing = StorageFailed()
    await world.simulator.close_position(world.opened[0], None)
    with pytest.raises(StorageFailed):
        await asyncio.wait_for(monitor, 20)


async def test_a_bug_is_tried_three_times_and_then_ends_the_service(world: World) -> None:
    monitor = asyncio.create_task(world.dtms.run())
    await world.register(await world.open())
    world.ledger.failing = RuntimeError("a bug of ours")
    await world.simulator.close_position(world.opened[0], None)
    with pytest.raises(RuntimeError, match="a bug of ours"):
        await asyncio.wait_for(monitor, 20)
    assert any(reason.code == "monitor_failed" for reason in world.dtms.report().reasons)


async def test_a_registration_wakes_the_monitor_before_its_time(world: World) -> None:
    monitor = asyncio.create_task(world.dtms.run())
    await world.register(await world.open())
    await until(lambda: world.trade(world.opened[0]).score is not None)
    world.dtms.request_stop()
    await asyncio.wait_for(monitor, 5)


async def test_a_dead_monitor_does_not_look_healthy(world: World) -> None:
    assert world.dtms.report().ready
    await until(lambda: not world.dtms.report().ready)  # nobody runs it: the last cycle gets older than three periods
    assert [reason.code for reason in world.dtms.report().reasons] == ["cycle_too_old"]


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 1.0), (2, 2.0), (5, 16.0), (6, 30.0), (5000, 30.0)])
def test_a_night_of_failed_attempts_leaves_the_pause_bounded(attempt: int, seconds: float) -> None:
    assert longest_pause(attempt) == seconds
