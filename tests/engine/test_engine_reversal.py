"""A netting account turned a position round: the old trade is closed, and the new side can be registered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from engine_world import World, open_world

from dtms_service.domain.errors import DtmsError
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import Trade
from dtms_service.domain.unmanaged import Policy
from dtms_service.domain.values import Side


async def reversed_world(folder: Path, **options: Any) -> tuple[World, Trade, int]:
    """The world, the closed trade, and the ticket that the account shows now."""
    world = await open_world(folder, account={"margin_mode": "netting"}, **options)
    (trade,) = await world.protect(volume=0.1)
    await world.advance(120)
    await world.open(side="SELL", volume=0.3)
    await world.advance(30)
    closed = world.dtms.book.trades[trade.trade_id]
    assert (closed.state, closed.closed_reason) == (TradeState.CLOSED, "REVERSED")
    (row,) = (await world.simulator.view("positions"))["positions"]
    return world, closed, int(row["ticket"])


@pytest.mark.parametrize("claims", [{}, {"side": Side.SELL}], ids=["plain", "with its side"])
async def test_the_new_side_is_registered_and_both_trades_stay(tmp_path: Path, claims: dict[str, Any]) -> None:
    world, closed, ticket = await reversed_world(tmp_path)
    (answer,) = await world.register(ticket, **claims)
    assert (answer.outcome, answer.created, answer.trade.side) == ("protected", True, Side.SELL)
    assert answer.trade.trade_id != closed.trade_id
    (again,) = await world.register(ticket)
    assert (again.outcome, again.trade.trade_id) == ("already_protected", answer.trade.trade_id)
    await world.advance(120)
    assert world.trade(ticket).trade_id == answer.trade.trade_id
    assert world.dtms.book.trades[closed.trade_id] == closed
    await world.close()
    world = await open_world(tmp_path, account={"margin_mode": "netting"})
    assert world.trade(ticket).trade_id == answer.trade.trade_id
    await world.close()


async def test_the_old_ticket_names_the_new_side_once_it_is_registered(tmp_path: Path) -> None:
    world, closed, ticket = await reversed_world(tmp_path)
    (first,) = await world.register(ticket)
    other = await world.open(symbol="XAUUSD")
    again, beside = await world.register(closed.ticket, other)
    assert (again.outcome, again.trade.trade_id) == ("already_protected", first.trade.trade_id)
    assert beside.outcome == "protected"
    assert world.trade(closed.ticket).trade_id == first.trade.trade_id
    await world.advance(60)
    (told,) = [alert for alert in world.dtms.alerting.open.values() if alert.code == "position_reversed"]
    assert told.over_at is not None
    await world.close()
    world = await open_world(tmp_path, account={"margin_mode": "netting"})
    (again,) = await world.register(closed.ticket)
    assert again.trade.trade_id == first.trade.trade_id
    await world.close()


async def test_both_tickets_registered_while_the_terminal_is_away_become_one_trade(tmp_path: Path) -> None:
    world, closed, ticket = await reversed_world(tmp_path)
    await world.simulator.set_fault({"kind": "read_none", "call": "positions_get", "count": 2})
    answers = [*await world.register(ticket), *await world.register(closed.ticket)]
    assert [answer.outcome for answer in answers] == ["pending_verification"] * 2
    await world.simulator.clear_faults()
    await world.advance(60)
    states = sorted(world.dtms.book.trades[answer.trade.trade_id].state for answer in answers)
    assert states == [TradeState.HEALTHY, TradeState.REJECTED]
    assert world.trade(closed.ticket) == world.trade(ticket)
    await world.close()


async def test_the_old_side_is_a_contradiction(tmp_path: Path) -> None:
    world, _, ticket = await reversed_world(tmp_path)
    (answer,) = await world.register(ticket, side=Side.BUY)
    assert isinstance(answer, DtmsError)
    assert "SELL" in answer.detail
    await world.close()


async def test_until_somebody_registers_it_the_new_side_is_unmanaged_and_told(tmp_path: Path) -> None:
    world, _, ticket = await reversed_world(tmp_path)
    await world.advance(120)
    standing = [alert for alert in world.dtms.alerting.open.values() if alert.over_at is None]
    assert "unmanaged_position" in [alert.code for alert in standing if alert.ticket == ticket]
    assert "position_reversed" in [alert.code for alert in standing]
    await world.close()


async def test_the_policy_adopt_takes_the_new_side_over(tmp_path: Path) -> None:
    world, closed, ticket = await reversed_world(tmp_path, unmanaged=Policy.ADOPT)
    await world.advance(120)
    trade = world.trade(ticket)
    assert (trade.state.final, trade.side, trade.trade_id != closed.trade_id) == (False, Side.SELL, True)
    await world.close()
