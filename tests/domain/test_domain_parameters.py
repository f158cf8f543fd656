"""Every number of the rules: its default is the specified one, and another value makes the rules decide otherwise."""

from __future__ import annotations

import ast
import asyncio
import dataclasses
import inspect
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pytest
from domain_values import EURUSD, T0, deal, market, owed, position, scene, trade

from dtms_service.domain import parameters, regime, signals
from dtms_service.domain.bounds import LIMITS, broken
from dtms_service.domain.broker_events import BrokerEvent, happened
from dtms_service.domain.effects import replied, sent, settled
from dtms_service.domain.evidence import settle
from dtms_service.domain.orders import ClosePosition, ModifyStops
from dtms_service.domain.outcome import Refused
from dtms_service.domain.parameters import Parameters
from dtms_service.domain.plan import Send, plan, stop_floor
from dtms_service.domain.policy import after_removed_stop, decide, evaluation_reason, owe
from dtms_service.domain.reconcile import absent, pending
from dtms_service.domain.sighting import Sighting
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import IntentState, Mode, ObligationKind, ObligationStatus, Trade
from dtms_service.domain.values import Account, DealEntry, Execution, MarginMode, Position, Timeframe
from dtms_service.domain.view import (
    EmaReading,
    MarketView,
    Missing,
    MomentumReading,
    StructureReading,
    Volatility,
    VwapReading,
)
from dtms_service.engine.markets import Markets
from dtms_service.market import view, vwap
from dtms_service.market.bars import Bars, aggregate
from dtms_service.market.snapshot import Snapshot
from dtms_service.market.window import Window

P = Parameters()
H, L1, L2 = TradeState.HEALTHY, TradeState.WARNING_L1, TradeState.WARNING_L2
HEDGED, RECOVERING = TradeState.HEDGED, TradeState.RECOVERING
K, S = ObligationKind, ObligationStatus
NOW = T0 + 3605.0
MAGIC = 445401700000123
HELD = position(stop_loss=1.095)
"""A BUY at 1.1 whose R is 0.005, ATR 0.001, spread 0.0001."""


class Case(NamedTuple):
    """With the default of a parameter the rules answer ``before``, with ``other`` they answer ``after``."""

    other: Any
    ask: Callable[[Parameters], object]
    before: object
    after: object


def seen_at_now(**seen: Any) -> MarketView:
    """A market by direction of its components, as `market` makes it, or by whole readings."""
    pointing = {name: value for name, value in seen.items() if isinstance(value, int)}
    return replace(market(NOW, **pointing), **{name: seen[name] for name in seen.keys() - pointing.keys()})


def score(**seen: Any) -> Callable[[Parameters], object]:
    """The score of a BUY; by default nothing points anywhere."""

    def ask(p: Parameters) -> object:
        value = signals.score(seen_at_now(**seen), HELD.side, p).value
        return None if value is None else round(value, 4)

    return ask


def looked(
    of: Trade, p: Parameters, held: Position = HELD, *, price: float = 1.1, later: float = 0.0, **more: Any
) -> Trade:
    """The trade after one look; ``later``: seconds since the bars were read."""
    tick_age = more.pop("tick_age", 0.0)
    at = scene(held, price, now=NOW + later, view=seen_at_now(**more), tick_age=tick_age)
    return decide(of, at, Mode.PROTECT, p).trade


def state(before: TradeState, look: dict[str, Any] | None = None, **seen: Any) -> Callable[[Parameters], object]:
    """The state of a trade that was in ``before``; ``look`` is about the moment, ``seen`` about the market."""
    of = trade(HELD, state=before, risk=0.005, state_since=T0, calm_evaluations=1)
    return lambda p: looked(of, p, **(look or {}), **seen).state


def owes(before: TradeState, *, confirmations: int = 0, calm: int = 0, **seen: Any) -> Callable[[Parameters], object]:
    """What a trade in ``before`` owes after one more evaluation."""
    of = trade(HELD, state=before, risk=0.005, confirmations=confirmations, calm_evaluations=calm)
    return lambda p: [o.kind for o in looked(of, p, **seen).obligations]


def armed(*, price: float = 1.1, age: float = 0.0) -> Callable[[Parameters], object]:
    young = trade(HELD, armed=False, risk=0.005, opened_at=NOW - 5 - age)
    return lambda p: looked(young, p, price=price).armed


def risk(held: Position) -> Callable[[Parameters], object]:
    return lambda p: round(looked(trade(held), p, held).risk or 0.0, 6)


