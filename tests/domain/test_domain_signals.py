from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtms_service.domain import signals
from dtms_service.domain.parameters import Parameters
from dtms_service.domain.values import Side
from dtms_service.domain.view import (
    CandleReading,
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

P = Parameters()
ABSENT = Missing("for a test")
NEVER = Missing("no order-flow provider", configured=False)


def broke(trend: int, age: int = 0) -> StructureReading:
    return StructureReading(trend, age, "BOS", 1000.0, None, None)


BULLISH = MarketView(
    symbol="EURUSD",
    m15_time=900.0,
    m5_time=1500.0,
    m5_close=1.1,
    m5_closed_at=(1800.0,),
    atr=0.001,
    volatility=Volatility.NORMAL,
    structure_regime=Structure.TREND,
    regime_known=True,
    session=Session.LONDON,
    median_spread=0.0001,
    structure=broke(1),
    vwap=VwapReading(1.09, 1, 0, 1),
    momentum=MomentumReading(80.0, 70.0, (0.1, 0.2, 0.3)),
    ema=EmaReading(0.6, 0.2, 0.01),
    delta=NEVER,
    candle=CandleReading(1, crosses_vwap=True),
)
"""Everything points up as far as it can, in an ordinary market: every multiplier is 1."""


def s_of(view: MarketView, side: Side = Side.BUY) -> float | None:
    return signals.score(view, side, P).value


def test_when_everything_points_one_way_the_score_is_the_whole_scale():
    assert s_of(BULLISH, Side.BUY) == pytest.approx(10.5)
    assert s_of(BULLISH, Side.SELL) == pytest.approx(-10.5)


@pytest.mark.parametrize(
    ("trend", "age", "expected"), [(1, 0, 1.0), (1, 2, 0.75), (-1, 4, -0.5), (1, 8, 0.0), (-1, 90, 0.0), (0, 0, 0.0)]
)
def test_a_break_fades_to_nothing_in_eight_bars(trend, age, expected):
    assert signals.structure_value(broke(trend, age), P) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("flip", "age", "volume", "expected"),
    [
        (1, 0, 1, 1.0),
        (1, 0, 0, 0.75),
        (1, 9, 0, 0.375),
        (1, 18, 0, 0.0),
        (1, 40, 1, 0.25),
        (-1, 0, 1, -0.5),
        (0, 0, -1, -0.25),
    ],
)
def test_a_vwap_flip_is_three_quarters_and_fades_the_volume_is_one_quarter(flip, age, volume, expected):
    assert signals.vwap_volume_value(VwapReading(1.0, flip, age, volume), P) == pytest.approx(expected)


FLAT = (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("rsi", "before", "histogram", "low", "expected"),
    [
        (50.0, 50.0, FLAT, False, 0.0),
        (55.0, 50.0, FLAT, False, 0.0),
        (65.0, 60.0, FLAT, False, 1 / 3),  # half way from 55 to 75
        (65.0, 66.0, FLAT, False, 1 / 6),  # halved: it moves back
        (35.0, 40.0, FLAT, False, -1 / 3),
        (90.0, 80.0, FLAT, False, 2 / 3),  # full from 75 on; overbought is not evidence against a BUY
        (60.0, 55.0, FLAT, True, 0.0),  # a calm market needs 60
        (67.5, 55.0, FLAT, True, 1 / 3),
        (50.0, 50.0, (1.0, 2.0, 3.0), False, 1 / 3),
        (50.0, 50.0, (-3.0, -2.0, -1.0), False, 0.0),  # rising, but below zero
        (50.0, 50.0, (3.0, 1.0, 2.0), False, 0.0),  # not two moves in one direction
        (50.0, 50.0, (-1.0, -2.0, -3.0), False, -1 / 3),
        (75.0, 70.0, (1.0, 2.0, 3.0), False, 1.0),
    ],
)
def test_momentum_is_two_parts_rsi_and_one_part_histogram(rsi, before, histogram, low, expected):
    volatility = Volatility.LOW if low else Volatility.NORMAL
    reading = MomentumReading(rsi, before, histogram)
    assert signals.momentum_value(reading, volatility, P) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("slope_50", "slope_200", "gap", "expected"),
    [
        (0.6, 0.2, 1.0, 1.0),
        (0.49, 0.2, 1.0, 0.5),
        (0.6, 0.14, 1.0, 0.75),
        (-0.6, 0.2, 1.0, 0.0),
        (-0.6, -0.2, -1.0, -1.0),
        (0.0, 0.0, 0.0, 0.0),
    ],
)
def test_emas_count_by_slope_and_order_outside_their_dead_zones(slope_50, slope_200, gap, expected):
    assert signals.ema_value(EmaReading(slope_50, slope_200, gap), P) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("sign", "crosses", "expected"),
    [(1, True, 1.0), (1, False, 0.5), (-1, True, -1.0), (-1, False, -0.5), (0, False, 0.0)],
)
def test_a_strong_candle_through_vwap_counts_whole_else_half(sign, crosses, expected):
    assert signals.candle_value(CandleReading(sign, crosses)) == expected


