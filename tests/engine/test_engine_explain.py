"""Why a trade is where it is, which score, price or time changes that, and what happens next (decision by decision)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from engine_world import World, open_world
from test_engine_hedging import hedged

from dtms_service.domain.broker_events import BrokerEvent, happened
from dtms_service.domain.parameters import Parameters
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import Frozen, Owner, Trade
from dtms_service.domain.values import Side, Tick
from dtms_service.engine.explaining import explain

NOW = 1_700_000_000.0
P = Parameters()


def trade(**changes: Any) -> Trade:
    values: dict[str, Any] = {
        "trade_id": 1,
        "login": 5,
        "server": "Demo",
        "ticket": 7,
        "identifier": 7,
        "symbol": "EURUSD",
        "side": Side.BUY,
        "volume": 1.0,
        "initial_volume": 1.0,
        "entry_price": 1.1,
        "stop_loss": 1.095,
        "take_profit": None,
        "initial_stop_loss": 1.095,
        "risk": 0.005,
        "state": TradeState.HEALTHY,
        "state_since": NOW,
        "armed": True,
        "registered_at": NOW,
        "verified_at": NOW,
        "score": -1.25,
        "owner": Owner.DTMS,
    }
    return Trade(**{**values, **changes})


def said(of: Trade, tick_age: float = 0.0) -> str:
    return "\n".join(explain(of, None, Tick(NOW - tick_age, 1.1, 1.1001), NOW, P).next)


def test_a_score_is_told_with_its_threshold_and_the_distance_to_it() -> None:
    assert "WARNING_L1 tighten_stop (score_warns) when S <= l1_score (-2); S is -1.25, 0.75 away" in said(trade())


def test_a_score_that_is_past_its_threshold_says_so() -> None:
    assert "when S <= l1_score (-2); S is -2.50, past it" in said(trade(armed=False, score=-2.5))
    recovering = trade(state=TradeState.RECOVERING, score=1.5)
    assert "S >= recovered_score (1) twice, or at the deadline; S is 1.50, past it" in said(recovering)


def test_an_unarmed_trade_names_the_prices_that_arm_it() -> None:
    # 0.2 R of 0.005 above the entry, 0.5 R below it.
    assert "armed at +0.2R, -0.5R or after 900 s of open market: 1.101, 1.098" in said(trade(armed=False))


def test_a_sell_is_told_the_other_way_round() -> None:
    assert ": 1.099, 1.103" in said(trade(armed=False, side=Side.SELL, stop_loss=1.105))


@pytest.mark.parametrize(("frozen", "words"), [(Frozen.INTENT, "without an answer"), (Frozen.VERIFY, "closes it")])
def test_a_frozen_trade_says_what_it_waits_for(frozen: Frozen, words: str) -> None:
    assert words in said(trade(frozen=frozen)).splitlines()[0]


def test_an_old_quote_is_named_with_its_age() -> None:
    assert "the newest is 90 s old" in said(trade(), tick_age=90)
    assert "quote" not in said(trade(), tick_age=30)


def test_timers_say_how_much_open_market_is_left() -> None:
    covered = happened(trade(state=TradeState.WARNING_L2), BrokerEvent.HEDGE_FILLED, NOW, P)
    assert "the flat timer has 4500 s of open market left" in said(covered)
    assert "then close_all (flat_timer) when the flat timer is over" in said(covered)
    recovering = happened(covered, BrokerEvent.HEDGE_CLOSED, NOW, P)
    assert "the recovery timer has 1800 s of open market left" in said(recovering)


@pytest.mark.parametrize("state", list(TradeState))
def test_every_state_has_an_explanation(state: TradeState) -> None:
    seen = None if state in {TradeState.PENDING, TradeState.REJECTED} else NOW
    told = explain(trade(state=state, verified_at=seen), None, None, NOW, P)
    assert told.rule
    assert bool(told.next) is not state.final


async def test_what_is_owed_is_told_with_its_reason_and_its_next_time(tmp_path: Path) -> None:
    world: World
    world, ticket = await hedged(tmp_path)
    await world.simulator.set_fault({"kind": "retcode", "retcode": 10006, "count": 9})
    await world.simulator.close_position(ticket, None)
    await world.advance(30)
    (line,) = world.dtms.explain(world.trade(ticket)).next
    assert line.startswith("close_hedge: due, orphan_hedge, ")
    assert " sent so far, next at 20" in line
    await world.close()


async def test_a_live_trade_says_when_and_at_which_price_it_is_scored_next(tmp_path: Path) -> None:
    world = await open_world(tmp_path)
    (held,) = await world.protect(1)
    await world.advance(1800)
    told = world.dtms.explain(world.trade(held.ticket)).next
    assert any(line.startswith("scored at 20") for line in told)
    assert any(line.startswith("scored at the next M5 close once the price reaches ") for line in told)
    await world.close()