def due_for(*, price: float, since: float) -> Callable[[Parameters], object]:
    """Why a trade evaluated at 1.1 on the same M15 bar is looked at again; ``since``: seconds after an event did."""
    seen = market(NOW)
    of = trade(HELD, risk=0.005, deep_m15=seen.m15_time, deep_m5=seen.m5_time - 300, deep_price=1.1)
    of = replace(of, event_deep_at=NOW - since)
    return lambda p: evaluation_reason(of, scene(HELD, price, now=NOW, view=seen), seen, p)


def hedge(of: str = "", **about: Any) -> Callable[[Parameters], object]:
    """The kind of order that a hedge is, or one of its values."""

    def ask(p: Parameters) -> object:
        where = replace(scene(HELD, 1.1, now=NOW, view=market(NOW)), **about)
        mine = trade(HELD, risk=0.005)
        answer = plan(mine, owe(mine, K.HEDGE, "for a test", NOW, Mode.PROTECT, p), where, MAGIC, p)
        assert isinstance(answer, Send)
        return getattr(answer.order, of) if of else type(answer.order).__name__

    return ask


def lasts(event: BrokerEvent, before: TradeState) -> Callable[[Parameters], object]:
    """Seconds on the timer of the state that ``event`` leads to."""

    def ask(p: Parameters) -> object:
        after = happened(trade(HELD, state=before), event, NOW, p)
        return after.flat_left_s or after.recovery_left_s

    return ask


def planned(kind: K, of: Trade | None = None, held: Position = HELD, **about: Any) -> Callable[[Parameters], object]:
    """The new stop or the volume to close; the reason where nothing is sent."""
    spread = about.pop("spread", 0.0001)
    hard = about.pop("hard", False)

    def ask(p: Parameters) -> object:
        mine = of if of is not None else trade(held, risk=0.005)
        obligation = replace(owe(mine, kind, "for a test", NOW, Mode.PROTECT, p, hard=hard), **about)
        answer = plan(mine, obligation, scene(held, 1.1, now=NOW, spread=spread, view=market(NOW)), MAGIC, p)
        if not isinstance(answer, Send):
            return answer.reason
        return answer.order.stop_loss if isinstance(answer.order, ModifyStops) else answer.order.volume

    return ask


def floor(too_near: int) -> Callable[[Parameters], object]:
    at = scene(HELD, 1.1, now=NOW, view=market(NOW))
    return lambda p: round(stop_floor(at, owed(K.TIGHTEN_STOP, too_near=too_near), p) or 0.0, 6)


def restored_after(p: Parameters) -> object:
    of = trade(replace(HELD, stop_loss=None), state=L1, risk=0.005)
    seen = after_removed_stop(trade(HELD, state=L1, risk=0.005), of, NOW, Mode.PROTECT, p)
    return seen.obligations[0].next_try_at - NOW


def retried_after(p: Parameters) -> object:
    of = trade(HELD, obligations=(owed(K.TIGHTEN_STOP),))
    going, _, intent = sent(of, of.obligations[0], ModifyStops(1001, "EURUSD", 1.0985, None, MAGIC, "x"), 1.0985, NOW)
    answer = replied(intent, Refused("requote", "", retcode=10004), NOW)
    return settled(going, answer, None, NOW, p).obligations[0].next_try_at - NOW


def settles(execution: Execution, connected_s: float, reads: int) -> Callable[[Parameters], object]:
    of = trade(HELD, obligations=(owed(K.PARTIAL_CLOSE),))
    half = ClosePosition(1001, "EURUSD", HELD.side, 0.5, MAGIC, "x")
    intent = replace(sent(of, of.obligations[0], half, 0.5, T0)[2], state=IntentState.UNKNOWN)
    nothing = Sighting(position=HELD, orders=(), deals=(), connected_s=connected_s, good_reads=reads)
    return lambda p: settle(intent, nothing, replace(EURUSD, execution=execution), NOW, p).state


def gone(*, since: float, reads: int) -> Callable[[Parameters], object]:
    of = trade(HELD, missing_since=NOW - since, missing_reads=reads - 1)
    return lambda p: absent(of, [deal(1, DealEntry.IN)], NOW, p).trade.state


def never_seen(p: Parameters) -> object:
    return pending(trade(HELD, state=TradeState.PENDING, verified_at=None), False, 70.0, NOW, p).trade.state


# Bars. A dull one opens and closes at 1.1 and reaches 0.0005 either way, so that the ATR of many is 0.001.

