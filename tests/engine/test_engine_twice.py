"""A position that is registered again under a newer ticket, while nobody can look, stays one trade."""

from __future__ import annotations

from pathlib import Path

from engine_world import World, open_world

from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import Trade


async def renamed(world: World, trade: Trade) -> int:
    """The broker gives the position another ticket (reopened for swap), and the terminal cannot be read."""
    await world.simulator.set_fault({"kind": "ticket_changed", "ticket": trade.ticket, "count": 1})
    await world.dtms._terminal.positions()  # the change happens at a read
    rows = (await world.simulator.view("positions"))["positions"]
    await world.simulator.set_fault({"kind": "read_none", "call": "positions_get", "seconds": 45})
    await world.advance(31)
    return next(row["ticket"] for row in rows if row["identifier"] == trade.identifier)


async def test_the_second_registration_ends_and_the_first_trade_goes_on_with_the_new_ticket(tmp_path: Path) -> None:
    world = await open_world(tmp_path)
    (trade,) = await world.protect(symbol="XAUUSD")
    (other,) = await world.protect()
    newer = await renamed(world, trade)
    (answer,) = await world.register(newer)
    assert (answer.outcome, answer.trade.state) == ("pending_verification", TradeState.PENDING)
    await world.advance(120)
    found = world.trade(newer)
    assert (found.trade_id, found.state, found.former_tickets) == (
        trade.trade_id,
        TradeState.HEALTHY,
        (trade.ticket,),
    )
    second = world.dtms.book.trades[answer.trade.trade_id]
    assert (second.state, second.rule) == (TradeState.REJECTED, "watched_already")
    assert world.trade(other.ticket).state is TradeState.HEALTHY
    assert world.dtms.report().ready
    await world.close()
    world = await open_world(tmp_path)
    assert world.trade(newer).trade_id == trade.trade_id
    await world.close()


async def test_two_registrations_of_one_position_under_two_tickets_become_one_trade(tmp_path: Path) -> None:
    world = await open_world(tmp_path)
    ticket = await world.open("XAUUSD")
    await world.simulator.set_fault({"kind": "read_none", "call": "positions_get", "seconds": 45})
    await world.register(ticket)
    await world.simulator.set_fault({"kind": "ticket_changed", "ticket": ticket, "count": 1})
    await world.advance(31)
    await world.advance(60)
    (row,) = (await world.simulator.view("positions"))["positions"]
    await world.register(row["ticket"])
    await world.advance(120)
    mine = [t for t in world.dtms.book.trades.values() if not t.state.final]
    assert [t.identifier for t in mine] == [row["identifier"]]
    await world.close()


async def test_a_trade_that_the_ledger_refuses_holds_up_no_other(tmp_path: Path, monkeypatch) -> None:
    world = await open_world(tmp_path)
    (trade,) = await world.protect(symbol="XAUUSD")
    (other,) = await world.protect()
    newer = await renamed(world, trade)
    await world.register(newer)
    monkeypatch.setattr("dtms_service.engine.tally.Tally.only", lambda _, __, seen, ___: seen)
    await world.simulator.change_position(other.ticket, {"stop_loss": 1.0})
    await world.advance(60)
    assert world.trade(other.ticket).stop_loss == 1.0
    assert [reason.code for reason in world.dtms.report().reasons] == ["trades_failed"]
    await world.close()