def test_a_weight_that_is_not_configured_is_spread_over_the_others():
    """engine.md B5: thresholds keep one meaning on every symbol. Without delta and VWAP 3 + 2 + 1.5 + 1 are left."""
    view = replace(BULLISH, vwap=Missing("the feed has no volume", configured=False), momentum=ABSENT, ema=ABSENT)
    score = signals.score(view, Side.BUY, P)
    assert score.value == pytest.approx(10.5 / 7.5 * (3 + 1))
    assert score.coverage == pytest.approx(4 / 7.5)


def test_what_is_absent_for_now_is_not_made_up_for_by_the_rest():
    view = replace(BULLISH, ema=ABSENT)
    assert s_of(view) == pytest.approx(10.5 / 9.5 * 8.0)


def test_without_any_reading_there_is_no_score_and_not_a_zero():
    blind = replace(BULLISH, structure=ABSENT, vwap=ABSENT, momentum=ABSENT, ema=ABSENT, candle=ABSENT)
    score = signals.score(blind, Side.BUY, P)
    assert (score.value, score.coverage) == (None, 0.0)
    assert not score.may_escalate
    assert not score.may_relax
    never = Missing("never", configured=False)
    score = signals.score(
        replace(BULLISH, structure=never, vwap=never, momentum=never, ema=never, candle=never), Side.BUY, P
    )
    assert (score.value, score.coverage, score.may_escalate, score.may_relax) == (None, 0.0, False, False)


@pytest.mark.parametrize(
    ("absent", "may_escalate", "may_relax"),
    [
        ((), True, True),
        (("ema",), True, True),  # 8 / 9.5
        (("ema", "candle"), True, False),  # 7 / 9.5
        (("structure",), True, False),
        (("vwap",), True, False),
        (("momentum",), True, False),
        (("structure", "candle"), False, False),  # 5.5 / 9.5
        (("vwap", "momentum"), False, False),
    ],
)
def test_coverage_decides_what_the_score_may_cause(absent, may_escalate, may_relax):
    score = signals.score(replace(BULLISH, **dict.fromkeys(absent, ABSENT)), Side.BUY, P)
    assert (score.may_escalate, score.may_relax) == (may_escalate, may_relax)


def test_a_symbol_without_volume_may_relax_on_structure_and_momentum():
    view = replace(BULLISH, vwap=Missing("the feed has no volume", configured=False))
    assert signals.score(view, Side.BUY, P).may_relax
    assert not signals.score(replace(view, momentum=ABSENT), Side.BUY, P).may_relax


def test_coverage_alone_never_relaxes_without_the_three_main_readings():
    light = replace(P, weight_momentum=0.5)
    score = signals.score(replace(BULLISH, momentum=ABSENT), Side.BUY, light)
    assert score.coverage > light.min_coverage_relax
    assert not score.may_relax


def test_the_market_changes_how_much_a_component_counts():
    view = replace(BULLISH, structure_regime=Structure.RANGE, volatility=Volatility.HIGH, session=Session.OFF)
    by_name = {c.name: c for c in signals.score(view, Side.SELL, P).components}
    assert by_name["structure"].multiplier == pytest.approx(0.7 * 1.2 * 0.8)
    assert by_name["structure"].points == pytest.approx(-10.5 / 9.5 * 3 * 0.7 * 1.2 * 0.8)