LONDON_NOON = 1_704_888_000
"""Wednesday 2024-01-10 12:00 UTC; the VWAP session of EURUSD began 14 hours before, 168 M5 bars."""
Row = tuple[float, float, float, float]
DULL: Row = (1.1, 1.1005, 1.0995, 1.1)
STRONG: Row = (1.0996, 1.1005, 1.0995, 1.1004)


def bars(rows: list[Row], seconds: int, volume: list[float] | None = None) -> Bars:
    """Bars (open, high, low, close) that end at `LONDON_NOON`."""
    table = np.array(rows)
    times = LONDON_NOON - seconds * np.arange(len(rows), 0, -1, dtype=np.int64)
    volumes = np.full(len(rows), 100.0) if volume is None else np.array(volume)
    return Bars(times, *(table[:, column].copy() for column in range(4)), volumes, np.full(len(rows), 10, np.int64))


def windows(m15: Bars, m5: Bars) -> tuple[Window, Window]:
    return tuple(
        Window.empty(frame).updated(each, float(LONDON_NOON)).window  # type: ignore[return-value]
        for frame, each in ((Timeframe.M15, m15), (Timeframe.M5, m5))
    )


def reading(name: str, m5: list[Row], of: Callable[[Any], object]) -> Callable[[Parameters], object]:
    """Something about one reading of the view of these M5 bars."""
    slow, fast = windows(aggregate(bars(m5, 300), 900), bars(m5, 300))

    def ask(p: Parameters) -> object:
        seen = view.build(EURUSD, slow, fast, p)
        assert not isinstance(seen, Missing)
        found = getattr(seen, name)
        return "missing" if isinstance(found, Missing) else of(found)

    return ask


def slow_reading(name: str, m15: list[Row], of: Callable[[Any], object]) -> Callable[[Parameters], object]:
    """The same of M15 bars alone."""
    window = windows(bars(m15, 900), bars([DULL], 300))[0]
    return lambda p: of(getattr(view.read_m15("EURUSD", window, p), name))


def volume_flip(bodies: list[int], volume: list[float], *, low: bool) -> Callable[[Parameters], object]:
    seen = bars([(1.1, 1.2, 1.0, 1.1 + 0.01 * body) for body in bodies], 300, volume)
    return lambda p: vwap.volume_flip(seen, p, low=low)


FAR_FROM_VWAP = [DULL] * 327 + [(1.1008, 1.1013, 1.1003, 1.1008)] * 3
"""The last three M5 bars close 0.0008 above a VWAP near 1.1; a flip needs 0.5 ATR x 1.0 in a trend, 1.3 in a range."""
BREAKS = [*[DULL] * 120, (1.1, 1.1015, 1.0995, 1.1), *[DULL] * 3, (1.1, 1.1018, 1.0999, 1.1017)]
"""A swing high at 1.1015, known after three more bars, and a close 0.0002 above it on the fourth."""
RISES: list[Row] = [(c - 0.0001, c + 0.0005, c - 0.0005, c) for c in (1.0 + 0.0001 * i for i in range(700))]
"""0.0001 a bar: 0.1 ATR."""
WIDENS: list[Row] = [DULL] * 200 + [(1.1, 1.101, 1.099, 1.1)] * 50
"""The range doubles for the last half day."""


def asks_for_bars(p: Parameters) -> object:
    """Seven seconds after the end of an M5 bar: is it read now?"""
    markets = Markets(p)
    end = float(LONDON_NOON)
    account = Account(5, "Demo", "USD", MarginMode.HEDGING, "simulated", 1e4, 1e4, 0.0, 1e4, False, True, True)
    series = {("EURUSD", Timeframe.M15): bars([DULL] * 1000, 900), ("EURUSD", Timeframe.M5): bars([DULL] * 600, 300)}
    asyncio.run(markets.take(Snapshot(end + 60, account, True, (), {}, series), {"EURUSD": EURUSD}))
    return [frame for _, frame, _ in markets.needs(("EURUSD",), end + 307.0)]


