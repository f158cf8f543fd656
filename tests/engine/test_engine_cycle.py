"""Cycles: what they cost, what a failed read does, how positions that change or vanish are noticed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from engine_world import DIGITS, World, open_world

from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import Mode


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    opened = await open_world(tmp_path)
    yield opened
    await opened.close()


async def test_a_quiet_cycle_is_one_round_trip_and_no_transaction(world: World) -> None:
    for symbol in ("EURUSD", "XAUUSD", "BTCUSD"):
        await world.protect(3, symbol=symbol)
    await world.advance(31)
    world.forget_counts()
    result = await world.advance(30)
    asked = [names for names in world.link.asked if not names[0].startswith("simulator_")]
    assert len(asked) == result["cycles"] > 0
    assert all("positions_get" in names for names in asked)
    assert world.ledger.batches == []


async def test_the_loop_turns_between_the_markets_of_a_closed_bar(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for symbol in DIGITS:
        await world.protect(1, symbol=symbol)
    turns, at = 0, []
    updated = world.dtms._cycle._markets._updated

    def noted(*of: Any) -> bool:
        at.append(turns)
        return updated(*of)

    monkeypatch.setattr(world.dtms._cycle._markets, "_updated", noted)
    stepping = asyncio.create_task(world.advance(900))
    while not stepping.done():
        turns += 1
        await asyncio.sleep(0)
    assert len(at) >= 3 * len(DIGITS)
    assert len(set(at)) == len(at), "two markets were computed in one turn"


async def test_cycles_lie_on_the_grid_of_the_engine_clock(world: World) -> None:
    await world.advance(7)
    before = world.dtms.counts.cycles
    await world.advance(60)
    assert world.dtms.counts.cycles - before == 2
    assert world.dtms.counts.last_cycle_at is not None
    assert world.dtms.counts.last_cycle_at % 30 == 0


async def test_what_is_told_as_the_next_cycle_is_when_it_comes(world: World) -> None:
    await world.advance(7)
    told = world.dtms.counts.next_cycle_at
    assert told is not None
    assert told > world.dtms.now()
    assert told % 30 == 0
    before = world.dtms.counts.cycles
    await world.dtms.advance(seconds=None, until=told - 1)
    assert world.dtms.counts.cycles == before
    await world.dtms.advance(seconds=None, until=told)
    assert world.dtms.counts.cycles == before + 1
    assert world.dtms.counts.next_cycle_at == told + 30


async def test_after_a_failed_read_the_next_cycle_is_told_too(world: World) -> None:
    await world.simulator.set_fault({"kind": "disconnected", "count": 1})
    told = world.dtms.counts.next_cycle_at
    assert told is not None
    await world.dtms.advance(seconds=None, until=told)
    assert world.dtms.counts.last_cycle_at is not None
    assert world.dtms.counts.last_cycle_at < told
    assert world.dtms.counts.next_cycle_at == told + 30


async def test_a_cycle_repeated_at_the_same_instant_changes_nothing(world: World) -> None:
    await world.protect(2)
    await world.advance(3600)
    before = world.dtms.book.trades
    world.forget_counts()
    world.dtms._wake_up()
    await world.advance(0)
    assert world.dtms.book.trades == before
    assert world.ledger.batches == []


@pytest.mark.parametrize("kind", ["read_none", "disconnected"])
async def test_a_failed_read_changes_no_trade(world: World, kind: str) -> None:
    (trade,) = await world.protect(1)
    await world.advance(60)
    before = world.trade(trade.ticket)
    await world.simulator.set_fault({"kind": kind, "count": 1000, "seconds": 45})
    await world.advance(31)
    assert world.trade(trade.ticket) == before
    assert not world.dtms.report().ready
    await world.simulator.clear_faults()
    await world.advance(60)
    assert world.dtms.report().ready
    assert world.trade(trade.ticket) == before


async def test_a_position_missing_from_one_read_is_verified_not_closed(world: World) -> None:
    (trade,) = await world.protect(1)
    await world.simulator.set_fault({"kind": "read_omits_ticket", "count": 1})
    await world.advance(15)
    await world.advance(60)
    kinds = await world.kinds(trade)
    assert kinds[-3:] == ["alert", "position_seen_again", "alert_over"]
    after = world.trade(trade.ticket)
    assert (after.frozen, after.missing_since, after.missing_reads) == (None, None, 0)
    assert after.state is not TradeState.CLOSED


async def test_a_close_by_hand_is_noticed_and_named(world: World) -> None:
    (trade,) = await world.protect(1)
    await world.simulator.close_position(trade.ticket, None)
    await world.advance(30)
    closed = world.trade(trade.ticket)
    assert (closed.state, closed.closed_reason) == (TradeState.CLOSED, "HAND")


async def test_levels_changed_by_hand_are_adopted_and_recorded(world: World) -> None:
    (trade,) = await world.protect(1)
    assert trade.stop_loss is not None
    looser = round(trade.stop_loss - 0.001, 5)
    await world.simulator.change_position(trade.ticket, {"stop_loss": looser, "take_profit": None})
    await world.advance(30)
    assert world.trade(trade.ticket).stop_loss == looser
    assert {"external_change", "alert"} <= set(await world.kinds(trade))


async def test_a_part_closed_by_hand_is_adopted(world: World) -> None:
    (trade,) = await world.protect(1)
    await world.simulator.close_position(trade.ticket, 0.04)
    await world.advance(30)
    assert world.trade(trade.ticket).volume == 0.06


async def test_in_observe_mode_decisions_are_recorded_and_nothing_is_sent(tmp_path: Path) -> None:
    world = await open_world(tmp_path, mode=Mode.OBSERVE)
    tickets = [await world.open(side=side, symbol=s) for side in ("BUY", "SELL") for s in ("EURUSD", "BTCUSD")]
    answers = await world.register(*tickets)
    assert {(answer.outcome, answer.protected) for answer in answers} == {("observed", False)}
    await world.advance(6 * 3600)
    actions = await world.dtms.actions(ticket=None, since=0, limit=1000)
    assert {event.body["outcome"] for event in actions} == {"would_have"}
    assert not any("order_send" in asked for asked in world.link.asked)
    assert all(trade.state is not TradeState.HEDGED for trade in world.dtms.book.trades.values())
    await world.close()


async def test_a_trade_of_the_universal_manager_is_watched_but_never_touched(world: World) -> None:
    tickets = [await world.open(side=side, symbol="BTCUSD") for side in ("BUY", "SELL")]
    answers = await world.register(*tickets, strategy_type="order_block_rejection")
    assert {answer.outcome for answer in answers} == {"observed"}
    await world.advance(6 * 3600)
    assert not any("order_send" in asked for asked in world.link.asked)
    assert any(trade.score is not None for trade in world.dtms.book.trades.values())


async def test_a_stop_removed_by_hand_in_a_warning_is_set_again_after_a_minute(world: World) -> None:
    tickets = [await world.open(symbol=symbol, side=side) for symbol in DIGITS for side in ("BUY", "SELL")]
    await world.register(*tickets)
    warned: list[int] = []
    for _ in range(48):
        await world.advance(900)
        warned = [t for t in tickets if world.trade(t).state is TradeState.WARNING_L1 and world.trade(t).stop_set_by]
        if warned:
            break
    (ticket, *_) = warned
    await world.simulator.change_position(ticket, {"stop_loss": None})
    await world.advance(31)
    assert world.trade(ticket).stop_loss is None
    assert "unprotected_if_down" in world.trade(ticket).flags
    await world.advance(120)
    trade = world.trade(ticket)
    assert trade.state.final or trade.stop_loss is not None
    positions = {row["ticket"]: row["sl"] for row in (await world.simulator.view("positions"))["positions"]}
    assert trade.state.final or positions[ticket] == trade.stop_loss
    assert "stop_removed" in [e.body.get("code") for e in await world.dtms.history(trade) if e.kind == "alert"]
