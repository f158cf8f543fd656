"""Mistakes of earlier engines that ours could repeat, on the simulated terminal: one test each, as in defects.md.

The engine here is nervous: every score is below its thresholds, so that a trade reaches WARNING_L1 in its first cycle
and WARNING_L2 at the next closed M5 bar, and both effects really go to the broker.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from engine_world import World, open_world

from dtms_service.domain import magic
from dtms_service.domain.errors import RegistrationConflict, StorageFailed
from dtms_service.domain.parameters import Parameters
from dtms_service.domain.policy import r_now
from dtms_service.domain.record import Batch
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import Mode, ObligationKind, ObligationStatus
from dtms_service.domain.values import MarginMode, Side
from dtms_service.ledger.store import SqlLedger

K = ObligationKind
NERVOUS = Parameters(l1_score=11.0, l2_score=11.0, l1_exit_score=12.0, l2_exit_score=12.0, arm_age_s=0.0, max_hedges=0)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    opened = await open_world(tmp_path, parameters=NERVOUS)
    await opened.advance(35)  # past the M5 bar that is closing: the next one closes in 270 s
    yield opened
    await opened.close()


async def at_broker(world: World, ticket: int) -> dict[str, Any]:
    positions = (await world.simulator.view("positions"))["positions"]
    return next(dict(position) for position in positions if position["ticket"] == ticket)


async def actions(world: World) -> list[dict[str, Any]]:
    return [dict(event.body) for event in await world.dtms.actions(ticket=None, since=0, limit=1000)]


async def refuse_orders(world: World, count: int, retcode: int = 10006) -> None:
    await world.simulator.set_fault({"kind": "retcode", "retcode": retcode, "count": count})


async def test_d01_a_ticket_is_all_that_an_effect_needs_to_know(world: World) -> None:
    ticket = await world.open(symbol="XAUUSD", side="SELL", volume=0.4)
    await world.register(ticket)
    opened = await at_broker(world, ticket)
    await world.advance(301)
    trade, now = world.trade(ticket), await at_broker(world, ticket)
    assert (trade.entry_price, trade.side, trade.symbol) == (opened["price_open"], Side.SELL, "XAUUSD")
    assert trade.initial_stop_loss == opened["sl"]
    assert now["sl"] < opened["sl"]
    assert (trade.stop_loss, trade.volume) == (now["sl"], now["volume"]) == (now["sl"], 0.2)


async def test_d02_what_the_engine_says_it_did_the_broker_did(world: World) -> None:
    for symbol in ("EURUSD", "XAUUSD", "BTCUSD"):
        await world.protect(1, symbol=symbol)
    await world.advance(301)
    done = [body for body in await actions(world) if body["success"]]
    assert {body["action_type"] for body in done} == {"tighten_stop", "partial_close"}
    deals = {deal["ticket"]: deal for deal in await world.deals()}
    for body in done:
        if body["action_type"] == "partial_close":
            deal = deals[body["result"]["deal"]]
            assert (deal["volume"], deal["magic"]) == (body["requested"]["volume"], body["details"]["magic"])
    for ticket in world.opened:
        stops = [b["requested"]["stop_loss"] for b in done if b["action_type"] == "tighten_stop"]
        assert (await at_broker(world, ticket))["sl"] in stops


async def test_d03_a_state_whose_effect_failed_still_owes_it(world: World) -> None:
    ticket = await world.open()
    before = (await at_broker(world, ticket))["sl"]
    await refuse_orders(world, 2)
    await world.register(ticket)
    await world.advance(0)
    warned = world.trade(ticket)
    assert warned.state is TradeState.WARNING_L1
    assert [(o.kind, o.status, o.attempts) for o in warned.obligations] == [(K.TIGHTEN_STOP, ObligationStatus.DUE, 1)]
    assert (await at_broker(world, ticket))["sl"] == before == warned.stop_loss
    await world.advance(25)  # tried again after 5 s and, refused once more, after another 15 s
    assert [(o.status, o.attempts) for o in world.trade(ticket).obligations] == [(ObligationStatus.DONE, 3)]
    assert (await at_broker(world, ticket))["sl"] > before


async def test_d08_positions_that_cannot_be_read_are_not_gone(tmp_path: Path) -> None:
    world = await open_world(tmp_path)
    (trade,) = await world.protect(1)
    await world.advance(60)
    before = world.trade(trade.ticket)
    await world.simulator.set_fault({"kind": "read_none", "call": "positions_get", "seconds": 3600})
    await world.advance(3500)
    assert world.trade(trade.ticket) == before
    await world.simulator.clear_faults()
    await world.close()
    again = await open_world(tmp_path)
    await again.advance(30)
    assert again.trade(trade.ticket).state is not TradeState.CLOSED
    assert again.dtms.protected(again.trade(trade.ticket))
    await again.close()


async def test_d21_bars_are_read_as_they_close_and_profit_is_measured_from_the_entry(world: World) -> None:
    ticket = await world.open()
    opened = await at_broker(world, ticket)
    risk = opened["price_open"] - opened["sl"]
    await world.register(ticket)
    await world.advance(5)
    assert (world.trade(ticket).entry_price, world.trade(ticket).risk) == (opened["price_open"], pytest.approx(risk))
    late = []
    for _ in range(6):
        await world.advance(300)
        late.append(world.dtms.now() - (world.dtms.book.views["EURUSD"].m5_time + 300))
    assert all(0 <= seconds <= 60 for seconds in late), late  # one cycle after the 5 s that a bar is waited for
    moved = ((await at_broker(world, ticket))["price_current"] - opened["price_open"]) / risk
    assert r_now(world.trade(ticket), world.dtms.book.ticks["EURUSD"]) == pytest.approx(moved)


async def test_d30_levels_of_the_trader_stay_where_they_are(world: World) -> None:
    targets = {await world.open(take_profit=target): target for target in (None, 1.2)}
    await world.register(*targets)
    await world.advance(301)
    for ticket, target in targets.items():
        assert "tighten_stop" in {body["action_type"] for body in await actions(world)}
        assert (await at_broker(world, ticket))["tp"] == (target or 0.0)


async def test_d35_every_order_has_a_number_of_its_own_and_needs_no_second_level(world: World) -> None:
    await world.protect(3, take_profit=None)
    await world.advance(301)
    numbers = [body["details"]["magic"] for body in await actions(world) if body["status"] == "CONFIRMED"]
    assert len(numbers) == len(set(numbers)) == 6
    assert all(magic.ours(number) for number in numbers)
    theirs = {deal["magic"] for deal in await world.deals() if deal["entry"] == 1}
    assert theirs < set(numbers)
    assert len(theirs) == 3


async def test_d39_on_a_netting_account_a_position_is_reduced_and_never_turned(tmp_path: Path) -> None:
    hedges_at_once = replace(NERVOUS, hedge_now_score=11.0, hedge_score=11.0, max_hedges=1)
    world = await open_world(tmp_path, parameters=hedges_at_once, account={"margin_mode": "netting"})
    ticket = await world.open(volume=0.8)
    await world.register(ticket)
    volumes = []
    for _ in range(24):
        await world.advance(300)
        volumes += [(p["type"], p["volume"]) for p in (await world.simulator.view("positions"))["positions"]]
    account = world.dtms.book.account
    assert account is not None
    assert account.margin_mode is MarginMode.NETTING
    kinds, sizes = zip(*volumes, strict=True)
    assert set(kinds) == {0}
    assert list(sizes) == sorted(sizes, reverse=True)
    assert min(sizes) >= 0.2  # a half, and at most half of the rest
    await world.close()


async def test_d40_a_restart_forgets_nothing_and_repeats_nothing(tmp_path: Path) -> None:
    world = await open_world(tmp_path, parameters=NERVOUS)
    (trade,) = await world.protect(1)
    await world.advance(301)
    before = world.trade(trade.ticket)
    assert (before.state, before.partials, before.volume) == (TradeState.WARNING_L2, 1, 0.05)
    assert before.risk is not None
    await world.close()
    for _ in range(3):
        world = await open_world(tmp_path, parameters=NERVOUS)
        assert world.trade(trade.ticket) == before
        await world.close()
    world = await open_world(tmp_path, parameters=NERVOUS)
    await world.advance(3600)
    assert world.trade(trade.ticket).volume == 0.05
    assert len([deal for deal in await world.deals() if magic.ours(deal["magic"])]) == 1
    await world.close()


async def test_d41_a_missing_table_is_an_error_and_not_a_standstill(tmp_path: Path) -> None:
    path = tmp_path / "dtms.db"
    ledger = await SqlLedger.open(f"sqlite:///{path}", draw=lambda _: 5)
    assert await asyncio.wait_for(ledger.commit(Batch(facts={"a": "b"})), 5) == 0
    with sqlite3.connect(path) as other:
        (table,) = other.execute(
            "select name from sqlite_master where type = 'table' and name like '%meta%'"
        ).fetchone()
        other.execute(f"drop table {table}")
    other.close()
    with pytest.raises(StorageFailed):
        await asyncio.wait_for(ledger.commit(Batch(facts={"a": "c"})), 5)
    await asyncio.wait_for(ledger.close(), 5)


async def test_d42_a_second_registration_resets_nothing(world: World) -> None:
    (trade,) = await world.protect(1)
    await world.advance(301)
    before = world.trade(trade.ticket)
    assert before.state is TradeState.WARNING_L2
    (answer,) = await world.register(trade.ticket, stop_loss=1.0, volume=9.0, entry_price=1.0)
    assert (answer.outcome, answer.trade) == ("already_protected", before)
    (renamed,) = await world.register(trade.ticket, strategy_type="micro_scalp", source="another bot")
    assert (renamed.outcome, renamed.trade) == ("already_protected", before)
    (refused,) = await world.register(trade.ticket, side=Side.SELL)
    assert isinstance(refused, RegistrationConflict)
    assert world.trade(trade.ticket) is before


async def test_d43_a_new_trade_does_not_begin_its_market_anew(world: World) -> None:
    (first,) = await world.protect(1)
    view = world.dtms.book.views["EURUSD"]
    world.forget_counts()
    (second,) = await world.protect(1)
    assert world.dtms.book.views["EURUSD"] is view
    assert not any("copy_rates_from_pos" in asked for asked in world.link.asked)
    await world.simulator.close_position(second.ticket, None)
    await world.advance(301)
    assert world.trade(second.ticket).state is TradeState.CLOSED
    assert world.dtms.book.views["EURUSD"].m5_time > view.m5_time
    assert world.trade(first.ticket).state is TradeState.WARNING_L2


async def test_d51_a_failure_is_told_as_one_and_stays_in_the_history(world: World) -> None:
    await refuse_orders(world, 1)
    (trade,) = await world.protect(1)
    await world.advance(6)
    told = [(body["action_type"], body["outcome"], body["success"]) for body in await actions(world)]
    assert told == [("tighten_stop", "refused", False), ("tighten_stop", "done", True)]
    assert [event.body["success"] for event in world.dtms.book.actions] == [False, True]
    assert (await world.kinds(trade)).count("action") == 2


async def test_d51_a_refused_order_is_not_counted_as_an_action(world: World) -> None:
    await refuse_orders(world, 1)
    await world.protect(1)
    await world.advance(6)
    assert world.dtms.counts.actions == 1


async def test_d52_an_order_that_keeps_failing_is_alerted(world: World) -> None:
    await refuse_orders(world, 100)
    (trade,) = await world.protect(1)
    await world.advance(60)
    alerts = [event.body["code"] for event in await world.dtms.history(trade) if event.kind == "alert"]
    assert alerts == ["obligation_failing"]  # once, at the second failure


async def test_d56_a_trade_does_not_grow_while_it_is_watched(tmp_path: Path) -> None:
    world = await open_world(tmp_path, mode=Mode.OBSERVE)
    (trade,) = await world.protect(1, stop_loss=None)
    sizes = []
    for _ in range(4):
        await world.advance(3 * 3600)
        sizes.append(len(repr(world.trade(trade.ticket))))
    assert world.dtms.counts.deep_checks >= 48
    assert sizes[-1] < sizes[0] + 36 * len("-1.5, ")  # a list of its scores alone would be longer
    await world.close()


async def test_d57_a_trade_that_is_over_stays_in_the_record(tmp_path: Path) -> None:
    world = await open_world(tmp_path)
    (trade,) = await world.protect(1)
    await world.simulator.close_position(trade.ticket, None)
    await world.simulator.set_fault({"kind": "read_none", "call": "history_deals_get", "seconds": 60})
    await world.advance(120)
    await world.close()
    again = await open_world(tmp_path)
    stored = again.trade(trade.ticket)
    assert (stored.state, stored.closed_reason) == (TradeState.CLOSED, "HAND")
    assert {"registered", "verified", "closed"} <= set(await again.kinds(stored))
    await again.close()