def test_every_component_explains_itself_and_the_points_add_up():
    score = signals.score(replace(BULLISH, ema=ABSENT), Side.SELL, P)
    by_name = {c.name: c for c in score.components}
    assert list(by_name) == ["structure", "vwap_volume", "momentum", "ema", "delta", "candle"]
    ema, delta, candle = by_name["ema"], by_name["delta"], by_name["candle"]
    assert (ema.available, ema.configured, ema.value, ema.points, ema.reason) == (False, True, None, 0.0, "for a test")
    assert (delta.available, delta.configured, delta.reason) == (False, False, "no order-flow provider")
    assert (candle.available, candle.value, candle.reason) == (True, 1.0, None)
    assert math.fsum(c.points for c in score.components) == pytest.approx(score.value)


SIGNS = st.sampled_from([-1, 0, 1])
NUMBERS = st.floats(-3, 3)


@st.composite
def views(draw: st.DrawFn) -> MarketView:
    readings = {
        "structure": broke(draw(SIGNS), draw(st.integers(0, 20))),
        "vwap": VwapReading(1.0, draw(SIGNS), draw(st.integers(0, 40)), draw(SIGNS)),
        "momentum": MomentumReading(
            draw(st.floats(0, 100)), draw(st.floats(0, 100)), (draw(NUMBERS), draw(NUMBERS), draw(NUMBERS))
        ),
        "ema": EmaReading(draw(NUMBERS), draw(NUMBERS), draw(NUMBERS)),
        "candle": CandleReading(draw(SIGNS), draw(st.booleans())),
    }
    for name in draw(st.sets(st.sampled_from(sorted(readings)))):
        readings[name] = Missing("drawn", configured=draw(st.booleans()))
    return replace(
        BULLISH,
        **readings,
        volatility=draw(st.sampled_from(Volatility)),
        structure_regime=draw(st.sampled_from(Structure)),
        session=draw(st.sampled_from(Session)),
    )


@given(views())
def test_a_sell_has_exactly_the_opposite_score_of_a_buy(view):
    buy, sell = signals.score(view, Side.BUY, P), signals.score(view, Side.SELL, P)
    assert (buy.value is None) == (sell.value is None)
    assert buy.value is None or buy.value == -sell.value
    assert (buy.coverage, buy.may_escalate, buy.may_relax) == (sell.coverage, sell.may_escalate, sell.may_relax)


@given(views())
def test_no_component_is_beyond_one_and_no_score_beyond_the_scale(view):
    score = signals.score(view, Side.BUY, P)
    assert all(c.value is None or -1 <= c.value <= 1 for c in score.components)
    assert 0 <= score.coverage <= 1
    assert score.value is None or abs(score.value) <= 10.5 * 1.8


@given(views())
def test_removing_a_reading_never_raises_the_coverage_nor_allows_more(view):
    before = signals.score(view, Side.BUY, P)
    for name in ("structure", "vwap", "momentum", "ema", "candle"):
        if isinstance(getattr(view, name), Missing):
            continue
        after = signals.score(replace(view, **{name: ABSENT}), Side.BUY, P)
        assert after.coverage < before.coverage
        assert after.may_escalate <= before.may_escalate
        assert after.may_relax <= before.may_relax


@pytest.mark.parametrize(
    ("flip", "age", "sign", "adverse"),
    [(1, 0, -1, True), (1, 18, -1, True), (1, 19, -1, False), (1, 0, 1, False), (-1, 3, 1, True), (0, 0, 1, False)],
)
def test_a_flip_is_adverse_while_it_is_young_and_against_the_trade(flip, age, sign, adverse):
    view = replace(BULLISH, vwap=VwapReading(1.0, flip, age, 0))
    assert signals.adverse_flip(view, sign, P) is adverse


@pytest.mark.parametrize(("volume", "sign", "adverse"), [(1, -1, True), (-1, 1, True), (1, 1, False), (0, 1, False)])
def test_volume_is_adverse_when_it_is_against_the_trade(volume, sign, adverse):
    view = replace(BULLISH, vwap=VwapReading(1.0, 0, 0, volume))
    assert signals.adverse_volume(view, sign) is adverse


def test_without_a_vwap_nothing_is_adverse():
    view = replace(BULLISH, vwap=ABSENT)
    assert not any(signals.adverse_flip(view, sign, P) or signals.adverse_volume(view, sign) for sign in (-1, 1))
