"""An order without an outcome for a minute is told, once, and so is its end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from engine_world import World, open_world
from storm_setting import RULES

from dtms_service.domain.alerts import Alert
from dtms_service.domain.trade import Intent

HOURS_S = 6 * 3600


async def sent(world: World, **fault: Any) -> Intent:
    """The first order that meets the fault, when it has just left."""
    tickets = [await world.open(symbol=s, side=d) for s in ("EURUSD", "XAUUSD", "BTCUSD") for d in ("BUY", "SELL")]
    await world.register(*tickets)
    await world.simulator.set_fault({"count": 1, **fault})
    for _ in range(HOURS_S // 30):
        await world.advance(30)
        for intent in world.dtms.book.intents.values():
            return intent
    raise AssertionError("no order met the fault")


def told(world: World) -> list[Alert]:
    return [alert for alert in world.dtms.alerting.open.values() if alert.code == "order_unanswered"]


@pytest.fixture
async def world(tmp_path: Path):
    opened = await open_world(tmp_path, parameters=RULES["stern"])
    yield opened
    await opened.close()


async def test_an_order_that_works_for_minutes_is_told_after_one_and_is_over_when_it_is_filled(world: World) -> None:
    intent = await sent(world, kind="placed", seconds=300)
    await world.advance(intent.sending_at + 58 - world.dtms.now())
    assert told(world) == []
    await world.advance(4)
    (alert,) = told(world)
    assert (alert.trade_id, alert.over_at, alert.count) == (intent.trade_id, None, 1)
    await world.advance(intent.sending_at + 290 - world.dtms.now())
    assert told(world) == [alert]
    await world.advance(30)
    assert intent.magic not in world.dtms.book.intents
    (after,) = told(world)
    assert (after.over_at is not None, after.count) == (True, 1)


async def test_orders_that_are_executed_although_their_replies_are_lost_are_settled_at_once_and_no_alarm(
    world: World,
) -> None:
    tickets = [await world.open(symbol=s, side=d) for s in ("EURUSD", "XAUUSD", "BTCUSD") for d in ("BUY", "SELL")]
    await world.register(*tickets)
    await world.simulator.set_fault({"kind": "reply_lost_executed", "count": 1000})
    await world.advance(HOURS_S)
    actions = await world.dtms.actions(ticket=None, since=0, limit=1000)
    assert "unknown" in {event.body["outcome"] for event in actions}
    assert told(world) == []


async def test_one_that_was_told_and_acknowledged_is_not_told_again(world: World) -> None:
    await sent(world, kind="placed", seconds=300)
    await world.advance(70)
    (alert,) = told(world)
    await world.dtms.alerting.acknowledge(alert.alert_id, by="somebody", reason="seen")
    await world.advance(120)
    assert told(world) == []


async def test_it_is_told_while_the_terminal_is_away_too(world: World) -> None:
    await sent(world, kind="placed", seconds=300)
    await world.simulator.set_fault({"kind": "disconnected", "seconds": 600})
    await world.advance(90)
    assert [alert.count for alert in told(world)] == [1]
