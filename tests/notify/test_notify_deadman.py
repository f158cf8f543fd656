"""The ping that somebody outside waits for comes from completed cycles, and from nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from notify_world import URL, Receiver, Time, refused

from dtms_service.app.notifying import ping
from dtms_service.app.supervising import kept_up
from dtms_service.domain.errors import StorageFailed
from dtms_service.notify.posting import Door


@dataclass
class Watched:
    receiver: Receiver
    time: Time
    every_s: float = 30.0
    stopped_at: float = float("inf")

    def cycles(self) -> int:
        """One every 30 s, until they stop."""
        return int(min(self.time.now, self.stopped_at) // self.every_s)

    async def until(self, seconds: float) -> None:
        while self.time.now < seconds:
            await asyncio.sleep(0)


@pytest.fixture
async def watched() -> AsyncIterator[Watched]:
    world = Watched(Receiver(), Time())
    async with Door(URL, world.receiver) as door:
        task = asyncio.create_task(ping(door, world.cycles, 60.0, world.time.pace))
        yield world
        task.cancel()


async def test_it_pings_once_per_period_while_cycles_complete(watched: Watched) -> None:
    await watched.until(3600)
    assert 59 <= watched.receiver.asked <= 61
    assert {request.method for request in watched.receiver.taken} == {"GET"}


async def test_a_stuck_engine_stops_pinging(watched: Watched) -> None:
    watched.stopped_at = 600
    await watched.until(660)
    before = watched.receiver.asked
    await watched.until(7200)
    assert watched.receiver.asked == before


async def test_before_the_first_cycle_there_is_no_ping(watched: Watched) -> None:
    watched.stopped_at = 0
    await watched.until(3600)
    assert watched.receiver.asked == 0


async def test_a_slow_cadence_pings_after_each_cycle(watched: Watched) -> None:
    watched.every_s = 300
    await watched.until(3600)
    assert 11 <= watched.receiver.asked <= 12


async def test_a_ping_that_fails_is_tried_again_soon(watched: Watched) -> None:
    watched.receiver.behave = refused
    await watched.until(300)
    assert watched.receiver.asked > 10
    watched.receiver.behave = None
    await watched.until(335)
    assert len(watched.receiver.taken) == 1


async def test_a_side_task_that_fails_is_begun_again() -> None:
    lives: list[int] = []

    async def life() -> None:
        lives.append(len(lives))
        if len(lives) < 3:
            raise ValueError("a defect")
        await asyncio.Event().wait()

    async def at_once(_: float) -> None:
        await asyncio.sleep(0)

    task = asyncio.create_task(kept_up("alerts", life, at_once))
    while len(lives) < 3:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_failed_storage_is_not_kept_up() -> None:
    async def life() -> None:
        raise StorageFailed

    with pytest.raises(StorageFailed):
        await kept_up("alerts", life)
