"""The broker's clock over restarts: measured once, stored, and used where a closed market shows none."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from engine_world import World, open_world

from dtms_service.domain.trade import Mode

HOUR = 3600.0
FRIDAY_EVENING = "2025-01-10T20:00:00Z"
"""Two hours before currencies close; they open again 48 hours later, at 22:00 UTC on Sunday."""


def offsets(world: World) -> list[str]:
    """Every offset that was stored, in order."""
    return [b.facts["broker_offset"] for b in world.ledger.batches if "broker_offset" in b.facts]


async def started(folder: Path, **options: Any) -> World:
    """A service that measures the offset and only watches, so that its position stays open."""
    async with asyncio.timeout(20):
        return await open_world(folder, mode=Mode.OBSERVE, begins=FRIDAY_EVENING, cycle_s=300.0, **options)


async def weekend(folder: Path) -> World:
    """Half past eleven on Friday evening, with one position that was watched until the close."""
    world = await started(folder, broker_offset=None)
    assert offsets(world) == ["7200.0"]
    await world.protect(1, stop_loss=None)
    await world.advance(3.5 * HOUR)
    assert offsets(world) == ["7200.0"]
    return world


async def test_a_start_on_a_saturday_goes_by_the_offset_of_before(tmp_path: Path) -> None:
    world = await weekend(tmp_path)
    seen = world.dtms.book.ticks["EURUSD"].time
    await world.close()
    again = await started(tmp_path, broker_offset=None)
    assert again.dtms.report().ready
    assert again.dtms.book.ticks["EURUSD"].time == seen < again.clock.now() - HOUR
    assert again.dtms._terminal.broker_offset is None
    await again.advance(48 * HOUR)
    assert again.dtms._terminal.broker_offset == 7200.0
    assert offsets(again) == []
    await again.close()


async def test_a_first_start_on_a_saturday_takes_registrations_and_is_not_ready_until_the_market_opens(
    tmp_path: Path,
) -> None:
    world = await started(tmp_path)  # configured: nothing is stored
    await world.open()
    await world.advance(3.5 * HOUR)
    assert offsets(world) == []
    await world.close()
    again = await started(tmp_path, broker_offset=None, start=False)
    starting = asyncio.create_task(again.dtms.start())
    async with asyncio.timeout(20):
        while [reason.code for reason in again.dtms.report().reasons][:1] != ["offset_unmeasured"]:
            await asyncio.sleep(0)
        assert again.dtms.report().accepting
        assert not starting.done()
        await again.advance(48 * HOUR)
        await starting
    assert again.dtms.report().ready
    assert offsets(again) == ["7200.0"]
    await again.close()


@pytest.mark.parametrize("stored", ["3600.0", "10800.0"])
async def test_an_offset_of_another_season_is_replaced_when_the_market_opens(tmp_path: Path, stored: str) -> None:
    world = await weekend(tmp_path)
    await world.dtms._record.write(facts={"broker_offset": stored})
    await world.close()
    again = await started(tmp_path, broker_offset=None)
    await again.advance(48 * HOUR)
    assert offsets(again) == ["7200.0"]
    assert again.dtms.report().ready
    assert 0 <= again.clock.now() - again.dtms.book.ticks["EURUSD"].time < 120
    windows = again.dtms._cycle._markets._series["EURUSD"]
    assert float(windows.m5.bars.time[-1]) <= again.clock.now() - 300
    # bars read under the wrong offset would lie in the 48 hours of the weekend
    closing, opening = 1_736_546_400, 1_736_719_200  # Friday and Sunday, 22:00 UTC
    assert [time for time in windows.m15.bars.time.tolist() if closing <= time < opening] == []
    await again.close()


async def test_a_simulated_broker_with_summer_time_is_measured_at_the_first_start(tmp_path: Path) -> None:
    world = await started(tmp_path, broker_offset=None, account={"server_summer_time": True})
    assert world.dtms.report().ready
    assert offsets(world) == ["7200.0"]  # in January
    await world.close()
