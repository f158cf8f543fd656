"""What must be true of the score whatever the market: on markets the simulator generates and on every real bar file.

Prices are put on a grid of powers of two (one point is 2**-17 at five digits), so that P -> 2m - P is exact in floats
and the mirrored score may be asked for to nine decimals, at every instant, with no allowance for rounding at a bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from market_data import bar_file
from market_series import picked, spec

from dtms_service.domain import signals
from dtms_service.domain.parameters import Parameters
from dtms_service.domain.trade import Score
from dtms_service.domain.values import Side, Timeframe
from dtms_service.domain.view import MarketView, Missing
from dtms_service.market import view
from dtms_service.market.bars import Bars, aggregate, join, read_bar_file
from dtms_service.market.window import DEPTH, Window
from dtms_service.terminal.simulated.market import open_market
from dtms_service.terminal.simulated.synthetic import DEFAULT_START, STYLES

P = Parameters()
FILES = (
    "BTCUSD_M1_202201_ftx_perp.csv.gz",
    "EURUSD_M15_202210_202310_mt5_spread.csv.gz",
    "EURUSD_M1_201405_oanda_bidask.csv.gz",
    "EURUSD_M1_202208_202210_mt4_gappy.csv.gz",
    "EURUSD_M1_202411_mt5.csv.gz",
    "EURUSD_M1_202502_mt5_spread.csv.gz",
    "GBPUSD_M1_201202_fxcm_bidask.csv.gz",
    "XAUUSD_M1_201405_oanda_bidask.csv.gz",
)
LOOKS = 30
"""Instants looked at in each real file."""


@dataclass(frozen=True)
class Market:
    """All bars of a symbol, closed and on the grid. ``m5`` is empty where the file has only M15."""

    symbol: str
    m15: Bars
    m5: Bars

    def ends(self) -> np.ndarray:
        """Instants at which a bar closes and the score may be there: 150 M15 bars in, and a few before the last."""
        fine = self.m5 if len(self.m5) else self.m15
        step = Timeframe.M5.seconds if len(self.m5) else Timeframe.M15.seconds
        ends = fine.time + step
        return ends[(ends >= self.m15.time[150]) & (ends < self.m15.time[-5])]


def on_grid(symbol: str, bars: Bars, digits: int, seconds: int) -> Market:
    point = 2.0 ** -math.ceil(math.log2(10**digits))
    prices = {c: np.rint(getattr(bars, c) * 10**digits) * point for c in ("open", "high", "low", "close")}
    exact = replace(bars, **prices)
    m5 = aggregate(exact, 300) if seconds <= 300 else exact.rows(0, 0)
    return Market(symbol, aggregate(exact, 900), m5)


@cache
def real(name: str) -> Market:
    file = read_bar_file(bar_file(name))
    return on_grid(file.symbol, file.bars, file.digits, file.seconds)


@lru_cache(maxsize=4)
def generated(symbol: str, seed: int) -> Market:
    """Three weeks; the third has weekends and everything warm behind it."""
    series = open_market("synthetic", seed, 0.0).series[symbol]
    week = series.source.index(DEFAULT_START)
    bars = join([series.source.bars(week + n) for n in range(3)])
    return on_grid(symbol, bars, series.facts.digits, 60)


def mirrored(market: Market) -> Market:
    top = 2 * math.ceil(float(market.m15.high.max()))

    def turned(bars: Bars) -> Bars:
        return replace(bars, open=top - bars.open, high=top - bars.low, low=top - bars.high, close=top - bars.close)

    return replace(market, m15=turned(market.m15), m5=turned(market.m5))


Delivery = Callable[[Bars, Timeframe, float], list[Bars]]
"""How the terminal hands over the bars of a timeframe at an instant: one or more reads, in order."""


def closed(bars: Bars, frame: Timeframe, now: float) -> list[Bars]:
    """Exactly what is closed and may matter."""
    end = int(np.searchsorted(bars.time, now - frame.seconds, side="right"))
    return [bars.rows(max(0, end - DEPTH[frame]), end)]


def look(market: Market, now: float, delivered: Delivery = closed) -> MarketView:
    frames = {Timeframe.M15: market.m15, Timeframe.M5: market.m5}
    windows = {}
    for frame, bars in frames.items():
        window = Window.empty(frame)
        for part in delivered(bars, frame, now):
            window = window.updated(part, now).window
        windows[frame] = window
    slow = view.read_m15(market.symbol, windows[Timeframe.M15], P)
    assert not isinstance(slow, Missing)
    fast = view.read_m5(spec(market.symbol), windows[Timeframe.M5], slow, P)
    if isinstance(fast, Missing):
        assert not len(market.m5)
        fast = view.M5Readings(slow.time + 600, 0.0, (slow.time + 900,), None, vwap=fast, candle=fast)
    return view.combined(market.symbol, slow, fast)


def scored(seen: MarketView, side: Side) -> Score:
    return signals.score(seen, side, P)


Draw = np.random.Generator


def two_sides(market: Market, now: float, _: Draw) -> float:
    seen = look(market, now)
    buy, sell = scored(seen, Side.BUY), scored(seen, Side.SELL)
    assert buy.value is not None
    assert sell.value == -buy.value
    assert [c.points for c in sell.components] == [-c.points for c in buy.components]
    assert (sell.coverage, sell.may_escalate, sell.may_relax) == (buy.coverage, buy.may_escalate, buy.may_relax)
    return buy.value


def mirror(market: Market, now: float, _: Draw) -> float:
    here, there = look(market, now), look(mirrored(market), now)
    for side, other in ((Side.BUY, Side.SELL), (Side.SELL, Side.BUY)):
        expected, found = scored(here, side), scored(there, other)
        assert found.value == pytest.approx(expected.value, abs=1e-9)
        assert found.coverage == expected.coverage
    return scored(here, Side.BUY).value or 0.0


def later_bars(market: Market, now: float, draw: Draw) -> float:
    """Also with later bars that are wrong by half: nothing about them may show."""

    def with_future(bars: Bars, frame: Timeframe, at: float) -> list[Bars]:
        end = int(np.searchsorted(bars.time, at - frame.seconds, side="right"))
        future = bars.rows(end, end + 40)
        halved = {c: getattr(future, c) * factor for c in ("open", "high", "low", "close")}
        return [join([bars.rows(max(0, end - DEPTH[frame]), end), replace(future, **halved)])]

    factor = draw.uniform(0.5, 1.5)
    return same(look(market, now), look(market, now, with_future))


def forming_bar(market: Market, now: float, draw: Draw) -> float:
    """At any moment of the next M5 bar, with whatever the two unfinished bars show then."""
    later = now + float(draw.integers(0, 300))

    def with_forming(bars: Bars, frame: Timeframe, at: float) -> list[Bars]:
        whole = closed(bars, frame, at)[0]
        if not len(bars):
            return [whole]
        opening = int(at // frame.seconds * frame.seconds)
        low, high = np.sort(draw.uniform(0.3, 3.0, 2)) * whole.close[-1]
        inside = draw.uniform(low, high, 2)
        row = (opening, inside[0], high, low, inside[1], 1e7, 9999)
        forming = Bars(
            *(np.array([value], getattr(whole, c).dtype) for c, value in zip(Bars.__slots__, row, strict=True))
        )
        return [join([whole, forming])]

    return same(look(market, later), look(market, later, with_forming))


def order_and_duplicates(market: Market, now: float, draw: Draw) -> float:
    """Every bar three times, in any order, in five reads."""

    def shuffled(bars: Bars, frame: Timeframe, at: float) -> list[Bars]:
        whole = closed(bars, frame, at)[0]
        rows = draw.permutation(np.tile(np.arange(len(whole)), 3))
        return [picked(whole, part) for part in np.array_split(rows, 5)]

    return same(look(market, now), look(market, now, shuffled))


def same(expected: MarketView, found: MarketView) -> float:
    assert found == expected
    return scored(found, Side.BUY).value or 0.0


PROPERTIES = {
    "a BUY and a SELL have opposite scores, exactly": two_sides,
    "the mirrored trade in the mirrored market has the same score": mirror,
    "bars that come later change nothing": later_bars,
    "the bar that is still forming changes nothing": forming_bar,
    "order and duplicates of bars change nothing": order_and_duplicates,
}


@pytest.mark.parametrize("name", PROPERTIES)
@settings(deadline=None, max_examples=12)
@given(
    symbol=st.sampled_from(sorted(STYLES)),
    seed=st.integers(0, 10**6),
    where=st.floats(0, 1, exclude_max=True),
)
def test_on_generated_markets(name: str, symbol: str, seed: int, where: float) -> None:
    market = generated(symbol, seed)
    ends = market.ends()
    for share in (where, (where + 0.5) % 1):
        PROPERTIES[name](market, float(ends[int(share * len(ends))]), np.random.default_rng(seed))


@pytest.mark.market_data
@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("name", PROPERTIES)
def test_on_real_bars(name: str, file: str) -> None:
    market = real(file)
    ends, draw = market.ends(), np.random.default_rng(1)
    at = ends[np.linspace(0, len(ends) - 1, LOOKS).astype(np.int64)]
    values = [PROPERTIES[name](market, float(now), draw) for now in at]
    assert len({value for value in values if value}) > LOOKS / 2, "most scores say something, and different things"
