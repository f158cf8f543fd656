"""The reply of a hedge is lost, and a bridge loses its magic too: there is never a second one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from engine_world import World, open_world
from storm_setting import RULES

from dtms_service.domain.errors import RegistrationConflict
from dtms_service.domain.orders import OpenHedge, Order
from dtms_service.domain.outcome import Outcome
from dtms_service.domain.unmanaged import Policy

HOURS_S = 6 * 3600


async def hedging_under(
    folder: Path, faults: Sequence[dict[str, Any]], policy: Policy = Policy.ALERT, *, twin: bool = False
) -> tuple[World, OpenHedge, list[int]]:
    """Positions of which one is hedged while ``faults`` hit that order; the order, and the tickets before it.

    ``twin``: somebody opens the same, with the same stop, just before.
    """
    world = await open_world(folder, parameters=RULES["opposing"], unmanaged=policy)
    gateway = world.dtms._terminal
    send, hit = gateway.send, []

    async def under(order: Order) -> Outcome[Any]:
        if isinstance(order, OpenHedge) and not hit:
            hit.append(order)
            if twin:
                levels = {"volume": order.volume, "stop_loss": order.stop_loss, "magic": 0}
                await world.open(order.symbol, order.side.value, **levels)
            for fault in faults:
                await world.simulator.set_fault({"count": 1, **fault})
        return await send(order)

    gateway.send = under
    tickets = [await world.open(symbol=s, side=d) for s in ("EURUSD", "XAUUSD", "BTCUSD") for d in ("BUY", "SELL")]
    await world.register(*tickets)
    for _ in range(HOURS_S // 10):
        await world.advance(10)
        if hit:
            return world, hit[0], tickets
    raise AssertionError("nothing was hedged")


async def opened_for(world: World, order: OpenHedge, before: Sequence[int]) -> list[int]:
    """Positions of the order's symbol, side and volume that are new."""
    wanted = (order.symbol, 0 if order.side.value == "BUY" else 1, order.volume)
    rows = (await world.simulator.view("positions"))["positions"]
    return [r["ticket"] for r in rows if (r["symbol"], r["type"], r["volume"]) == wanted and r["ticket"] not in before]


def codes(world: World) -> set[str]:
    return {alert.code for alert in world.dtms.alerting.open.values()}


LOST = ({"kind": "magic_zeroed"}, {"kind": "reply_lost_executed"})


async def test_a_position_with_our_comment_is_the_hedge(tmp_path: Path) -> None:
    world, order, before = await hedging_under(tmp_path, LOST)
    await world.advance(10)
    (hedge,) = await opened_for(world, order, before)
    link = world.trade(order.ticket).hedge
    assert link is not None
    assert (link.ticket, link.volume, link.side) == (hedge, order.volume, order.side)
    await world.advance(600)
    assert "unmanaged_position" not in codes(world)
    assert len(await opened_for(world, order, before)) <= 1
    await world.close()


async def statuses(world: World, order: OpenHedge) -> list[str]:
    history = await world.dtms.history(world.trade(order.ticket))
    return [event.body["status"] for event in history if event.kind == "action"]


BARE = ({"kind": "magic_zeroed"}, {"kind": "reply_lost_executed"}, {"kind": "comment_rewritten"})


@pytest.mark.parametrize("policy", [Policy.ALERT, Policy.ADOPT])
async def test_a_position_with_the_stop_of_the_order_is_the_hedge(tmp_path: Path, policy: Policy) -> None:
    world, order, before = await hedging_under(tmp_path, BARE, policy)
    await world.advance(10)
    (hedge,) = await opened_for(world, order, before)
    link = world.trade(order.ticket).hedge
    assert link is not None
    assert (link.ticket, link.volume, link.side) == (hedge, order.volume, order.side)
    (answer,) = await world.register(hedge)
    assert isinstance(answer, RegistrationConflict)  # it is not a trade of its own, whoever registers it (R29)
    await world.advance(600)
    assert not codes(world) & {"order_unclear", "unmanaged_position", "unmanaged_adopted"}
    assert len(await opened_for(world, order, before)) <= 1
    await world.close()


async def test_one_of_two_is_left_to_a_person_and_no_second_hedge_is_opened(tmp_path: Path) -> None:
    world, order, before = await hedging_under(tmp_path, BARE, twin=True)
    await world.advance(600)
    assert len(await opened_for(world, order, before)) == 2
    assert world.trade(order.ticket).hedge is None
    assert "order_unclear" in codes(world)
    assert "MANUAL_REVIEW" in await statuses(world, order)
    await world.close()


async def test_an_announced_position_like_it_belongs_to_whoever_announced_it(tmp_path: Path) -> None:
    world, order, _ = await hedging_under(tmp_path, ({"kind": "reply_lost_not_executed"},), Policy.ADOPT)
    other = await world.open(order.symbol, order.side.value, volume=order.volume, magic=0)
    await world.advance(600)
    assert world.trade(other).hedge is None
    assert not world.trade(other).state.final
    hedge = world.trade(order.ticket).hedge
    assert hedge is None or hedge.ticket != other
    await world.close()


async def test_a_position_that_somebody_registered_is_not_taken_for_it(tmp_path: Path) -> None:
    world, order, _ = await hedging_under(tmp_path, ({"kind": "reply_lost_not_executed"},))
    other = await world.open(order.symbol, order.side.value, volume=order.volume, magic=0)
    await world.register(other)
    await world.advance(90)
    assert "NOT_EXECUTED" in await statuses(world, order)
    assert "order_unclear" not in codes(world)
    await world.close()
