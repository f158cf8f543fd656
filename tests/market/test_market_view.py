from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from market_series import at, mirrored, picked, real_m5, spec, walk, windows

from dtms_service.domain import signals
from dtms_service.domain.parameters import Parameters
from dtms_service.domain.values import Side, Timeframe
from dtms_service.domain.view import MarketView, Missing, Session, StructureReading, VwapReading
from dtms_service.market import view
from dtms_service.market.bars import Bars, aggregate
from dtms_service.market.window import Window

PARAMETERS = Parameters()
EURUSD = spec()
REAL = [
    "EURUSD_M1_201405_oanda_bidask.csv.gz",
    "XAUUSD_M1_201405_oanda_bidask.csv.gz",
    "BTCUSD_M1_202201_ftx_perp.csv.gz",
    "EURUSD_M1_202208_202210_mt4_gappy.csv.gz",
]


def built(m5: Bars, now: float | None = None, symbol: str = "EURUSD") -> MarketView:
    found = view.build(spec(symbol), *windows(m5, now), PARAMETERS)
    assert isinstance(found, MarketView)
    return found


def s_of(found: MarketView, side: Side = Side.BUY) -> float:
    value = signals.score(found, side, PARAMETERS).value
    assert value is not None
    return value


def missing(reading: object) -> Missing:
    assert isinstance(reading, Missing)
    return reading


def test_a_full_view_has_every_reading_but_order_flow():
    found = built(walk(11))
    assert [
        name
        for name in ("structure", "vwap", "momentum", "ema", "candle", "atr")
        if isinstance(getattr(found, name), Missing)
    ] == []
    assert found.delta == Missing("no order-flow provider", configured=False)
    assert found.regime_known
    assert len(found.m5_closed_at) == 600
    assert found.m5_closed_at[-1] == found.m5_time + 300
    assert found.m5_time - found.m15_time == 600


def test_without_a_closed_bar_there_is_no_view():
    m15, m5 = windows(walk(1, 200))
    assert missing(view.build(EURUSD, Window.empty(Timeframe.M15), m5, PARAMETERS)).reason == "no closed M15 bar"
    assert missing(view.build(EURUSD, m15, Window.empty(Timeframe.M5), PARAMETERS)).reason == "no closed M5 bar"


@pytest.mark.parametrize(
    ("m15_bars", "absent"),
    [
        (99, {"atr", "structure", "momentum", "ema"}),
        (100, {"momentum", "ema"}),
        (119, {"momentum", "ema"}),
        (120, {"ema"}),
        (649, {"ema"}),
        (650, set()),
    ],
)
def test_readings_appear_when_their_indicators_are_warm(m15_bars, absent):
    found = built(walk(12, 3 * m15_bars))
    names = ("atr", "structure", "momentum", "ema")
    assert {name for name in names if isinstance(getattr(found, name), Missing)} == absent
    for name in absent:
        reading = missing(getattr(found, name))
        assert reading.configured
        assert f"has {m15_bars}" in reading.reason


def test_the_regime_is_ordinary_and_marked_unknown_until_a_day_of_atr_is_there():
    young = built(walk(12, 3 * 109))
    assert not young.regime_known
    assert (young.volatility, young.structure_regime) == ("NORMAL", "TREND")
    assert built(walk(12, 3 * 110)).regime_known, "ATR14 begins with the 15th bar, and 96 of them are averaged"


def test_the_candle_waits_for_the_atr_of_m5():
    assert "has 99" in missing(built(walk(12, 99)).candle).reason
    assert not isinstance(built(walk(12, 102)).candle, Missing)


def test_prices_that_never_move_give_no_atr_and_no_division_by_it():
    bars = walk(3)
    flat = np.full(len(bars), 1.1)
    found = built(replace(bars, open=flat, high=flat, low=flat, close=flat))
    assert missing(found.atr).reason == "prices do not move"
    assert isinstance(found.structure, Missing)
    assert isinstance(found.ema, Missing)
    assert not found.regime_known
    assert s_of(found) == 0.0


def test_a_market_that_stopped_moving_long_ago_has_no_atr_either():
    bars = walk(3)
    still = np.arange(len(bars)) >= 1200  # 600 M15 bars: Wilder's mean is then far below any tick, but not 0
    last = bars.close[1199]
    found = built(
        replace(bars, **{c: np.where(still, last, getattr(bars, c)) for c in ("open", "high", "low", "close")})
    )
    assert missing(found.atr).reason == "prices do not move"
    reading = found.vwap
    assert isinstance(reading, VwapReading)
    assert reading.flip == 0


def test_a_vwap_threshold_needs_a_warm_atr():
    readings = view.read_m15("EURUSD", windows(walk(12, 303))[0], PARAMETERS)
    assert isinstance(readings, view.M15Readings)
    assert np.isnan(readings.theta).tolist() == [True] * 98 + [False] * 2
    assert readings.closed_at[-1] == readings.time + 900