CASES: dict[str, Case] = {
    # One full component is weight * 10.5 / 9.5 points; another weight changes the 9.5 too.
    "weight_structure": Case(5.0, score(structure=-1), -3.3158, -4.5652),
    "weight_vwap_volume": Case(4.0, score(vwap=-1), -2.2105, -3.6522),
    "weight_momentum": Case(4.0, score(momentum=-1), -2.2105, -3.6522),
    "weight_ema": Case(0.0, score(structure=-1), -3.3158, -3.9375),
    "weight_candle": Case(2.0, score(candle=-1), -1.1053, -2.0),
    "weight_delta": Case(2.0, score(structure=-1, delta=Missing("the provider is silent")), -3.0, -2.7391),
    "structure_decay": Case(16.0, score(structure=StructureReading(-1, 4, "BOS", 0.0, None, None)), -1.6579, -2.4868),
    "flip_decay": Case(36.0, score(vwap=VwapReading(1.1, -1, 9, 0)), -0.8289, -1.2434),
    "rsi_dead": Case(8.0, score(momentum=MomentumReading(40.0, 41.0, (0, 0, 0))), -0.3684, -0.1734),
    "rsi_dead_low": Case(
        12.0,
        score(momentum=MomentumReading(35.0, 36.0, (0, 0, 0)), volatility=Volatility.LOW),
        -0.4912,
        -0.3401,
    ),
    "rsi_full": Case(20.0, score(momentum=MomentumReading(40.0, 41.0, (0, 0, 0))), -0.3684, -0.4912),
    "ema_dead_50": Case(0.7, score(ema=EmaReading(-0.6, 0.0, 0.0)), -0.8289, 0.0),
    "ema_dead_200": Case(0.3, score(ema=EmaReading(0.0, -0.2, 0.0)), -0.4145, 0.0),
    "volume_bars": Case(7, volume_flip([-1, 1, 1, 1, 1, 1, 1], [99, 1, 1, 1, 1, 1, 1], low=False), 1, -1),
    "volume_share": Case(0.7, volume_flip([1, -1], [68, 32], low=False), 1, 0),
    "volume_share_low": Case(0.8, volume_flip([1, -1], [75, 25], low=True), 1, 0),
    "vwap_theta_atr": Case(1.0, reading("vwap", FAR_FROM_VWAP, lambda r: r.flip), 1, 0),
    "vwap_valid_bars": Case(169, reading("vwap", FAR_FROM_VWAP, lambda r: r.flip), 1, "missing"),
    "candle_bars": Case(2, reading("candle", [*[DULL] * 327, STRONG, DULL, DULL], lambda r: r.sign), 1, 0),
    "candle_body": Case(0.9, reading("candle", [*[DULL] * 329, STRONG], lambda r: r.sign), 1, 0),
    "candle_range_atr": Case(1.2, reading("candle", [*[DULL] * 329, STRONG], lambda r: r.sign), 1, 0),
    "swing_k": Case(5, slow_reading("structure", BREAKS, lambda r: r.trend), 1, 0),
    "break_beta_atr": Case(0.5, slow_reading("structure", BREAKS, lambda r: r.trend), 1, 0),
    "ema_slope_bars": Case(20, slow_reading("ema", RISES, lambda r: round(r.slope_50, 6)), 1.0, 2.0),
    "volatility_bars": Case(20, slow_reading("volatility", WIDENS, str), "HIGH", "NORMAL"),
    "volatility_low": Case(0.6, lambda p: str(regime.volatility(0.65, 1.0, p)), "LOW", "NORMAL"),
    "volatility_high": Case(1.5, lambda p: str(regime.volatility(1.4, 1.0, p)), "HIGH", "NORMAL"),
    "range_width_atr": Case(2.5, lambda p: str(regime.structure(0.7, 1.0, p)), "RANGE", "TREND"),
    # 6 of 9.5 are present without momentum and EMA, 8 of 9.5 without EMA.
    "min_coverage_escalate": Case(0.7, state(H, structure=-1, ema=Missing("x"), momentum=Missing("x")), L1, H),
    "min_coverage_relax": Case(0.9, state(L1, ema=Missing("x")), H, L1),
    "l1_score": Case(-3.5, state(H, structure=-1), L1, H),
    "l2_score": Case(-6.0, state(L1, structure=-1, vwap=-1), L2, L1),
    "hedge_score": Case(-7.5, owes(L2, confirmations=1, structure=-1, momentum=-1, ema=-1), [K.HEDGE], []),
    "hedge_now_score": Case(-9.5, owes(L2, structure=-1, vwap=-1, momentum=-1, ema=-1), [K.HEDGE], []),
    "hedge_confirmations": Case(3, owes(L2, confirmations=1, structure=-1, momentum=-1, ema=-1), [K.HEDGE], []),
    "hedge_style": Case("reduce", hedge(), "OpenHedge", "ClosePosition"),
    "hedge_fraction": Case(0.25, planned(K.HEDGE), 0.5, 0.25),
    "hedge_room_atr": Case(6.0, planned(K.HEDGE), 0.5, "stop_near"),
    "hedge_stop_atr": Case(2.0, hedge(of="stop_loss"), 1.1015, 1.102),
    "hedge_margin_level": Case(2.0, hedge(margin_level=1.8), "OpenHedge", "ClosePosition"),
    "flat_s": Case(3600.0, lasts(BrokerEvent.HEDGE_FILLED, L2), 4500.0, 3600.0),
    "recovery_s": Case(900.0, lasts(BrokerEvent.HEDGE_CLOSED, HEDGED), 1800.0, 900.0),
    "max_hedges": Case(0, owes(L2, confirmations=1, structure=-1, momentum=-1, ema=-1), [K.HEDGE], []),
    "l1_exit_score": Case(1.5, state(L1, candle=1), H, L1),
    "l2_exit_score": Case(-1.0, state(L2, ema=-1), L1, L2),
    "hedged_exit_score": Case(2.0, owes(HEDGED, calm=1, candle=1), [K.CLOSE_HEDGE], []),
    "calm_evaluations": Case(3, owes(HEDGED, calm=1, candle=1), [K.CLOSE_HEDGE], []),
    "recovered_score": Case(1.5, state(RECOVERING, candle=1), H, RECOVERING),
    "min_dwell_s": Case(7200.0, state(L1), H, L1),
    "arm_profit_r": Case(0.3, armed(price=1.10125), True, False),
    "arm_loss_r": Case(-0.7, armed(price=1.097), True, False),
    "arm_age_s": Case(1800.0, armed(age=1200.0), True, False),
    "event_cooldown_s": Case(900.0, due_for(price=1.0994, since=700.0), "adverse_move", None),
    "adverse_move_atr": Case(0.7, due_for(price=1.0994, since=700.0), "adverse_move", None),
    "bar_delay_s": Case(10.0, asks_for_bars, [Timeframe.M5], []),
    "m5_stale_s": Case(360.0, state(H, {"later": 395.0}, structure=-1), L1, H),
    "tick_stale_s": Case(30.0, state(H, {"tick_age": 50.0}, structure=-1), L1, H),
    "r_valid_atr": Case(0.7, risk(position(stop_loss=1.0994)), 0.0006, 0.0015),
    "r_valid_spreads": Case(7.0, risk(position(stop_loss=1.0994)), 0.0006, 0.0015),
    "r_estimate_atr": Case(2.0, risk(position()), 0.0015, 0.002),
    "tighten_r": Case(0.4, planned(K.TIGHTEN_STOP), 1.0985, 1.098),
    "tighten_hard_r": Case(0.2, planned(K.TIGHTEN_STOP, hard=True), 1.09925, 1.099),
    "least_gain_r": Case(
        0.02, planned(K.TIGHTEN_STOP, held=position(stop_loss=1.0983)), "stop_is_tight_enough", 1.0985
    ),
    "widen_spreads": Case(5, floor(too_near=5), 0.0009, 0.0011),
    "noise_floor_atr": Case(1.0, floor(too_near=0), 0.0006, 0.0011),
    "stop_removed_wait_s": Case(120.0, restored_after, 60.0, 120.0),
    "partial_fraction": Case(0.25, planned(K.PARTIAL_CLOSE), 0.5, 0.25),
    "max_partials": Case(
        2, planned(K.PARTIAL_CLOSE, trade(HELD, risk=0.005, partials=1)), "partial_close_done_before", 0.5
    ),
    "spread_wide": Case(3.0, planned(K.PARTIAL_CLOSE, spread=0.00025), "spread_too_wide", 0.5),
    "spread_wide_points": Case(30.0, planned(K.PARTIAL_CLOSE, spread=0.00025), "spread_too_wide", 0.5),
    "spread_defer_s": Case(
        100.0, planned(K.PARTIAL_CLOSE, spread=0.00025, created_at=NOW - 200), "spread_too_wide", 0.5
    ),
    "retry_backoff_s": Case((7.0,), retried_after, 5.0, 7.0),
    "settle_market_s": Case(90.0, settles(Execution.MARKET, 70.0, 3), IntentState.NOT_EXECUTED, IntentState.UNKNOWN),
    "settle_request_s": Case(
        240.0, settles(Execution.INSTANT, 200.0, 3), IntentState.NOT_EXECUTED, IntentState.UNKNOWN
    ),
    "settle_reads": Case(4, settles(Execution.MARKET, 70.0, 3), IntentState.NOT_EXECUTED, IntentState.UNKNOWN),
    "verify_absence_s": Case(900.0, gone(since=700.0, reads=6), TradeState.CLOSED, H),
    "verify_absence_reads": Case(8, gone(since=700.0, reads=6), TradeState.CLOSED, H),
    "pending_reject_s": Case(90.0, never_seen, TradeState.REJECTED, TradeState.PENDING),
}
"""One row per parameter: a value an operator may choose instead, and what the rules then do otherwise."""


