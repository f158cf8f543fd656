"""The engine on a ledger that is busy for a while, and on one that was restored from a backup."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from engine_world import World, open_world

from dtms_service.domain import magic
from dtms_service.domain.errors import StorageBusy
from dtms_service.domain.parameters import Parameters
from dtms_service.ledger import copies
from dtms_service.ledger.marker import marker_of

NERVOUS = Parameters(l1_score=-0.1, arm_age_s=0.0)


def codes(world: World) -> set[str]:
    return {reason.code for reason in world.dtms.report().reasons}


async def test_a_busy_ledger_shows_until_a_commit_is_taken_even_when_no_cycle_has_anything_to_write(
    tmp_path: Path,
) -> None:
    world = await open_world(tmp_path)
    ticket = await world.open()
    assert world.dtms.report().ready
    world.ledger.failing = StorageBusy()
    with pytest.raises(StorageBusy):
        await world.register(ticket)
    report = world.dtms.report()
    assert (report.ready, report.accepting, codes(world)) == (False, True, {"storage_busy"})
    with pytest.raises(StorageBusy):  # a quiet cycle finds out that it is still so
        await world.advance(30)
    assert codes(world) == {"storage_busy"}
    world.ledger.failing = None
    await world.advance(30)
    assert world.dtms.report().ready
    (answer,) = await world.register(ticket)
    assert answer.created
    await world.close()


async def test_a_restored_ledger_numbers_its_orders_past_all_that_the_broker_has_seen_of_its_instance(
    tmp_path: Path,
) -> None:
    """The instance is drawn anew; that it comes out as before is the worst case, and the draw of this world."""
    state = tmp_path / "state"
    world = await open_world(state, parameters=NERVOUS)
    (early,) = await world.protect(1)
    await world.close()
    copies.back_up(state / "dtms.db", tmp_path / "backup.db", marker_of(state / "dtms.db"))
    world = await open_world(state, parameters=NERVOUS)
    await world.protect(1, side="SELL")
    for _ in range(200):
        if any(magic.ours(deal["magic"]) for deal in await world.deals()):
            break
        await world.advance(900)
    mine = [deal["magic"] for deal in await world.deals() if magic.ours(deal["magic"])]
    assert mine
    await world.close()
    copies.restore(tmp_path / "backup.db", state / "dtms.db", state / "kept", marker_of(state / "dtms.db"))
    again = await open_world(state, parameters=NERVOUS)
    assert set(again.dtms.book.trades) == {early.trade_id}
    assert again.dtms._record.next_magic() > max(mine)
    await again.close()


async def test_a_ledger_that_is_busy_during_the_start_holds_it_up_and_does_not_end_it(tmp_path: Path) -> None:
    world = await open_world(tmp_path, start=False)
    world.ledger.failing = StorageBusy()
    starting = asyncio.create_task(world.dtms.start())
    async with asyncio.timeout(5):
        while not starting.done() and "storage_busy" not in codes(world):
            await asyncio.sleep(0)
    assert not starting.done()
    world.ledger.failing = None
    await asyncio.wait_for(starting, 5)
    assert world.dtms.report().ready
    await world.close()