def test_an_m5_close_is_judged_by_the_newest_m15_bar_that_had_closed_by_then():
    """The session opens at 22:00; from the M5 bar that closes at 23:45 on prices are far from VWAP."""
    start = at("2024-01-09T21:00")
    bars = walk(17, 3 * 12 + 3, start=start)
    far = bars.time + 300 >= at("2024-01-09T23:45")
    price = np.where(far, 9.0, 8.0)
    bars = replace(bars, open=price, high=price, low=price, close=price, tick_volume=np.where(far, 1e-9, 1.0))
    bars = bars.rows(0, int(np.flatnonzero(far)[0]) + 5)
    base = view.read_m15("EURUSD", windows(bars)[0], PARAMETERS)
    assert isinstance(base, view.M15Readings)

    def age_when_open_from(closed_at: str) -> int:
        """The threshold is out of reach until the M15 bar that closes then."""
        closing = np.array([at("2024-01-09T20:00"), at(closed_at)])
        readings = replace(base, closed_at=closing, theta=np.array([5.0, 0.5]))
        found = view.read_m5(EURUSD, windows(bars)[1], readings, PARAMETERS)
        assert isinstance(found, view.M5Readings)
        assert isinstance(found.vwap, VwapReading)
        return found.vwap.flip_age if found.vwap.flip else -1

    # Closes at 23:45, 23:50, 23:55, 00:00, 00:05; two in a row flip.
    assert age_when_open_from("2024-01-09T23:45") == 3
    assert age_when_open_from("2024-01-09T23:50") == 2
    assert age_when_open_from("2024-01-10T00:00") == 0
    assert age_when_open_from("2024-01-10T00:05") == -1


def candle(*newest: tuple[float, float, float, float]) -> tuple[int, bool]:
    """The candle reading after these bars (open, high, low, close), VWAP near 8.0, ATR14 of M5 near 1.0."""
    bars = walk(18, 600, start=at("2024-01-09T00:00"))
    rows = np.tile(np.array([[8.0, 8.5, 7.5, 8.0]]), (600, 1))
    rows[600 - len(newest) :] = newest
    volume = np.full(600, 1e6)
    volume[600 - len(newest) :] = 1.0
    found = built(
        replace(bars, open=rows[:, 0], high=rows[:, 1], low=rows[:, 2], close=rows[:, 3], tick_volume=volume)
    ).candle
    assert not isinstance(found, Missing)
    return found.sign, found.crosses_vwap


DULL = (8.0, 8.5, 7.5, 8.0)


@pytest.mark.parametrize(
    ("newest", "expected"),
    [
        ([DULL], (0, False)),
        ([(7.6, 8.5, 7.5, 8.4)], (1, True)),
        ([(8.4, 8.5, 7.5, 7.6)], (-1, True)),
        ([(8.1, 9.1, 8.05, 9.0)], (1, False)),
        ([(7.6, 8.5, 7.5, 8.2)], (0, False)),  # body 0.6 of the range
        ([(7.7, 8.35, 7.65, 8.3)], (0, False)),  # range 0.7 ATR
        ([(7.6, 8.5, 7.5, 8.4), DULL, DULL], (1, True)),
        ([(7.6, 8.5, 7.5, 8.4), DULL, DULL, DULL], (0, False)),  # four bars ago
        ([(7.6, 8.5, 7.5, 8.4), (8.4, 8.5, 7.5, 7.6)], (-1, True)),  # the newest counts
    ],
)
def test_a_strong_candle_is_the_newest_of_three_with_a_long_body_and_a_real_range(newest, expected):
    assert candle(*newest) == expected


def test_a_hole_blinds_structure_and_momentum_until_four_new_bars_have_closed():
    bars = walk(13, start=at("2024-01-01T00:00"))
    times = bars.time.copy()
    times[-12:] += 2 * 3600
    holed = replace(bars, time=times)
    for closed, blind in ((3, True), (6, True), (9, True), (12, False)):
        found = built(holed.rows(0, 3000 - 12 + closed))
        assert isinstance(found.structure, Missing) is blind
        assert isinstance(found.momentum, Missing) is blind
        assert not isinstance(found.ema, Missing)
    reading = missing(built(holed.rows(0, 2994)).structure)
    assert reading.configured
    assert reading.reason == "hole in the bars: 2 of 4 new M15 bars closed since"


def test_the_session_and_a_break_are_told_by_bar_time():
    bars = walk(14)
    found = built(bars)
    assert found.session in set(Session)
    reading = found.structure
    assert isinstance(reading, StructureReading)
    assert reading.event_time == found.m15_time + 900 - 900 * reading.age


