"""What an operator orders while the reply of an order cannot be stored is not overwritten by that reply."""

from __future__ import annotations

from pathlib import Path

import pytest
from engine_world import open_world
from storm_setting import RULES

from dtms_service.domain.control import Verb
from dtms_service.domain.errors import StorageBusy
from dtms_service.domain.record import Batch
from dtms_service.domain.trade import Intent, IntentState


async def test_a_flatten_between_an_orders_reply_and_its_storing_closes_every_position(tmp_path: Path) -> None:
    world = await open_world(tmp_path, parameters=RULES["stern"])
    tickets = [await world.open(symbol=s, side=d) for s in ("EURUSD", "XAUUSD", "BTCUSD") for d in ("BUY", "SELL")]
    await world.register(*tickets)
    commit = world.ledger.commit
    replied: list[Intent] = []

    async def busy_at_the_first_reply(batch: Batch) -> int:
        replies = [intent for intent in batch.intents if intent.state is not IntentState.SENDING]
        if replies and not replied:
            replied.extend(replies)
            raise StorageBusy("held by another program")
        return await commit(batch)

    world.ledger.commit = busy_at_the_first_reply
    with pytest.raises(StorageBusy):
        await world.advance(6 * 3600)
    ordered = await world.dtms.order(Verb.FLATTEN, reason="news", by="somebody")
    assert replied[0].trade_id in {world.trade(ticket).trade_id for ticket in ordered.tickets}
    await world.advance(600)
    assert [world.trade(ticket).state.value for ticket in ordered.tickets] == ["CLOSED"] * len(ordered.tickets)
    told = [event.body["status"] for event in await world.dtms.actions(ticket=None, since=0, limit=1000)]
    assert "CONFIRMED" in told
    await world.close()
