"""Positions may be shown as they were before an order of ours for a while (C57): that is no change by others."""

from __future__ import annotations

from pathlib import Path

import pytest
from engine_world import World, open_world
from storm_setting import RULES

from dtms_service.domain import reconcile
from dtms_service.domain.trade import STOP_KINDS, Event, Trade

HOURS_S = 4 * 3600


async def tightened(world: World) -> tuple[Trade, float]:
    """A trade whose stop DTMS has just moved, and the looser stop before."""
    tickets = [await world.open(symbol=s, side=d) for s in ("EURUSD", "XAUUSD", "BTCUSD") for d in ("BUY", "SELL")]
    await world.register(*tickets)
    seen = 0
    for _ in range(HOURS_S // 30):
        await world.advance(30)
        actions = await world.dtms.actions(ticket=None, since=None, limit=1000)
        for action in actions[seen:]:
            moved = action.body["action_type"] in {kind.value for kind in STOP_KINDS} and action.body["success"]
            trade = world.dtms.book.find(action.ticket or 0)
            if moved and trade is not None and not trade.state.final and action.time == world.dtms.now():
                before = action.body["details"]["before"]["stop_loss"]
                assert trade.sign * (trade.stop_loss - before) > 0
                return trade, before
        seen = len(actions)
    raise AssertionError("no stop was moved within four hours")


async def looked_again(world: World, ticket: int, seconds: float) -> tuple[Trade, list[Event]]:
    """A cycle so many seconds later, woken by a registration; the trade then, and what others are said to have done."""
    await world.advance(seconds)
    await world.register(await world.open("EURUSD"))
    await world.advance(0)
    trade = world.trade(ticket)
    told = [e for e in await world.dtms.history(trade) if e.kind in {"external_change", "alert"}]
    return trade, told


async def test_a_read_that_shows_the_stop_before_our_order_changes_nothing_and_alerts_nobody(tmp_path: Path) -> None:
    world = await open_world(tmp_path, parameters=RULES["stern"])
    trade, _ = await tightened(world)
    await world.simulator.set_fault({"kind": "visible_late", "seconds": 6, "count": 1000})
    after, told = await looked_again(world, trade.ticket, 5)
    assert after.stop_loss == trade.stop_loss
    assert told == []
    await world.close()


async def test_without_that_rule_the_lagging_read_is_taken_for_a_change_by_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await open_world(tmp_path, parameters=RULES["stern"])
    trade, before = await tightened(world)
    monkeypatch.setattr(reconcile, "LAG_S", 0.0)
    await world.simulator.set_fault({"kind": "visible_late", "seconds": 6, "count": 1000})
    after, told = await looked_again(world, trade.ticket, 5)
    assert after.stop_loss == before
    assert [event.body.get("code") for event in told] == [None, "stop_loosened"]
    await world.close()


async def test_a_hand_that_loosens_our_stop_is_respected_after_ten_seconds(tmp_path: Path) -> None:
    world = await open_world(tmp_path, parameters=RULES["stern"])
    trade, before = await tightened(world)
    await world.simulator.change_position(trade.ticket, {"stop_loss": before})
    after, _ = await looked_again(world, trade.ticket, 5)
    assert after.stop_loss == trade.stop_loss
    after, told = await looked_again(world, trade.ticket, 5)
    assert after.stop_loss == before
    assert [event.body.get("code") for event in told] == [None, "stop_loosened"]
    await world.close()


@pytest.mark.parametrize("kind", ["open_hedge", "close_all"])
async def test_a_hedge_just_opened_is_not_missed_and_a_position_just_closed_is_not_closed_again(
    tmp_path: Path, kind: str
) -> None:
    world = await open_world(tmp_path, parameters=RULES["opposing"])
    tickets = [await world.open(symbol=s, side=d) for s in ("EURUSD", "XAUUSD", "BTCUSD") for d in ("BUY", "SELL")]
    await world.register(*tickets)
    done: list[Event] = []
    for _ in range(HOURS_S // 15):
        await world.advance(15)
        actions = await world.dtms.actions(ticket=None, since=None, limit=1000)
        names = (kind, True, world.dtms.now())
        done = [a for a in actions if (a.body["action_type"], a.body["success"], a.time) == names]
        if done:
            break
    ticket = done[0].ticket
    assert ticket is not None
    await world.simulator.set_fault({"kind": "visible_late", "seconds": 6, "count": 1000})
    now = world.dtms.now()
    trade, told = await looked_again(world, ticket, 5)
    assert [event for event in told if event.time > now] == []
    await world.simulator.clear_faults()
    await world.advance(60)
    codes = {e.body.get("code") for e in await world.dtms.history(trade) if e.kind == "alert" and e.time > now}
    assert codes & {"duplicate_hedge", "hedge_missing", "obligation_failing"} == set()
    await world.close()