@pytest.mark.parametrize(
    ("digits", "spreads", "expected"),
    [
        (5, [0, 0, 14, 16, 18], 16e-5),
        (5, [0, 3, 5, 7, 0], 1e-4),  # a pip is ten points here
        (3, [0, 261, 250, 270, 0], 0.261),
        (2, [0, 0, 1, 0, 0], 0.01),
        (5, [0, 0, 0, 0, 0], None),
    ],
)
def test_the_median_spread_is_over_known_values_and_at_least_a_pip(digits, spreads, expected):
    bars = walk(15, 300)
    bars = replace(bars, spread=np.tile(np.array(spreads), 60))
    found = view.build(spec("X", digits), *windows(bars), PARAMETERS)
    assert isinstance(found, MarketView)
    assert found.median_spread == (None if expected is None else pytest.approx(expected))


def test_an_m5_close_needs_only_the_m5_part_again():
    bars = walk(16)
    end = float(bars.time[-3]) + 300  # an M15 bar and its first M5 bar of the next one
    earlier, now = bars.rows(0, 2997), bars.rows(0, 2998)
    kept = view.read_m15("EURUSD", windows(earlier)[0], PARAMETERS)
    assert isinstance(kept, view.M15Readings)
    again = view.read_m5(EURUSD, windows(now, end)[1], kept, PARAMETERS)
    assert isinstance(again, view.M5Readings)
    assert view.combined("EURUSD", kept, again) == built(now, end)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6))
def test_the_mirrored_market_gives_the_mirrored_trade_the_same_score(seed):
    bars = walk(seed)
    here, there = built(bars), built(mirrored(bars))
    assert s_of(there, Side.SELL) == pytest.approx(s_of(here, Side.BUY), abs=1e-6)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.integers(400, 2999))
def test_bars_that_come_later_never_change_the_view(seed, shown):
    bars = walk(seed)
    now = float(bars.time[shown - 1]) + 300
    assert built(bars, now) == built(bars.rows(0, shown), now)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.floats(0.1, 100.0), st.integers(0, 299))
def test_the_forming_bar_never_matters(seed, price, elapsed):
    bars = walk(seed, 1500)
    opening = int(bars.time[-1]) + 300
    forming = Bars(
        np.append(bars.time, opening),
        *(np.append(getattr(bars, c), price) for c in ("open", "high", "low", "close")),
        np.append(bars.tick_volume, 1e6),
        np.append(bars.spread, 999),
    )
    now = float(opening + elapsed)
    assert built(forming, now) == built(bars, now)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6))
def test_order_and_duplicates_of_bars_do_not_matter(seed):
    bars = walk(seed, 1500)
    m15 = aggregate(bars, 900)
    end = float(bars.time[-1]) + 300
    draw = np.random.default_rng(seed)

    def shuffled(timeframe: Timeframe, whole: Bars) -> Window:
        window = Window.empty(timeframe)
        for rows in np.array_split(draw.permutation(np.tile(np.arange(len(whole)), 2)), 5):
            window = window.updated(picked(whole, rows), end).window
        return window

    assert view.build(EURUSD, shuffled(Timeframe.M15, m15), shuffled(Timeframe.M5, bars), PARAMETERS) == built(bars)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.integers(1, 60))
def test_a_flip_once_seen_is_seen_with_the_same_age_later(seed, later):
    """The threshold of a bar is the one of its own time, so that no later ATR or session makes or unmakes a flip."""
    bars = walk(seed, start=at("2024-01-01T00:00"))
    early, late = built(bars.rows(0, 3000 - later)).vwap, built(bars).vwap
    if not (isinstance(early, VwapReading) and isinstance(late, VwapReading)):
        return  # the session changed in between
    if late.flip and late.flip_age >= later:
        assert (early.flip, early.flip_age) == (late.flip, late.flip_age - later)


@pytest.mark.market_data
@pytest.mark.parametrize("name", REAL)
def test_on_real_bars_the_score_is_antisymmetric_mirrored_and_blind_to_the_future(name):
    bars = real_m5(name)
    symbol = name.split("_")[0]
    top = 2 * float(bars.close.max())
    other = Bars(
        bars.time, top - bars.open, top - bars.low, top - bars.high, top - bars.close, bars.tick_volume, bars.spread
    )
    seen = 0
    for shown in range(len(bars) - 1500, len(bars), 61):
        now = float(bars.time[shown - 1]) + 300
        found = built(bars, now, symbol)
        assert found == built(bars.rows(0, shown), now, symbol)
        score = signals.score(found, Side.BUY, PARAMETERS)
        assert signals.score(found, Side.SELL, PARAMETERS).value == -score.value
        there = built(other, now, symbol)
        agree = s_of(there, Side.SELL) == pytest.approx(score.value, abs=1e-6)
        seen += agree
    # Decimal prices do not mirror exactly: a swing or a body may fall on the other side of a bound by one rounding.
    assert seen >= 24
