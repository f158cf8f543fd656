from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from market_data import market_file
from market_series import at, golden, picked, walk

from dtms_service.domain.parameters import Parameters
from dtms_service.domain.view import Missing
from dtms_service.market import vwap
from dtms_service.market.bars import Bars

PARAMETERS = Parameters()


def line_of(bars: Bars, symbol: str = "EURUSD", *, whole: bool = True) -> vwap.Line | Missing:
    return vwap.session_line(symbol, bars, PARAMETERS.vwap_valid_bars, whole=whole)


def test_the_golden_vwap_of_bars_900_to_999():
    assert vwap.running(golden(), 900)[-1] == pytest.approx(109.389246301, abs=6e-10)


def test_another_librarys_intraday_vwap_is_the_same():
    with market_file("answers/golden/skender_intraday_vwap.csv").open() as file:
        rows = list(csv.DictReader(file))

    def column(name):
        return np.array([float(row[name]) for row in rows])

    bars = Bars(
        np.arange(len(rows), dtype=np.int64),
        *(column(name) for name in ("open", "high", "low", "close", "volume")),
        np.zeros(len(rows), np.int64),
    )
    assert vwap.running(bars, 0) == pytest.approx(column("vwap_from_first_bar"), abs=1e-9, rel=0)


def session_bars(count: int, before: int = 20) -> Bars:
    """``before`` M5 bars of the old session, then ``count`` of the one that opens at 22:00 UTC in winter."""
    return walk(5, before + count, start=at("2024-01-10T22:00") - 300 * before)


def test_a_session_line_is_valid_from_its_ninth_bar():
    young = line_of(session_bars(8))
    assert isinstance(young, Missing)
    assert young.configured
    assert "has 8" in young.reason
    bars = session_bars(9)
    line = line_of(bars)
    assert isinstance(line, vwap.Line)
    assert line.start == 20
    new = bars.rows(20, 29)
    expected = ((new.high + new.low + new.close) / 3 * new.tick_volume).sum() / new.tick_volume.sum()
    assert line.values[-1] == pytest.approx(expected, rel=1e-12)


def test_a_session_that_began_before_the_bars_we_have_says_nothing():
    bars = session_bars(60, before=0).rows(10, 60)
    assert isinstance(line_of(bars, whole=False), Missing)
    assert isinstance(line_of(bars, whole=True), vwap.Line), (
        "a full window just has no older bar: the market was closed"
    )
    assert isinstance(line_of(session_bars(60, before=0), whole=False), vwap.Line)


def test_a_feed_without_volume_is_not_configured_and_a_session_without_is_only_absent():
    bars = session_bars(30)
    never = line_of(replace(bars, tick_volume=np.zeros(len(bars))))
    assert isinstance(never, Missing)
    assert not never.configured
    volume = bars.tick_volume.copy()
    volume[20:] = 0
    now = line_of(replace(bars, tick_volume=volume))
    assert isinstance(now, Missing)
    assert now.configured


def flipped(distances: list[float], theta: float | list[float] = 1.0) -> tuple[int, int]:
    """The flip after closes at these distances from VWAP, the first one on the bar from which the line is valid."""
    quiet = PARAMETERS.vwap_valid_bars - 1
    close = np.array([0.0] * quiet + distances)
    least = np.full(len(close), theta) if isinstance(theta, float) else np.array([1.0] * quiet + theta)
    return vwap.flip(close, np.zeros(len(close)), least, PARAMETERS.vwap_valid_bars)


@pytest.mark.parametrize(
    ("distances", "expected"),
    [
        ([], (0, 0)),
        ([1.0], (0, 0)),
        ([1.0, 1.0], (1, 0)),
        ([1.0, 0.9], (0, 0)),
        ([1.0, 0.9, 1.0, 1.0], (1, 0)),
        ([-2.0, -2.0, -0.5, -2.0, -2.0], (-1, 3)),
        ([2.0, 2.0, 0.1, 0.0], (1, 2)),
        ([2.0, 2.0, -0.1], (0, 0)),
        ([2.0, 2.0, -0.1, 2.0], (0, 0)),
        ([2.0, 2.0, -0.1, 2.0, 2.0, 2.0], (1, 1)),
        ([2.0, 2.0, -2.0], (0, 0)),
        ([2.0, 2.0, -2.0, -2.0], (-1, 0)),
    ],
)
def test_two_closes_beyond_the_threshold_flip_and_a_close_across_the_line_takes_it_back(distances, expected):
    assert flipped(distances) == expected


def test_closes_before_the_line_is_valid_flip_nothing():
    assert vwap.flip(np.full(9, 5.0), np.zeros(9), np.ones(9), 9) == (0, 0)
    assert vwap.flip(np.full(10, 5.0), np.zeros(10), np.ones(10), 9) == (1, 0)


def test_each_bar_is_judged_by_its_own_threshold_and_not_by_none():
    assert flipped([1.0, 1.0], [2.0, 0.5]) == (0, 0)
    assert flipped([1.0, 1.0, 1.0], [2.0, 0.5, 0.5]) == (1, 0)
    assert flipped([9.0, 9.0], [float("nan"), float("nan")]) == (0, 0)


@given(st.lists(st.floats(-3, 3), max_size=60))
def test_the_mirrored_distances_flip_the_other_way(distances):
    side, age = flipped(distances)
    assert flipped([-d for d in distances]) == (-side, age)


def volumes(bodies: list[int], volume: list[float], *, low: bool = False) -> int:
    bars = walk(6, len(bodies))
    opening = np.full(len(bodies), 8.0)
    bars = replace(bars, open=opening, close=opening + np.array(bodies), tick_volume=np.array(volume))
    return vwap.volume_flip(bars, PARAMETERS, low=low)


@pytest.mark.parametrize(
    ("bodies", "volume", "low", "expected"),
    [
        ([1, 1, 1, -1, -1, -1], [65.0, 0, 0, 35, 0, 0], False, 1),
        ([1, 1, 1, -1, -1, -1], [64.0, 0, 0, 36, 0, 0], False, 0),
        ([1, 1, 1, -1, -1, -1], [35.0, 0, 0, 65, 0, 0], False, -1),
        ([1, 1, 1, -1, -1, -1], [65.0, 0, 0, 35, 0, 0], True, 0),
        ([1, 1, 1, -1, -1, -1], [72.0, 0, 0, 28, 0, 0], True, 1),
        ([1, 0, 0, 0, 0, -1], [65.0, 900, 900, 900, 900, 35], False, 1),  # bars that did not move have no side
        ([0, 0, 0, 0, 0, 0], [9.0] * 6, False, 0),
        ([1, 1], [0.0, 0.0], False, 0),
        ([-1, 1, 1, 1, 1, 1, 1], [1e6, 1, 1, 1, 1, 1, 1], False, 1),  # the seventh bar back is out of sight
    ],
)
def test_a_volume_flip_needs_65_percent_of_the_volume_that_moved_and_72_in_a_calm_market(bodies, volume, low, expected):
    assert volumes(bodies, volume, low=low) == expected


def test_bars_of_an_older_session_do_not_enter_the_line():
    bars = session_bars(40)
    strange = replace(bars, high=np.where(np.arange(60) < 20, 99.0, bars.high))
    one, other = line_of(bars), line_of(strange)
    assert isinstance(one, vwap.Line)
    assert isinstance(other, vwap.Line)
    assert np.array_equal(one.values, other.values)
    assert len(picked(bars, slice(20, None))) == len(one.values)
