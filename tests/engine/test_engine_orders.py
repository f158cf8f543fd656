"""Orders: on disk before they leave, once at the broker whatever the reply, settled by evidence after a restart."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from engine_world import World, open_world

from dtms_service.domain import magic
from dtms_service.domain.trade import Frozen, IntentState

DAY = 86_400


async def ten_on_the_move(world: World) -> list[int]:
    """Ten positions, long and short, that will need protection within days."""
    tickets = []
    for n in range(10):
        symbol, side = ("EURUSD", "XAUUSD", "BTCUSD")[n % 3], ("BUY", "SELL")[n % 2]
        tickets.append(await world.open(symbol=symbol, side=side))
    await world.register(*tickets)
    return tickets


async def our_deals(world: World) -> list[dict[str, Any]]:
    return [deal for deal in await world.deals() if magic.ours(deal["magic"])]


async def test_every_order_was_committed_before_it_was_sent(tmp_path: Path) -> None:
    world = await open_world(tmp_path)
    await ten_on_the_move(world)
    committed: set[int] = set()
    seen = 0
    for _ in range(4 * 24 * 4):
        await world.advance(900)
        committed |= {i.magic for b in world.ledger.batches for i in b.intents if i.state is IntentState.SENDING}
        sent = {deal["magic"] for deal in await our_deals(world)}
        assert sent <= committed
        seen = len(sent)
    assert seen > 0
    await world.close()


@pytest.mark.parametrize("kind", ["reply_lost_executed", "reply_lost_not_executed", "executed_late"])
async def test_a_lost_reply_never_doubles_an_order(tmp_path: Path, kind: str) -> None:
    world = await open_world(tmp_path)
    await ten_on_the_move(world)
    await world.simulator.set_fault({"kind": kind, "count": 1000, "seconds": 20})
    unknown = 0
    for _ in range(2 * 24 * 12):
        await world.advance(300)
        unknown += any(trade.frozen is Frozen.INTENT for trade in world.dtms.book.trades.values())
    assert unknown > 0, "no reply was ever lost"
    per_magic = Counter(deal["magic"] for deal in await our_deals(world))
    assert all(count == 1 for count in per_magic.values())
    partials = Counter(deal["position_id"] for deal in await our_deals(world))
    assert all(count == 1 for count in partials.values())
    await world.simulator.clear_faults()
    await world.advance(600)
    assert not world.dtms.book.intents
    await world.close()


async def test_an_order_that_was_on_its_way_when_the_process_died_is_settled_by_the_broker(tmp_path: Path) -> None:
    world = await open_world(tmp_path)
    await ten_on_the_move(world)
    for _ in range(4 * 24 * 12):
        before = len(await our_deals(world))
        await world.simulator.set_fault({"kind": "reply_lost_executed", "count": 1})
        await world.advance(300)
        if world.dtms.book.intents and len(await our_deals(world)) > before:
            break
    (intent,) = world.dtms.book.intents.values()
    await world.close()
    again = await open_world(tmp_path)
    assert not again.dtms.book.intents
    settled = [
        e
        for e in await again.dtms.actions(ticket=None, since=0, limit=1000)
        if e.body["details"]["magic"] == intent.magic
    ]
    assert [event.body["outcome"] for event in settled] == ["unknown", "done"]
    assert sum(deal["magic"] == intent.magic for deal in await our_deals(again)) == 1
    await again.close()


async def test_a_restart_in_the_middle_ends_like_an_uninterrupted_run(tmp_path: Path) -> None:
    ends = []
    for restarts in (0, 5):
        world = await open_world(tmp_path / str(restarts))
        await ten_on_the_move(world)
        for _ in range(6):
            await world.advance(4 * 3600)
            if restarts:
                await world.close()
                world = await open_world(tmp_path / str(restarts))
        trades = {t.ticket: (t.state, t.volume, t.stop_loss, t.score, t.rule) for t in world.dtms.book.trades.values()}
        deals = [(d["position_id"], d["time"], d["volume"], d["price"], d["entry"]) for d in await world.deals()]
        ends.append((trades, deals))
        await world.close()
    assert ends[0] == ends[1]
