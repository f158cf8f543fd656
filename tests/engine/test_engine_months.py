"""Days of a generated market with random trades, every order and cycle watched; and every check sees what it is for.

Two recorded months and a generated year: `scripts/prove.py months`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import month_checks as checks
import pytest
from engine_world import open_world
from month_checks import Held, Sent
from month_plan import OpenMarket
from month_run import Setting, Watch, WatchedLink, run
from month_tally import Tally

from dtms_service.domain.orders import ModifyStops
from dtms_service.domain.parameters import Parameters
from dtms_service.domain.record import Batch
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import (
    Event,
    Frozen,
    Intent,
    IntentState,
    Mode,
    Obligation,
    ObligationKind,
    ObligationStatus,
    Owner,
    Trade,
)
from dtms_service.domain.values import Side
from dtms_service.terminal.simulated.market import open_market
from dtms_service.terminal.simulated.synthetic import DEFAULT_START

MAGIC, HEDGE_MAGIC = 445400500000001, 445400500000002
NOW = 100_000.0


async def test_days_with_random_trades_break_no_rule_and_leave_no_trade_behind(tmp_path: Path) -> None:
    end = DEFAULT_START + 3 * 86_400
    days = Setting("days", "synthetic", DEFAULT_START, end, 12, seed=5, cycle_s=180.0, symbols=("EURUSD",))
    found = await run(tmp_path, days)
    assert found.broken == ()
    totals = dict(found.tables["totals"])
    assert totals["trades"] >= 10
    assert totals["orders"] >= 5
    assert totals["looks"] >= 500
    assert totals["hedges"] >= 1
    assert {row[0] for row in found.tables["states"]} >= {"HEALTHY", "WARNING_L1", "CLOSED"}


async def test_the_watch_sees_an_order_that_nobody_committed_and_a_position_of_nobody(tmp_path: Path) -> None:
    world = await open_world(tmp_path, link_type=WatchedLink)
    assert isinstance(world.link, WatchedLink)
    market = OpenMarket(open_market("synthetic", 7, 0.0), ["EURUSD"], DEFAULT_START - 86_400, DEFAULT_START + 86_400)
    world.link.watch = watch = Watch(world, Tally(market.seconds), market)
    (trade,) = await world.protect()
    await world.advance(60)
    assert watch.broken == []
    assert trade.stop_loss is not None
    order = ModifyStops(trade.ticket, trade.symbol, trade.stop_loss - 0.01, trade.take_profit, MAGIC, "loosened")
    await world.dtms._terminal.send(order)
    assert "C-19" in watch.broken[-1]
    await world.open(magic=HEDGE_MAGIC)
    await world.advance(60)
    assert "belongs to no trade" in watch.broken[-1]
    await world.close()


# Orders.

MAIN = Held(11, 11, "EURUSD", 1, 1.0, 1.09, 1.12, 7)
HEDGE = Held(12, 12, "EURUSD", -1, 0.5, 1.11, 0.0, HEDGE_MAGIC)
OTHER = Held(13, 13, "EURUSD", 1, 1.0, 1.08, 0.0, 7)
TRADE = Trade(
    trade_id=1,
    login=1,
    server="s",
    ticket=11,
    identifier=11,
    symbol="EURUSD",
    side=Side.BUY,
    volume=1.0,
    initial_volume=1.0,
    entry_price=1.1,
    stop_loss=1.09,
    take_profit=1.12,
    initial_stop_loss=1.09,
    state=TradeState.WARNING_L2,
    state_since=NOW - 600,
    registered_at=NOW - 5000,
    verified_at=NOW - 5000,
    score_at=NOW - 300,
    coverage=0.9,
    hedge_magics=(HEDGE_MAGIC,),
)
INTENT = Intent(
    magic=MAGIC,
    trade_id=1,
    kind=ObligationKind.CLOSE_ALL,
    episode=1,
    leg=1,
    state=IntentState.SENDING,
    plan={"order": "ClosePosition", "volume": 1.0},
    before={},
    reason="flat_timer",
    created_at=NOW,
    sending_at=NOW,
)
TIGHTEN = {"action": 6, "position": 11, "symbol": "EURUSD", "sl": 1.095, "tp": 1.12, "magic": MAGIC}
CLOSE = {"action": 1, "position": 11, "symbol": "EURUSD", "type": 1, "volume": 0.5, "magic": MAGIC}
OPEN = {"action": 1, "symbol": "EURUSD", "type": 1, "volume": 0.5, "sl": 1.11, "magic": HEDGE_MAGIC}


def sent(request: Mapping[str, Any], *positions: Held, trade: Trade = TRADE, **after: Held | None) -> Sent:
    """An order over ``positions``; ``after`` by name of what became of MAIN, HEDGE and OTHER."""
    before = {p.ticket: p for p in positions or (MAIN, OTHER)}
    then = dict(before)
    for name, position in after.items():
        ticket = {"main": 11, "hedge": 12, "other": 13}[name]
        if position is None:
            del then[ticket]
        else:
            then[ticket] = position
    return Sent(request, before, then, INTENT, {1: trade})


LAWFUL = {
    "a nearer stop": sent(TIGHTEN, main=MAIN._replace(sl=1.095)),
    "a stop where there is none": sent(TIGHTEN, MAIN._replace(sl=0.0), main=MAIN._replace(sl=1.095)),
    "a part is closed": sent(CLOSE, main=MAIN._replace(volume=0.5)),
    "a hedge is opened": sent(OPEN, hedge=HEDGE),
    "the hedge is closed": sent({**CLOSE, "position": 12, "type": 0}, MAIN, HEDGE, hedge=None),
    "the hedge of a closed trade is closed": sent(
        {**CLOSE, "position": 12, "type": 0}, HEDGE, trade=replace(TRADE, state=TradeState.CLOSED), hedge=None
    ),
    "an order that is refused changes nothing": sent(CLOSE),
}
UNLAWFUL = {
    "C-19 nothing is committed": replace(sent(TIGHTEN), intent=None),
    "C-19 no reason": replace(sent(TIGHTEN), intent=replace(INTENT, reason="")),
    "C-8 closed": sent(TIGHTEN, trade=replace(TRADE, state=TradeState.CLOSED)),
    "C-8 released": sent(TIGHTEN, trade=replace(TRADE, managed=False)),
    "C-8 of another owner": sent(CLOSE, trade=replace(TRADE, owner=Owner.UNIVERSAL_MANAGER)),
    "C-1 a stop further away": sent({**TIGHTEN, "sl": 1.08}),
    "C-1 the same stop": sent({**TIGHTEN, "sl": 1.09}),
    "C-1 a stop that is removed": sent({**TIGHTEN, "sl": 0.0}),
    "C-1 a higher stop of a SELL": sent({**TIGHTEN, "sl": 1.095}, MAIN._replace(sign=-1)),
    "C-2 a target that is removed": sent({**TIGHTEN, "tp": 0.0}),
    "C-22 levels of a position of others": sent({**TIGHTEN, "position": 13}),
    "C-22 a close of a position of others": sent({**CLOSE, "position": 13}),
    "C-22 another action": sent({**TIGHTEN, "action": 5}),
    "C-22 others are changed": sent(CLOSE, main=MAIN._replace(volume=0.5), other=None),
    "C-3 more than there is": sent({**CLOSE, "volume": 1.5}),
    "C-3 adds to the position": sent({**CLOSE, "type": 0}),
    "C-3 the position grows": sent(CLOSE, main=MAIN._replace(volume=1.5)),
    "C-3 opens on the side of the trade": sent({**OPEN, "type": 0}),
    "C-5 a hedge larger than its position": sent({**OPEN, "volume": 1.5}),
    "C-5 a hedge without its position": sent(OPEN, OTHER),
    "C-6 a second hedge": sent(OPEN, MAIN, HEDGE),
    "R4 a hedge without a stop": sent({**OPEN, "sl": 0.0}),
    "C-4 the position before its hedge": sent({**CLOSE, "volume": 1.0}, MAIN, HEDGE, main=None),
}


@pytest.mark.parametrize("name", LAWFUL)
def test_an_order_that_only_reduces_risk_breaks_nothing(name: str) -> None:
    assert checks.about_order(LAWFUL[name]) == []


@pytest.mark.parametrize("name", UNLAWFUL)
def test_an_order_that_breaks_an_invariant_is_told(name: str) -> None:
    rule = name.partition(" ")[0]
    assert any(words.startswith(f"{rule} ") for words in checks.about_order(UNLAWFUL[name])), name


def test_in_observe_mode_every_order_is_told() -> None:
    assert checks.about_order(LAWFUL["a nearer stop"], Mode.OBSERVE)


# Positions after a cycle.

AT_PEACE = {1: TRADE}


@pytest.mark.parametrize(
    ("rule", "positions", "trade"),
    [
        ("C-5", (MAIN._replace(volume=0.25), HEDGE), replace(TRADE, volume=0.25)),
        ("C-5", (MAIN, HEDGE._replace(sign=1)), TRADE),
        ("C-6", (MAIN, HEDGE._replace(volume=0.2), HEDGE._replace(ticket=14, identifier=14, volume=0.2)), TRADE),
        ("C-7", (HEDGE,), replace(TRADE, state=TradeState.CLOSED, volume=0.0)),
        ("C-7", (MAIN, HEDGE._replace(magic=MAGIC)), TRADE),
        ("the record", (), TRADE),
        ("the record", (MAIN,), replace(TRADE, state=TradeState.CLOSED)),
        ("the record", (MAIN._replace(sl=1.08),), TRADE),
        ("the record", (MAIN._replace(volume=0.5),), TRADE),
    ],
)
def test_a_position_that_breaks_an_invariant_after_a_cycle_is_told(
    rule: str, positions: tuple[Held, ...], trade: Trade
) -> None:
    assert checks.about_broker((MAIN, HEDGE, OTHER), AT_PEACE) == []
    assert any(words.startswith(rule) for words in checks.about_broker(positions, {1: trade}))


# Traps.

OWED = Obligation(
    kind=ObligationKind.PARTIAL_CLOSE, episode=1, status=ObligationStatus.DUE, reason="score_worsens", created_at=NOW
)


def open_all_day(_: str, since: float, until: float) -> float:
    return until - since


def closed_market(*_: object) -> float:
    return 0.0


@pytest.mark.parametrize(
    "trade",
    [
        replace(TRADE, frozen=Frozen.INTENT),
        replace(TRADE, frozen=Frozen.VERIFY),
        replace(TRADE, obligations=(OWED,)),
        replace(TRADE, obligations=(replace(OWED, status=ObligationStatus.SENT),)),
        replace(TRADE, score_at=NOW - 1300),
        replace(TRADE, state=TradeState.HEDGED, state_since=NOW - 5800),
        replace(TRADE, state=TradeState.RECOVERING, state_since=NOW - 3100),
    ],
)
def test_a_trade_that_nothing_would_ever_move_is_told(trade: Trade) -> None:
    assert checks.about_progress(trade, (), NOW, open_all_day, Parameters()) != []


@pytest.mark.parametrize(
    "trade",
    [
        TRADE,
        replace(TRADE, state=TradeState.CLOSED, frozen=Frozen.INTENT),
        replace(TRADE, frozen=Frozen.VERIFY, missing_since=NOW),
        replace(TRADE, obligations=(replace(OWED, waiting="spread_too_wide"),)),
        replace(TRADE, obligations=(replace(OWED, next_try_at=NOW + 5),)),
        replace(TRADE, state=TradeState.HEDGED, state_since=NOW - 5400),
        replace(TRADE, state=TradeState.RECOVERING, state_since=NOW - 9000, coverage=0.5),  # R7
    ],
)
def test_a_trade_that_something_will_move_is_not_told(trade: Trade) -> None:
    assert checks.about_progress(trade, (), NOW, open_all_day, Parameters()) == []


def test_a_closed_market_is_no_trap() -> None:
    waits = replace(TRADE, state=TradeState.HEDGED, state_since=NOW - 9000, score_at=NOW - 9000)
    assert checks.about_progress(waits, (), NOW, closed_market, Parameters()) == []


def test_a_frozen_trade_with_its_order_open_is_no_trap() -> None:
    assert checks.about_progress(replace(TRADE, frozen=Frozen.INTENT), [INTENT], NOW, open_all_day, Parameters()) == []


@pytest.mark.parametrize(
    ("reason", "seconds", "told"),
    [
        ("spread_too_wide", 600.0, False),
        ("spread_too_wide", 900.0, True),
        ("hedge_not_seen", 1200.0, True),
        ("breakeven_out_of_reach", 1e6, False),
        ("no reason that anybody knows", 0.0, True),
    ],
)
def test_a_wait_without_end_or_name_is_told(reason: str, seconds: float, told: bool) -> None:
    assert bool(checks.about_wait(replace(OWED, waiting=reason), seconds)) is told


# Books.


def deal(**changed: Any) -> dict[str, Any]:
    plain = {"ticket": 1, "position_id": 11, "magic": MAGIC, "entry": 1, "reason": 3, "volume": 1.0}
    return {**plain, "profit": -5.0, "swap": 0.0, "commission": -1.0, **changed}


OPENED = deal(magic=7, entry=0, profit=0.0)
CLOSED = replace(TRADE, state=TradeState.CLOSED, closed_reason="DTMS")


@pytest.mark.parametrize(
    ("deals", "told"),
    [
        ([deal()], False),
        ([deal(volume=0.4), deal(volume=0.6)], False),
        ([deal(magic=MAGIC + 5)], True),
        ([deal(), deal(volume=0.1)], True),
    ],
)
def test_a_deal_of_ours_without_an_order_or_beyond_it_is_told(deals: list[dict[str, Any]], told: bool) -> None:
    assert bool(checks.about_deals(deals, {MAGIC: INTENT})) is told


@pytest.mark.parametrize(
    ("deals", "profit", "told"),
    [
        ([OPENED, deal()], -7.0, False),
        ([OPENED, deal()], -6.0, True),
        ([OPENED], -1.0, True),
        ([OPENED, deal(volume=0.5)], -7.0, True),
        ([OPENED, deal(magic=0, reason=4)], -7.0, True),
    ],
)
def test_a_close_that_its_deals_do_not_show_is_told(deals: list[dict[str, Any]], profit: float, told: bool) -> None:
    assert bool(checks.about_closes(deals, [CLOSED], {1: profit})) is told


def test_an_account_that_is_not_the_sum_of_its_deals_is_told() -> None:
    deals, positions = [OPENED, deal(profit=20.0)], [{"profit": 3.0, "swap": -0.5}]
    assert checks.about_money({"balance": 18.0, "equity": 20.5}, deals, positions) == []
    assert len(checks.about_money({"balance": 18.01, "equity": 20.52}, deals, positions)) == 2


# Tables.


def batch(trade: Trade, *events: Event) -> Batch:
    return Batch(events, (trade,))


def transition(before: str, after: str, rule: str, time: float) -> Event:
    return Event(time=time, kind="transition", trade_id=1, ticket=11, body={"from": before, "to": after, "rule": rule})


def story(tally: Tally) -> None:
    """HEALTHY at 0, L1 at 900, a hedge asked for from L2 at 1800, closed by its stop at 2700."""
    at = replace(TRADE, state=TradeState.HEALTHY, state_since=0.0)
    tally.take(batch(at))
    tally.take(batch(replace(at, state=TradeState.WARNING_L1), transition("HEALTHY", "WARNING_L1", "a", 900.0)))
    worse = replace(at, state=TradeState.WARNING_L2)
    tally.take(batch(worse, transition("WARNING_L1", "WARNING_L2", "b", 1800.0)))
    tally.take(batch(worse, transition("WARNING_L2", "WARNING_L2", "c", 2000.0)))
    over = replace(at, state=TradeState.CLOSED, rule="closed", closed_at=2700.0, closed_reason="STOP_LOSS")
    tally.take(batch(over))


def test_the_tables_tell_how_long_each_state_lasted_and_what_ended_it() -> None:
    tally = Tally(open_all_day)
    story(tally)
    tables = tally.tables()
    assert tally.broken == []
    assert tables["states"][1:] == [
        ["HEALTHY", 1, 0, 900, 900, 900],
        ["WARNING_L1", 1, 0, 900, 900, 900],
        ["WARNING_L2", 1, 0, 900, 900, 900],
        ["CLOSED", 1, 1, None, None, None],
    ]
    assert tables["moves"][1:] == [
        ["HEALTHY", "a", "WARNING_L1", 1],
        ["WARNING_L1", "b", "WARNING_L2", 1],
        ["WARNING_L2", "c", "itself", 1],
        ["WARNING_L2", "closed by STOP_LOSS", "CLOSED", 1],
    ]
    assert tables["closes"][1:] == [["STOP_LOSS", 1]]


def test_a_transition_from_another_state_than_the_trade_was_in_is_told() -> None:
    tally = Tally(open_all_day)
    tally.take(batch(replace(TRADE, state=TradeState.HEALTHY)))
    tally.take(batch(TRADE, transition("WARNING_L1", "WARNING_L2", "b", NOW)))
    assert len(tally.broken) == 1
