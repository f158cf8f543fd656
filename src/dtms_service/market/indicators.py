"""The field's indicators, from TA-Lib, on exactly the closed bars given. The only door to TA-Lib.

Finite in, finite out: TA-Lib answers 0 for the RSI of a series with one NaN, which would read as an extreme. Every
function takes and returns float64 arrays of one length; where an indicator is not defined yet the value is NaN.
Formulas: ``engine.md`` B2.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import talib
from numpy.typing import NDArray

Series: TypeAlias = NDArray[np.float64]

ATR_BARS = 100
"""Bars after which ATR14 and RSI14 are used: the seed of Wilder's mean has lost its weight."""
MACD_BARS = 120
"""Bars after which MACD 12/26/9 is used."""
EMA200_BARS = 650
"""Bars after which EMA200 is used: its seed still weighs 1.1 %."""

_NOISE = 1e-12
"""Share of the price below which a change is float arithmetic, not a market."""


def atr(high: Series, low: Series, close: Series) -> Series:
    """Wilder's average true range over 14 bars; defined from index 14."""
    return _defined(talib.ATR(_finite(high), _finite(low), _finite(close), timeperiod=14), 14)


def rsi(close: Series) -> Series:
    """Wilder's relative strength index over 14 bars; defined from index 14. 50 where nothing moves (TA-Lib says 0)."""
    values = _defined(talib.RSI(_finite(close), timeperiod=14), 14)
    # The ATR of a line is Wilder's mean of its absolute changes: the sum of the two means that RSI compares.
    silent = talib.ATR(close, close, close, timeperiod=14) < _NOISE * close
    return np.where(silent, 50.0, values)


def ema(close: Series, bars: int) -> Series:
    """Exponential mean seeded with the simple mean of the first ``bars``; defined from index ``bars - 1``."""
    return _defined(talib.EMA(_finite(close), timeperiod=bars), bars - 1)


def macd(close: Series) -> tuple[Series, Series]:
    """MACD line 12/26 and its histogram against the 9-bar signal; defined from index 33."""
    line, _, histogram = talib.MACD(_finite(close), fastperiod=12, slowperiod=26, signalperiod=9)
    return _defined(line, 33), _defined(histogram, 33)


def bollinger(close: Series) -> tuple[Series, Series]:
    """Middle and one population standard deviation over 20 bars; defined from index 19."""
    upper, middle, _ = talib.BBANDS(_finite(close), timeperiod=20, nbdevup=1.0, nbdevdn=1.0)
    return _defined(middle, 19), _defined(upper - middle, 19)


def mean(values: Series, bars: int) -> Series:
    """Simple mean of the last ``bars`` values, NaN until that many are defined."""
    result = np.full(len(values), np.nan)
    start = int(np.isnan(values).sum())
    if len(values) - start >= bars:
        sums = np.cumsum(np.concatenate(([0.0], values[start:])))
        result[start + bars - 1 :] = (sums[bars:] - sums[:-bars]) / bars
    return result


def _finite(values: Series) -> Series:
    if not np.isfinite(values).all():
        message = "an indicator was asked of values that are not finite"
        raise ValueError(message)
    return values


def _defined(values: Series, start: int) -> Series:
    if not np.isfinite(values[start:]).all():
        message = "an indicator answered with a value that is not finite"
        raise ValueError(message)
    return values
