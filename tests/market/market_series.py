"""Price series for the tests of the market room: the golden one of engine.md B9, random walks, real bars."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
from market_data import bar_file

from dtms_service.domain.values import Execution, SymbolSpec, Timeframe, TradeMode
from dtms_service.market.bars import Bars, aggregate, read_bar_file
from dtms_service.market.window import Window

MIRROR = 8.0
"""Prices P become 2 * MIRROR - P; all prices lie on a grid of 2**-12, so that this is exact in floats."""


def at(text: str) -> int:
    """Seconds of a UTC time such as 2024-03-31T08:00."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def golden(start: int = at("2024-01-01T00:00"), seconds: int = 900) -> Bars:
    """The 1000 bars of engine.md B9."""
    i = np.arange(1000.0)
    close = 100 + 2 * np.sin(i / 5) + 0.01 * i + 0.5 * np.sin(1.7 * i)
    opening = np.concatenate((close[:1], close[:-1]))
    high = np.maximum(opening, close) + 0.3 + 0.1 * np.sin(i)
    low = np.minimum(opening, close) - 0.3 - 0.1 * np.cos(i)
    times = start + seconds * np.arange(1000, dtype=np.int64)
    return Bars(times, opening, high, low, close, 100 + (37 * i) % 53, np.full(1000, 3, np.int64))


def walk(seed: int, count: int = 3000, start: int = at("2024-01-01T00:00")) -> Bars:
    """M5 bars of a random walk with clustered volatility around MIRROR, without holes, on a grid of 2**-12."""
    draw = np.random.default_rng(seed)
    size = np.exp(0.7 * np.sin(np.arange(count) / draw.uniform(40, 200)))
    steps = np.rint(draw.standard_normal((count, 4)) * 6 * size[:, None])
    path = np.concatenate(([0.0], np.cumsum(steps.ravel())))
    path -= np.rint(path.mean())
    prices = MIRROR + np.stack([path[k : k + 4 * count - 3 : 4] for k in range(5)]) / 4096
    times = start + 300 * np.arange(count, dtype=np.int64)
    volume = draw.integers(1, 200, count).astype(float)
    spread = draw.integers(0, 30, count)
    return Bars(times, prices[0], prices.max(axis=0), prices.min(axis=0), prices[4], volume, spread)


def mirrored(bars: Bars) -> Bars:
    top = 2 * MIRROR
    return Bars(
        bars.time, top - bars.open, top - bars.low, top - bars.high, top - bars.close, bars.tick_volume, bars.spread
    )


def spec(symbol: str = "EURUSD", digits: int = 5) -> SymbolSpec:
    point = 10.0**-digits
    return SymbolSpec(symbol, digits, point, point, 1.0, 1e5, 0.01, 100, 0.01, 0, 0, TradeMode.FULL, Execution.MARKET)


def windows(m5: Bars, now: float | None = None) -> tuple[Window, Window]:
    """The M15 and M5 windows at market time ``now`` (default: the end of the last bar)."""
    end = float(m5.time[-1]) + 300 if now is None else now
    m15 = aggregate(m5, 900)
    return (
        Window.empty(Timeframe.M15).updated(m15, end).window,
        Window.empty(Timeframe.M5).updated(m5, end).window,
    )


def picked(bars: Bars, rows: object) -> Bars:
    return Bars(*(getattr(bars, column)[rows] for column in Bars.__slots__))


def real_m5(name: str) -> Bars:
    return aggregate(read_bar_file(bar_file(name)).bars, 300)
