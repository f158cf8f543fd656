"""An order that was only placed is followed by the number its answer named, also where a bridge lost our magic."""

from __future__ import annotations

from pathlib import Path

import pytest
from engine_world import open_world

from dtms_service.domain.trade import IntentState

DAY = 86_400


async def test_a_placed_close_without_magic_is_found_by_its_order(tmp_path: Path) -> None:
    world = await open_world(tmp_path)
    tickets = [await world.open(symbol=s, side=d) for s in ("EURUSD", "XAUUSD", "BTCUSD") for d in ("BUY", "SELL")]
    await world.register(*tickets)
    for kind, more in (("magic_zeroed", {}), ("placed", {"seconds": 90})):
        await world.simulator.set_fault({"kind": kind, "count": 1000, **more})
    for _ in range(2 * DAY // 30):
        await world.advance(30)
        if world.dtms.book.intents:
            break
    else:
        pytest.fail("no order was placed within two days")
    (intent, *_) = world.dtms.book.intents.values()
    assert (intent.state, intent.resolution) == (IntentState.UNKNOWN, "unknown: placed")
    working = {order["ticket"] for order in (await world.simulator.view("orders"))["orders"]}
    assert intent.order in working
    # it works for longer than the settle window of 60 s: without its number it would be given up and sent again
    await world.advance(75)
    assert intent.magic in world.dtms.book.intents
    await world.advance(60)
    told = [event.body for event in await world.dtms.actions(ticket=None, since=0, limit=1000)]
    mine = [body for body in told if body["details"].get("magic") == intent.magic]
    assert [body["status"] for body in mine] == ["UNKNOWN", "CONFIRMED"]
    closing = [d for d in await world.deals() if d["order"] == intent.order]
    assert len(closing) == 1
    await world.close()