def test_every_parameter_has_a_case() -> None:
    assert sorted(CASES) == sorted(field.name for field in dataclasses.fields(Parameters))


@pytest.mark.parametrize("name", CASES)
def test_another_value_of_a_parameter_makes_the_rules_decide_otherwise(name: str) -> None:
    other, ask, before, after = CASES[name]
    changed = replace(P, **{name: other})
    assert broken(changed) is None, "the other value is one that may be chosen"
    assert ask(P) == before
    assert ask(changed) == after
    assert before != after


WAVES: list[Row] = [
    (o, max(o, c) + 0.0004, min(o, c) - 0.0004, c)
    for o, c in pairwise(1.1 + 0.01 * math.sin(i / 40) + 0.002 * math.sin(1.7 * i) for i in range(2101))
]
"""700 M15 bars of a market that goes up and down: every reading is there."""


@pytest.mark.parametrize("name", LIMITS)
def test_at_its_limits_a_parameter_breaks_no_formula(name: str) -> None:
    slow, fast = windows(aggregate(bars(WAVES, 300), 900), bars(WAVES, 300))
    for limit in LIMITS[name]:
        default = getattr(P, name)
        other = replace(P, **{name: (limit,) if isinstance(default, tuple) else type(default)(limit)})
        seen = view.build(EURUSD, slow, fast, other)
        assert isinstance(seen, MarketView)
        value = signals.score(seen, HELD.side, other).value
        assert value is not None
        assert math.isfinite(value)
        at = scene(HELD, 1.1, now=LONDON_NOON + 5.0, view=seen)
        assert decide(trade(HELD), at, Mode.PROTECT, other).evaluated


