"""Confirmed swings, breaks of structure (BOS) and changes of character (CHOCH), without repainting.

A swing is known only when ``k`` bars after it have closed, a break only when a bar closes beyond it by beta ATRs of
that same bar: what was said at bar t is a function of the bars up to t. ``engine.md`` B2.5, B4.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from dtms_service.market.bars import Bars
from dtms_service.market.indicators import ATR_BARS, Series


@dataclass(frozen=True, slots=True)
class Break:
    """A close beyond a swing: row of the bar, direction +1 or -1, and BOS or CHOCH."""

    index: int
    direction: int
    kind: str


@dataclass(frozen=True, slots=True)
class Structure:
    """All breaks, oldest first, and the newest swings that no close has broken yet."""

    breaks: tuple[Break, ...]
    swing_high: float | None
    swing_low: float | None


def swings(bars: Bars, k: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Rows that are swing highs and swing lows: beyond the ``k`` bars before, not behind the ``k`` bars after."""
    return _peaks(bars.high, k), _peaks(-bars.low, k)


def find(bars: Bars, atr: Series, k: int, beta: float) -> Structure:
    """Walk the bars once; breaks are looked for from row `ATR_BARS` - 1 on, where the ATR is usable.

    A bar that breaks the old swing and confirms a new one does both, the break first: the new one counts from the
    next bar on. A level is consumed by its break. Highs below lows can be broken both ways by one bar; that says
    nothing and is no break.
    """
    is_high, is_low = swings(bars, k)
    highs, lows = bars.high.tolist(), bars.low.tolist()
    over, under = (bars.close - beta * atr).tolist(), (bars.close + beta * atr).tolist()
    confirms_high, confirms_low = is_high.tolist(), is_low.tolist()
    breaks: list[Break] = []
    high, low, trend = np.inf, -np.inf, 0
    for t in range(k, len(highs)):
        if t >= ATR_BARS - 1:
            up, down = over[t] > high, under[t] < low
            if up != down:
                direction = 1 if up else -1
                breaks.append(Break(t, direction, "CHOCH" if trend == -direction else "BOS"))
                trend = direction
            high, low = np.inf if up else high, -np.inf if down else low
        if confirms_high[t - k]:
            high = highs[t - k]
        if confirms_low[t - k]:
            low = lows[t - k]
    return Structure(tuple(breaks), high if high < np.inf else None, low if low > -np.inf else None)


def _peaks(values: Series, k: int) -> NDArray[np.bool_]:
    peaks = np.zeros(len(values), np.bool_)
    if len(values) > 2 * k:
        around = sliding_window_view(values, 2 * k + 1)
        middle = around[:, k]
        peaks[k:-k] = (middle > around[:, :k].max(axis=1)) & (middle >= around[:, k + 1 :].max(axis=1))
    return peaks
