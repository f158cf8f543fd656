"""Mistakes of earlier readings of a market that ours could repeat: one test each, numbered as in defects.md."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np
import pytest
from market_series import MIRROR, at, golden, picked, spec, walk, windows

from dtms_service.domain import regime
from dtms_service.domain.parameters import Parameters
from dtms_service.domain.reconcile import same_symbol
from dtms_service.domain.values import Timeframe
from dtms_service.domain.view import MarketView, Session, Structure, VwapReading
from dtms_service.market import indicators, sessions, structure, view, vwap
from dtms_service.market.bars import Bars
from dtms_service.market.window import Window

P = Parameters()


def built(m5: Bars, symbol: str = "EURUSD") -> MarketView:
    seen = view.build(spec(symbol), *windows(m5), P)
    assert isinstance(seen, MarketView)
    return seen


def zigzag(price: float, atr: float, last: float) -> Bars:
    """M15 bars up and down by two ATRs around ``price``, every true range one ATR; the last close is ``last`` away.

    Its swing highs lie half an ATR above the top of the closes.
    """
    turns = np.array([0, 0.5, 1, 1.5, 2, 1.5, 1, 0.5] * 16 + [0, 0.5, 1, 1.5, 2, 1.5, 1, 0.5])
    close = price + atr * np.append(turns, last)
    high, low = close + atr / 2, close - atr / 2
    high[-1], low[-1] = close[-1], close[-1] - atr
    n = len(close)
    times = at("2024-01-01T00:00") + 900 * np.arange(n, dtype=np.int64)
    return Bars(times, close, high, low, close, np.full(n, 100.0), np.full(n, 3, np.int64))


def breaks_of_last(bars: Bars, atr: float) -> list[tuple[int, str]]:
    found = structure.find(bars, np.full(len(bars), atr), P.swing_k, P.break_beta_atr)
    return [(b.direction, b.kind) for b in found.breaks if b.index == len(bars) - 1]


@pytest.fixture(params=["UTC", "America/Los_Angeles", "Asia/Tokyo"])
def machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> object:
    """A computer whose own clock is set to another zone."""
    set_zone: Callable[[], None] = getattr(time, "tzset", lambda: None)
    monkeypatch.setenv("TZ", request.param)
    set_zone()
    yield
    monkeypatch.undo()
    set_zone()


# Structure.


def test_d09_a_break_happens_although_a_bar_closes_below_its_own_high():
    assert breaks_of_last(zigzag(100.0, 1.0, 3.0), 1.0) == [(1, "BOS")]
    assert breaks_of_last(zigzag(100.0, 1.0, -1.0), 1.0) == [(-1, "BOS")]
    found = structure.find(golden(), np.full(1000, 1.1), P.swing_k, P.break_beta_atr)
    assert {b.kind for b in found.breaks} == {"BOS", "CHOCH"}


@pytest.mark.parametrize(("price", "atr"), [(1.1, 0.0005), (150.0, 0.05), (2000.0, 2.8)])
def test_d10_a_tenth_of_an_atr_beyond_a_swing_is_a_break_at_any_price(price, atr):
    # The swing is 2.5 ATR above the base. A quarter of a percent would be 5.5, 7.5 and 1.8 of these ATRs.
    assert breaks_of_last(zigzag(price, atr, 2.65), atr) == [(1, "BOS")]
    assert breaks_of_last(zigzag(price, atr, 2.55), atr) == []


# Names and units.


@pytest.mark.parametrize(
    ("plain", "others"), [("EURUSD", ("EURUSDc", "EURUSD.raw", "EURUSDm")), ("BTCUSD", ("BTCUSDT", "BTCUSDc"))]
)
def test_d15_a_brokers_suffix_changes_no_reading(plain, others):
    bars = walk(3)
    expected = built(bars, plain)
    assert isinstance(expected.vwap, VwapReading)
    for name in others:
        assert same_symbol(plain, name)
        assert replace(built(bars, name), symbol=plain) == expected


def test_d15_the_distance_that_flips_is_a_share_of_the_symbols_own_atr():
    bars = walk(3)
    prices = (MIRROR + 2 * (prices - MIRROR) for prices in (bars.open, bars.high, bars.low, bars.close))
    livelier = Bars(bars.time, *prices, bars.tick_volume, bars.spread)  # the same price, every move twice as wide
    before, after = (view.read_m15("EURUSD", windows(b)[0], P) for b in (bars, livelier))
    assert isinstance(before, view.M15Readings)
    assert isinstance(after, view.M15Readings)
    assert np.array_equal(2 * before.theta, after.theta)


# Bars.


@pytest.mark.parametrize("timeframe", [Timeframe.M5, Timeframe.M15])
def test_d16_a_bar_is_read_when_it_has_closed_and_as_it_closed(timeframe):
    step = timeframe.seconds
    bars = golden(seconds=step)
    cut = picked(bars, slice(0, 500))
    forming = replace(cut, high=cut.high.copy(), close=cut.close.copy(), tick_volume=cut.tick_volume.copy())
    forming.high[-1], forming.close[-1], forming.tick_volume[-1] = forming.open[-1], forming.open[-1] - 0.01, 1.0
    opening = float(cut.time[-1])
    early = Window.empty(timeframe).updated(forming, opening + step / 2).window
    assert len(early.bars) == 499
    late = early.updated(picked(bars, slice(490, 501)), opening + step).window
    assert float(late.bars.time[-1]) == opening
    for column in fields(Bars):
        assert np.array_equal(getattr(late.bars, column.name), getattr(cut, column.name)), column.name


def test_d17_bars_read_again_are_not_counted_again():
    bars = walk(5, 700)
    once = Window.empty(Timeframe.M5).updated(bars, float(bars.time[-1]) + 300).window
    often = Window.empty(Timeframe.M5)
    for end in range(620, 701):
        often = often.updated(picked(bars, slice(max(0, end - 610), end)), float(bars.time[end - 1]) + 300).window
    lines = [vwap.session_line("EURUSD", window.bars, P.vwap_valid_bars, whole=True) for window in (once, often)]
    start = int(np.searchsorted(once.bars.time, sessions.anchor("EURUSD", int(bars.time[-1]))))
    session = picked(once.bars, slice(start, None))
    typical = (session.high + session.low + session.close) / 3
    by_hand = float((typical * session.tick_volume).sum() / session.tick_volume.sum())
    assert [float(line.values[-1]) for line in lines] == pytest.approx([by_hand, by_hand])


def test_d18_the_day_of_vwap_begins_at_the_exchange_and_not_at_a_midnight(machine):
    for summer, opening in ((False, "2024-01-16T22:00"), (True, "2024-07-16T21:00")):
        day = "2024-07-1" if summer else "2024-01-1"
        times = range(at(opening), at(f"{day}7T20:55"), 300)
        assert {sessions.anchor("EURUSD", t) for t in times} == {at(opening)}
        assert sessions.anchor("EURUSD", at(opening) - 300) == at(opening) - 86_400


# The regime and its hours.


def test_d19_a_price_that_only_moves_flips_nothing_and_one_that_stands_beyond_does():
    line, theta = np.full(30, 100.0), np.full(30, 1.0)
    rises = np.linspace(99.1, 100.9, 30)  # all the way up, never a whole theta from VWAP
    stands = np.full(30, 101.5)  # does not move at all
    assert vwap.flip(rises, line, theta, 9) == (0, 0)
    assert vwap.flip(stands, line, theta, 9) == (1, 20)


def test_d45_rsi_is_wilders():
    bars = golden()
    seen = indicators.rsi(bars.close)
    assert seen[199] == pytest.approx(56.450914086, abs=5e-10)  # TA-Lib, quoted in the specification
    change = np.diff(bars.close)[185:199]
    simple = 100 * change[change > 0].sum() / np.abs(change).sum()
    assert abs(seen[199] - simple) > 5


@pytest.mark.parametrize("price", [1.1, 150.0, 2000.0])
def test_d46_a_range_is_narrow_against_its_atr_not_against_its_price(price):
    for atr in (0.0001 * price, 0.01 * price):
        assert regime.structure(0.74 * atr, atr, P) is Structure.RANGE  # 2.96 ATR wide
        assert regime.structure(0.76 * atr, atr, P) is Structure.TREND  # 3.04


@pytest.mark.parametrize(
    ("time", "hours"),
    [
        ("2024-01-16T07:55", Session.ASIAN),
        ("2024-01-16T08:00", Session.LONDON),
        ("2024-07-16T06:55", Session.ASIAN),
        ("2024-07-16T07:00", Session.LONDON),
        ("2024-01-16T15:55", Session.OVERLAP),
        ("2024-01-16T16:00", Session.NEW_YORK),
        ("2024-07-16T14:55", Session.OVERLAP),
        ("2024-07-16T15:00", Session.NEW_YORK),
        ("2024-07-16T20:00", Session.OFF),
    ],
)
def test_d47_sessions_follow_the_bars_time_summer_time_and_half_open_hours(machine, time, hours):
    assert sessions.session(at(time)) is hours


def test_d48_a_calm_market_needs_a_larger_share_of_the_volume():
    base = picked(walk(1, 6), slice(0, 6))
    close = base.open + np.array([1.0, 1.0, 1.0, 1.0, -1.0, -1.0])
    volume = np.array([17.0, 17.0, 17.0, 17.0, 16.0, 16.0])  # 68 % rising
    bars = replace(base, close=close, tick_volume=volume)
    assert vwap.volume_flip(bars, P, low=False) == 1
    assert vwap.volume_flip(bars, P, low=True) == 0
    assert vwap.volume_flip(bars, replace(P, volume_share_low=0.66), low=True) == 1
    assert vwap.volume_flip(bars, replace(P, volume_share=0.7), low=False) == 0
