"""Mistakes of earlier position managers that rules of ours could repeat: one test each, numbered as in defects.md.

Where a score is needed it is made of readings; see `domain_values` for what one full component is worth.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from domain_values import EURUSD, GRID, T0, USDJPY, XAUUSD, P, deal, market, owed, position, scene, trade

from dtms_service.domain import effects, reconcile, regime, signals
from dtms_service.domain.orders import ClosePosition, Fill, ModifyStops
from dtms_service.domain.outcome import Done, Refused
from dtms_service.domain.plan import Instead, Plan, Refuse, Satisfied, Send, Wait, plan
from dtms_service.domain.policy import decide, evaluation_reason, r_now
from dtms_service.domain.shelve import shelve
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import (
    HedgeLink,
    Mode,
    ObligationKind,
    ObligationStatus,
    Trade,
)
from dtms_service.domain.transitions import TABLE
from dtms_service.domain.values import DealEntry, Position, Side
from dtms_service.domain.view import (
    EmaReading,
    MarketView,
    Missing,
    MomentumReading,
    Session,
    Structure,
    StructureReading,
    Volatility,
    VwapReading,
)
from dtms_service.ledger import codec

K = ObligationKind
H, L1, L2, HEDGED = TradeState.HEALTHY, TradeState.WARNING_L1, TradeState.WARNING_L2, TradeState.HEDGED
NOW = T0 + 3605.0
BUY, SELL = position(), position(side=Side.SELL)
BOTH = (BUY, SELL)
POINT = 10.5 / 9.5
"""Points of a component of weight 1 without an order-flow provider (``engine.md`` B5)."""
SINKS = {"structure": -1, "momentum": -1}
"""-5.53 points for a BUY: worse than WARNING_L2 asks for, better than a hedge does."""


def look(of: Trade, held: Position = BUY, *, now: float = NOW, view: MarketView | Missing | None = None) -> Trade:
    at = scene(held, 1.1, now=now, view=view if view is not None else market(now))
    return decide(of, at, Mode.PROTECT, P).trade


def due(of: Trade) -> list[ObligationKind]:
    return [o.kind for o in of.obligations if o.status is ObligationStatus.DUE]


def hedged(held: Position, **changes: Any) -> Trade:
    link = HedgeLink(ticket=2002, identifier=2002, side=held.side.opposite, volume=0.5, price_open=1.1, stop_loss=None)
    return trade(held, state=HEDGED, episode=3, hedges=1, hedge=link, **changes)


def planned(kind: ObligationKind, of: Trade, held: Position, price: float, **more: Any) -> Plan:
    return plan(of, owed(kind), scene(held, price, **more), 7, P)


def new_stop(answer: Plan) -> float:
    assert isinstance(answer, Send), answer
    assert isinstance(answer.order, ModifyStops)
    assert answer.order.stop_loss is not None
    return answer.order.stop_loss


# What ends a state.


@pytest.mark.parametrize("held", BOTH)
def test_d04_structure_ends_a_hedge_whichever_way_it_breaks(held):
    of = hedged(held, state_since=T0 + 100)
    turned = StructureReading(-held.side.sign, 0, "CHOCH", T0 + 3600, None, None)
    resumed = StructureReading(held.side.sign, 0, "BOS", T0 + 3600, None, None)
    assert due(look(of, held, view=replace(market(NOW), structure=turned))) == [K.CLOSE_ALL]
    assert due(look(of, held, view=replace(market(NOW), structure=resumed))) == [K.CLOSE_HEDGE]


def test_d05_the_timer_of_a_hedge_is_in_the_record_and_runs_out():
    stored = codec.trade_of(codec.trade_row(hedged(BUY, state_since=T0, flat_left_s=4500.0)))
    still = T0 + 4200 + 5  # fourteen M5 bars of open market
    assert due(look(stored, now=still, view=market(still, structure=-1))) == []
    assert due(look(stored, now=still + 300, view=market(still + 300, structure=-1))) == [K.CLOSE_ALL]


# Nothing is inferred from what could not be read.


def test_d08_a_read_that_failed_closes_nothing_however_often():
    of = trade(BUY)
    for n in range(100):
        of = reconcile.absent(of, None, T0 + 600.0 * n, P).trade
    assert of.state is H
    assert of.volume == 1.0
    proof = [deal(1, DealEntry.IN), deal(2, DealEntry.OUT)]
    assert reconcile.absent(of, proof, T0 + 60_000, P).trade.state is TradeState.CLOSED


def test_d50_what_could_not_be_scored_stands_no_guard_down():
    warned = trade(BUY, state=L1, state_since=T0 - 86_400, episode=1)
    nothing = dict.fromkeys(("structure", "vwap", "momentum", "ema", "candle"), Missing("it broke"))
    seen = look(warned, view=replace(market(NOW), **nothing))
    assert (seen.score, seen.state) == (None, L1)
    blind = replace(market(NOW, vwap=1, momentum=1, ema=1, candle=1), structure=Missing("it broke"))
    seen = look(warned, view=blind)
    assert seen.score is not None
    assert seen.score > 6  # every reading that is there says that all is well
    assert seen.state is L1
    assert look(warned, view=market(NOW, momentum=1)).state is H


# The score.


def test_d11_a_strong_candle_counts_for_the_trade_it_favours():
    up = market(NOW, candle=1)
    assert signals.score(up, Side.BUY, P).value == pytest.approx(POINT)
    assert signals.score(up, Side.SELL, P).value == pytest.approx(-POINT)


@pytest.mark.parametrize("reading", [EmaReading(0.6, -0.2, 0.01), EmaReading(-0.6, 0.2, -0.01)])
def test_d12_averages_that_disagree_are_not_held_against_both_sides(reading):
    view = replace(market(NOW), ema=reading)
    buy, sell = (signals.score(view, side, P).value for side in Side)
    # 0.5 - 0.25 + 0.25 of weight 1.5, in the direction of the fast one.
    assert buy == pytest.approx(0.5 * 1.5 * POINT * (1 if reading.slope_50 > 0 else -1))
    assert sell == -buy


def test_d13_a_weight_is_counted_once():
    falls = replace(market(NOW), momentum=MomentumReading(50.0, 50.0, (-0.1, -0.2, -0.3)))
    alone = signals.score(falls, Side.BUY, P).value
    assert alone == pytest.approx(-2.0 * POINT / 3)
    assert look(trade(BUY), view=falls).state is H  # two points would be a warning
    worst = market(NOW, structure=-1, vwap=-1, momentum=-1, ema=-1, candle=-1)
    assert signals.score(worst, Side.BUY, P).value == pytest.approx(-10.5)


def test_d14_what_the_classifier_says_is_what_the_tables_are_asked():
    low, high = regime.volatility(0.5, 1.0, P), regime.volatility(1.5, 1.0, P)
    flat, wide = regime.structure(0.5, 1.0, P), regime.structure(2.0, 1.0, P)
    calm = regime.threshold_multiplier(Volatility.NORMAL, Structure.TREND, Session.LONDON)
    assert calm == 1.0
    assert regime.threshold_multiplier(low, wide, Session.LONDON) == 1.4
    assert regime.threshold_multiplier(high, wide, Session.LONDON) == 0.8
    assert regime.threshold_multiplier(Volatility.NORMAL, flat, Session.LONDON) == 1.3
    assert regime.weight_multiplier("structure", Volatility.NORMAL, flat, Session.LONDON) == 0.7
    assert regime.weight_multiplier("structure", high, wide, Session.LONDON) == 1.2
    names = [component.name for component in signals.score(market(NOW), Side.BUY, P).components]
    for kind in [(v, s, hours) for v in Volatility for s in Structure for hours in Session]:
        assert all(0.5 <= regime.weight_multiplier(name, *kind) <= 1.8 for name in names)
        assert 0.5 <= regime.threshold_multiplier(*kind) <= 1.8


def test_d44_a_reading_nobody_provides_takes_no_weight_from_the_others():
    seen = signals.score(market(NOW, structure=-1), Side.BUY, P)
    delta = next(c for c in seen.components if c.name == "delta")
    assert (delta.configured, delta.points, seen.coverage) == (False, 0.0, 1.0)
    assert seen.value == pytest.approx(-3 * 10.5 / 9.5)
    provided = signals.score(replace(market(NOW, structure=-1), delta=Missing("late")), Side.BUY, P)
    assert provided.value == pytest.approx(-3.0)  # it has its own point, and lacks it
    assert provided.coverage == pytest.approx(9.5 / 10.5)


# When a trade is looked at.


def test_d20_a_flip_is_looked_at_when_its_m5_bar_has_closed():
    seen = look(trade(BUY))
    later = NOW + 300
    flipped = market(later, vwap=-1)
    assert flipped.m15_time == seen.deep_m15  # no M15 bar has closed since
    after = look(seen, now=later, view=flipped)
    assert (after.score_at, after.state) == (later, L1)
    assert after.components[1].points == pytest.approx(-2 * POINT)


def test_d22_no_market_is_looked_at_twice_in_one_bar_nor_pressed_by_events():
    of, looks = replace(trade(BUY, risk=10.0), deep_price=2.0), []
    for n in range(240):  # an hour in steps of 15 s, all of it half an ATR below the last look and flipping about
        now = NOW + 15 * n
        at = scene(BUY, 1.1 - 0.0006 * n, now=now, view=market(now, vwap=-1 if n % 2 else 1))
        decision = decide(of, at, Mode.PROTECT, P)
        of = decision.trade
        if decision.evaluated:
            looks.append((at.view.m5_time, of.event_deep_at == now))
    assert len({bar for bar, _ in looks}) == len(looks)
    events = sum(by_event for _, by_event in looks)
    assert len(looks) - events == 4  # one for every M15 bar
    assert 1 <= events <= 6  # one in ten minutes


@pytest.mark.parametrize("held", BOTH)
def test_d23_only_a_fresh_flip_against_the_trade_counts_against_it(held):
    sign = held.side.sign
    for flip, age, counts in ((-sign, 0, True), (-sign, 18, True), (-sign, 19, False), (sign, 0, False), (0, 0, False)):
        view = replace(market(NOW), vwap=VwapReading(1.1, flip, age, 0))
        assert signals.adverse_flip(view, sign, P) is counts
    seen = look(trade(held), held)
    later = NOW + 300
    asked = [
        evaluation_reason(seen, scene(held, 1.1, now=later), market(later, vwap=flip), P) for flip in (sign, -sign)
    ]
    assert asked == [None, "vwap_flipped"]


@pytest.mark.parametrize("state", [H, L1, L2])
def test_d24_both_sides_move_alike_when_flip_and_volume_are_against_them(state):
    ends = []
    for held in BOTH:
        down = -held.side.sign
        assert signals.adverse_flip(market(NOW, vwap=down), held.side.sign, P)
        assert signals.adverse_volume(market(NOW, vwap=down), held.side.sign)
        of = trade(held, state=state, episode=2)
        for n in range(3):
            now = NOW + 900 * n
            of = look(of, held, now=now, view=market(now, vwap=down, structure=down))
        ends.append((of.state, of.confirmations, [(o.kind, o.status) for o in of.obligations]))
    assert ends[0] == ends[1]


def test_d25_a_direction_is_one_of_two_and_what_the_terminal_shows():
    assert [(side.value, side.sign) for side in Side] == [("BUY", 1), ("SELL", -1)]
    for word in ("buy", "LONG", "0", ""):
        with pytest.raises(ValueError, match="is not a valid Side"):
            Side(word)
    claimed = trade(BUY, state=TradeState.PENDING, verified_at=None)
    seen = reconcile.verified(claimed, SELL, (5, "Demo"), NOW)
    assert (seen.trade.side, seen.trade.sign) == (Side.SELL, -1)
    assert "claim_contradicted" in {event.body.get("code") for event in seen.events}


# What is sent.


def test_d26_r_is_the_first_stop_kept_and_never_nothing():
    pending = trade(BUY, state=TradeState.PENDING, verified_at=None, initial_stop_loss=None)
    first = reconcile.verified(pending, position(stop_loss=1.095), (5, "Demo"), T0).trade
    assert first.initial_stop_loss == 1.095
    moved = reconcile.present(first, position(stop_loss=1.0999), NOW, 0.00001).trade
    seen = look(moved, position(stop_loss=1.0999))
    assert (seen.stop_loss, seen.initial_stop_loss) == (1.0999, 1.095)
    assert seen.risk == pytest.approx(0.005)
    late = look(trade(position(stop_loss=1.1)), position(stop_loss=1.1))  # registered with its stop at the entry
    assert late.risk == pytest.approx(0.0015)  # 1.5 ATR
    assert r_now(late, scene(BUY, 1.0985).tick) == pytest.approx(-1.0)


@pytest.mark.parametrize("kind", [K.TIGHTEN_STOP, K.BREAKEVEN])
@pytest.mark.parametrize("side", Side)
def test_d27_a_tighter_stop_is_left_where_it_is(kind, side):
    price = 1.1 + side.sign * 0.01
    trailed = position(side=side, stop_loss=price - side.sign * 0.0008)
    loose = replace(trailed, stop_loss=price - side.sign * 0.02)
    of = trade(trailed, risk=0.005, initial_stop_loss=1.1 - side.sign * 0.005)
    assert isinstance(planned(kind, of, trailed, price), Satisfied)
    assert side.sign * (new_stop(planned(kind, of, loose, price)) - loose.stop_loss) > 0


def test_d28_breakeven_under_water_waits_and_a_tighter_stop_takes_its_place():
    of = trade(BUY, risk=0.005, state=L2, episode=2, obligations=(owed(K.BREAKEVEN, episode=2),))
    answer = plan(of, of.obligations[0], scene(BUY, 1.0990), 1, P)
    assert answer == Instead("breakeven_out_of_reach", hard=False, keep=True, flag="be_pending")
    waits = shelve(of, of.obligations[0], answer, NOW, Mode.PROTECT, P).trade
    assert (due(waits), waits.flags) == ([K.BREAKEVEN, K.TIGHTEN_STOP], {"be_pending"})
    # Entry and spread, once the price is out of the noise around it.
    assert new_stop(plan(waits, waits.obligations[0], scene(BUY, 1.1020), 1, P)) == pytest.approx(1.1001)


@pytest.mark.parametrize(
    ("spec", "side", "price", "spread", "stop"),
    [
        # 0.3 of R = 10 from the price that closes the position, on a tick of 0.01, away from the price
        (XAUUSD, Side.BUY, 2034.554, 0.2, 2031.55),
        (XAUUSD, Side.SELL, 2034.554, 0.2, 2037.56),
        # a broker that wants 500 points: 5.00, and a tick
        (replace(XAUUSD, stops_level=500), Side.BUY, 2034.55, 0.2, 2029.54),
        # a spread of 4: half an ATR and the spread, so that the ask cannot touch it at once
        (XAUUSD, Side.SELL, 2034.55, 4.0, 2039.55),
        (GRID, Side.BUY, 2034.55, 0.0625, 2031.5),
    ],
)
def test_d29_a_stop_is_measured_from_the_closing_price_and_legal(spec, side, price, spread, stop):
    held = position(spec=spec, side=side, price_open=2034.0)
    view = market(NOW, atr=2.0, median_spread=spread)
    answer = planned(K.TIGHTEN_STOP, trade(held, risk=10.0), held, price, spec=spec, spread=spread, view=view)
    assert new_stop(answer) == stop


@pytest.mark.parametrize("target", [None, 1.13])
@pytest.mark.parametrize("kind", [K.TIGHTEN_STOP, K.BREAKEVEN])
def test_d30_a_stop_is_sent_with_the_take_profit_that_is_there(kind, target):
    held = position(take_profit=target, stop_loss=1.09)
    answer = planned(kind, trade(held, risk=0.005), held, 1.11)
    assert isinstance(answer, Send)
    assert isinstance(answer.order, ModifyStops)
    assert answer.order.take_profit == target


@pytest.mark.parametrize(
    ("spec", "volume", "part"),
    [
        (EURUSD, 0.01, None),
        (EURUSD, 0.02, 0.01),
        (EURUSD, 0.03, 0.01),
        (EURUSD, 0.07, 0.03),
        (replace(EURUSD, volume_min=0.1), 0.15, None),
        (XAUUSD, 0.5, 0.2),
        (USDJPY, 3.0, 1.0),
    ],
)
def test_d31_half_a_volume_is_rounded_down_and_never_the_whole(spec, volume, part):
    held = position(spec=spec, volume=volume)
    answer = planned(K.PARTIAL_CLOSE, trade(held, risk=0.005), held, 1.1, spec=spec)
    if part is None:
        assert answer == Instead("too_small_for_a_partial_close", hard=True)
        return
    assert isinstance(answer, Send)
    assert isinstance(answer.order, ClosePosition)
    assert answer.order.volume == part


@pytest.mark.parametrize(("spec", "price", "atr", "stop"), [(XAUUSD, 2034.0, 4.0, 2031.8), (USDJPY, 150.0, 0.2, 149.8)])
def test_d32_distances_are_the_symbols_own_atr_or_nothing_is_sent(spec, price, atr, stop):
    held = position(spec=spec, price_open=price)
    spread = 20 * spec.point if spec is XAUUSD else 100 * spec.point
    of = trade(held, risk=spec.point)  # an R of one point: only the noise floor keeps the stop away
    view = market(NOW, atr=atr, median_spread=spread)
    given = {"spec": spec, "spread": spread}
    assert new_stop(planned(K.TIGHTEN_STOP, of, held, price, view=view, **given)) == pytest.approx(stop)
    unknown = replace(view, atr=Missing("ATR14 needs 100 closed bars"))
    assert planned(K.TIGHTEN_STOP, of, held, price, view=unknown, **given) == Wait("no_atr")
    assert planned(K.BREAKEVEN, of, held, price, view=unknown, **given) == Wait("no_atr")


def test_d34_a_score_that_swings_closes_one_part():
    held, of, closed = position(stop_loss=1.05), trade(position(stop_loss=1.05)), []
    states = set()
    for n in range(96):  # eight hours of M5 bars, an hour for the trade and an hour against it in turn
        now = NOW + 300 * n
        way = 1 if n // 12 % 2 else -1
        of = look(of, held, now=now, view=market(now, structure=way, momentum=way))
        states.add(of.state)
        for obligation in [o for o in of.obligations if o.status is ObligationStatus.DUE]:
            answer = plan(of, obligation, scene(held, 1.1, now=now), 7, P)
            if isinstance(answer, Send) and isinstance(answer.order, ClosePosition):
                closed.append(answer.order.volume)
                of, _, intent = effects.sent(of, obligation, answer.order, answer.target, now)
                done = Done(Fill(10009, 1, 2, answer.order.volume, 1.1, "done", 1.0))
                of = effects.settled(of, effects.replied(intent, done, now), answer.order.volume, now, P)
                held = replace(held, volume=of.volume)
            elif not isinstance(answer, Send | Wait):
                of = shelve(of, obligation, answer, now, Mode.PROTECT, P).trade
    assert states == {H, L1, L2}
    assert (closed, of.volume, of.closed_by_us, of.partials) == ([0.5], 0.5, 0.5, 1)


def test_d36_a_refused_close_closed_nothing():
    of = trade(BUY, obligations=(owed(K.PARTIAL_CLOSE),))
    order = ClosePosition(1001, "EURUSD", Side.BUY, 0.5, 7, "DTPrt")
    of, _, intent = effects.sent(of, of.obligations[0], order, 0.5, NOW)
    outcome = Refused("refused", "no", 10006)
    told = effects.replied(intent, outcome, NOW)
    after = effects.settled(of, told, None, NOW, P)
    assert (after.volume, after.closed_by_us, after.partials) == (1.0, 0.0, 0)
    assert due(after) == [K.PARTIAL_CLOSE]
    body = effects.action_event(after, told, outcome, NOW).body
    assert (body["success"], body["outcome"], body["retcode"]) == (False, "refused", 10006)


def test_d38_no_transition_adds_to_a_position():
    recovered = [row for row in TABLE if row.rule == "recovered"]
    assert [(row.next, row.owes) for row in recovered] == [(H, ())]
    reduces = {K.TIGHTEN_STOP, K.BREAKEVEN, K.PARTIAL_CLOSE, K.HEDGE, K.CLOSE_HEDGE, K.CLOSE_ALL}
    assert {kind for row in TABLE for kind in row.owes} <= reduces


@pytest.mark.parametrize("kind", list(K))
def test_d52_what_is_given_up_is_alerted(kind):
    of = trade(BUY, risk=0.005, obligations=(owed(kind),))
    for answer in (Refuse("a reason"), Instead("a reason", hard=True)):
        events = shelve(of, of.obligations[0], answer, NOW, Mode.PROTECT, P).events
        assert [e.body["code"] for e in events if e.kind == "alert"] == ["obligation_refused"]
        assert "a reason" in next(e.body["detail"] for e in events if e.kind == "alert")