@pytest.mark.parametrize(
    ("names", "values"),
    [
        # engine.md B8 and B5, RULINGS R1, R2, R6, R16.
        (
            "weight_structure weight_vwap_volume weight_momentum weight_ema weight_delta weight_candle",
            (3, 2, 2, 1.5, 1, 1),
        ),
        ("l1_score l2_score hedge_score hedge_now_score", (-2, -4, -6, -8)),
        ("l1_exit_score l2_exit_score hedged_exit_score recovered_score", (0, -2, 0, 1)),
        ("min_coverage_escalate min_coverage_relax min_dwell_s", (0.6, 0.8, 900)),
        ("partial_fraction max_partials max_hedges tighten_r tighten_hard_r", (0.5, 1, 1, 0.3, 0.15)),
        ("hedge_fraction hedge_room_atr hedge_stop_atr flat_s recovery_s", (0.5, 1, 1.5, 4500, 1800)),
        ("arm_profit_r arm_age_s arm_loss_r event_cooldown_s adverse_move_atr", (0.2, 900, -0.5, 600, 0.5)),
        ("r_valid_atr r_valid_spreads r_estimate_atr noise_floor_atr", (0.5, 4, 1.5, 0.5)),
        ("swing_k break_beta_atr structure_decay vwap_theta_atr flip_decay", (3, 0.1, 8, 0.5, 18)),
        ("rsi_full ema_dead_50 ema_dead_200 spread_wide spread_defer_s", (25, 0.5, 0.15, 2, 300)),
        ("settle_market_s settle_request_s verify_absence_s verify_absence_reads", (60, 180, 600, 5)),
        ("retry_backoff_s bar_delay_s", ((5, 15, 45, 135), 5)),
    ],
)
def test_defaults_are_those_of_the_specification(names, values):
    assert tuple(getattr(P, name) for name in names.split()) == values


def test_every_number_says_its_unit_and_why():
    body = ast.parse(inspect.getsource(parameters)).body[-1]
    assert isinstance(body, ast.ClassDef)
    undocumented = [
        field.target.id
        for field, following in zip(body.body, [*body.body[1:], None], strict=True)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and not (isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant))
    ]
    assert undocumented == []


def test_parameters_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        P.l1_score = -9.0  # type: ignore[misc]
