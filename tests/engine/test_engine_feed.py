"""Costs and feeds that only the engine can know: commission in breakeven, quotes that stop, errors of our own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from engine_world import World, open_world
from test_engine_hedging import NERVOUS

from dtms_service.domain.errors import StorageFailed
from dtms_service.domain.trade import Event, ObligationKind, Trade

WEEK = 7 * 86_400


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    opened = await open_world(tmp_path, begins="2026-03-18T09:00:00Z")
    yield opened
    await opened.close()


async def alerts(world: World) -> list[str]:
    return [event.body["code"] for event in await told(world) if event.kind == "alert"]


async def told(world: World) -> list[Event]:
    return [event for batch in world.ledger.batches for event in batch.events]


async def test_quotes_that_stop_in_a_market_that_was_open_a_week_ago_are_told_once(world: World) -> None:
    (trade,) = await world.protect(1)
    await world.advance(300)
    await world.simulator.set_fault({"kind": "stale_ticks", "seconds": 3600})
    await world.advance(570)
    assert "feed_quiet" not in await alerts(world)
    await world.advance(600)
    assert (await alerts(world)).count("feed_quiet") == 1
    assert "feed_quiet" in world.trade(trade.ticket).flags
    await world.simulator.clear_faults()
    await world.advance(60)
    assert (await alerts(world)).count("feed_back") == 1
    assert "feed_quiet" not in world.trade(trade.ticket).flags


async def test_a_weekend_is_no_quiet_feed(tmp_path: Path) -> None:
    world = await open_world(tmp_path, begins="2026-03-20T18:00:00Z")  # a Friday; the market closes at 22:00
    await world.protect(1)
    await world.advance(12 * 3600)
    assert "feed_quiet" not in await alerts(world)
    await world.close()


async def test_commission_is_read_when_breakeven_is_first_owed(tmp_path: Path) -> None:
    world = await open_world(tmp_path, parameters=NERVOUS, account={"commission": 7.0})
    tickets = [await world.open(side=side, volume=0.5) for side in ("BUY", "SELL")]
    await world.register(*tickets)
    assert {world.trade(ticket).commission for ticket in tickets} == {None}

    def owing() -> list[Trade]:
        trades = [world.trade(ticket) for ticket in tickets]
        return [t for t in trades if any(o.kind is ObligationKind.BREAKEVEN for o in t.obligations)]

    for _ in range(4000):
        if owing():
            break
        await world.advance(30)
    paid = [
        d["commission"] for d in await world.deals() if d["position_id"] == owing()[0].identifier and d["entry"] == 0
    ]
    assert owing()[0].commission == pytest.approx(-sum(paid) / 0.5)
    assert sum(paid) < 0
    await world.close()


async def test_an_error_of_our_own_while_an_order_is_settled_costs_its_trade_only(tmp_path: Path) -> None:
    world = await open_world(tmp_path, parameters=NERVOUS)
    tickets = [await world.open(side=side) for side in ("BUY", "SELL")]
    await world.register(*tickets)
    world.ledger.dies_after_sending = True
    await world.simulator.set_fault({"kind": "reply_lost_not_executed"})
    with pytest.raises(StorageFailed):
        await world.advance(4 * 86_400)
    await world.close()
    world = await open_world(tmp_path, parameters=NERVOUS)
    (intent,) = world.dtms.book.intents.values()
    # What a ledger of a later version could hold: the order's own facts are not the ones that this version reads.
    broken = replace(
        intent, plan={name: value for name, value in intent.plan.items() if name not in {"stop_loss", "volume"}}
    )
    await world.dtms._record.write(intents=[broken])
    await world.advance(120)
    report = world.dtms.report()
    ticket = world.dtms.book.trades[intent.trade_id].ticket
    assert not report.ready
    assert f"these trades raised an error: [{ticket}]" in str(report)
    other = next(t for t in tickets if t != ticket)
    assert world.trade(other).score_at is not None
    assert world.dtms.book.as_of == pytest.approx(world.clock.now(), abs=31)
    await world.close()
