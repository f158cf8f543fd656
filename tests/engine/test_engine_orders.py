"""Orders: on disk before they leave, once at the broker whatever the reply, settled by evidence after a restart."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from engine_world import World, open_world

from dtms_service.domain import magic
from dtms_service.domain.errors import StorageFailed
from dtms_service.domain.trade import IntentState

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
    for _ in range(24):
        await world.advance(3600)
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
    await world.simulator.set_fault(
        {"kind": kind, "count": 1000, **({"seconds": 20} if kind == "executed_late" else {})}
    )
    # Orders that never execute are read after in every cycle: a quarter of the time shows as many of them.
    await world.advance(DAY / 8 if kind == "reply_lost_not_executed" else DAY / 2)
    actions = await world.dtms.actions(ticket=None, since=0, limit=1000)
    assert "unknown" in {event.body["outcome"] for event in actions}
    ours = await our_deals(world)
    assert all(count == 1 for count in Counter(deal["magic"] for deal in ours).values())
    assert all(count == 1 for count in Counter(deal["position_id"] for deal in ours).values())
    await world.simulator.clear_faults()
    await world.advance(600)
    assert not world.dtms.book.intents
    assert not any(trade.frozen for trade in world.dtms.book.trades.values())
    await world.close()


async def test_an_order_that_was_on_its_way_when_the_process_died_is_settled_by_the_broker(tmp_path: Path) -> None:
    world = await open_world(tmp_path)
    await ten_on_the_move(world)
    world.ledger.dies_after_sending = True
    with pytest.raises(StorageFailed):
        await world.advance(DAY)
    (intent,) = world.dtms.book.intents.values()
    await world.close()
    again = await open_world(tmp_path)
    assert not again.dtms.book.intents
    told = await again.dtms.actions(ticket=None, since=0, limit=1000)
    settled = [event.body for event in told if event.body["details"].get("magic") == intent.magic]
    assert [(body["outcome"], body["status"]) for body in settled] == [("done", "CONFIRMED")]
    trade = again.trade(intent.plan["ticket"])
    positions = {p["ticket"]: p for p in (await again.simulator.view("positions"))["positions"]}
    assert trade.stop_loss == positions[trade.ticket]["sl"] == intent.plan["stop_loss"]
    await again.close()


async def test_a_restart_in_the_middle_ends_like_an_uninterrupted_run(tmp_path: Path) -> None:
    ends = []
    for restarts in (0, 6):
        world = await open_world(tmp_path / str(restarts))
        await ten_on_the_move(world)
        for _ in range(6):
            await world.advance(3600)
            if restarts:
                await world.close()
                world = await open_world(tmp_path / str(restarts))
        trades = {t.ticket: (t.state, t.volume, t.stop_loss, t.score, t.rule) for t in world.dtms.book.trades.values()}
        deals = [(d["position_id"], d["time"], d["volume"], d["price"], d["entry"]) for d in await world.deals()]
        ends.append((trades, deals))
        await world.close()
    assert ends[0] == ends[1]
