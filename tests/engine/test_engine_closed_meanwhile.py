"""The broker says that a position is closed already: nothing more is sent for it in that cycle, no hedge above all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from engine_world import open_world
from storm_setting import RULES

from dtms_service.domain.orders import Order
from dtms_service.domain.outcome import Outcome
from dtms_service.domain.policy import owe
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import Mode, ObligationKind


async def test_a_position_that_closes_between_the_look_and_the_order_is_not_hedged(tmp_path: Path) -> None:
    rules = RULES["opposing"]
    world = await open_world(tmp_path, parameters=rules)
    (trade,) = await world.protect(volume=0.4)
    await world.advance(900)  # bars for the distance of a hedge's stop
    cycle, gateway = world.dtms._cycle, world.dtms._terminal
    scene = cycle.scene(world.trade(trade.ticket))
    assert scene is not None
    due = replace(world.trade(trade.ticket), state=TradeState.WARNING_L2, obligations=(), frozen=None)
    wanted = (ObligationKind.PARTIAL_CLOSE, ObligationKind.HEDGE)
    due = replace(
        due, obligations=tuple(owe(due, kind, "score_worsens", scene.now, Mode.PROTECT, rules) for kind in wanted)
    )
    send, sent = gateway.send, []

    async def watched(order: Order) -> Outcome[Any]:
        sent.append(type(order).__name__)
        return await send(order)

    gateway.send = watched
    await world.simulator.close_position(trade.ticket, None)
    await cycle._actor.act(due, (), scene)
    assert sent == ["ClosePosition"]
    await world.close()
