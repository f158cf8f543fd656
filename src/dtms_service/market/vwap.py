"""Session VWAP on closed M5 bars, the side the market flipped to, and where the volume went. ``engine.md`` B4.2."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dtms_service.domain.parameters import Parameters
from dtms_service.domain.view import Missing
from dtms_service.market import sessions
from dtms_service.market.bars import Bars
from dtms_service.market.indicators import Series


@dataclass(frozen=True, slots=True)
class Line:
    """VWAP of the newest session. ``start`` is the row of its first bar; ``values`` begin there."""

    start: int
    values: Series


def running(bars: Bars, start: int) -> Series:
    """Cumulative sum(TP * V) / sum(V) from row ``start`` on, TP = (H + L + C) / 3; NaN while the volume is 0."""
    volume = bars.tick_volume[start:]
    typical = (bars.high[start:] + bars.low[start:] + bars.close[start:]) / 3
    total = np.cumsum(volume)
    line: Series = np.divide(np.cumsum(typical * volume), total, out=np.full(len(total), np.nan), where=total > 0)
    return line


def session_line(symbol: str, bars: Bars, valid_bars: int, *, whole: bool) -> Line | Missing:
    """The VWAP since the anchor of the newest bar. ``whole``: the bars reach as far back as they ever will.

    A feed without volume can never have one (R11); a session that is young, or that began before our bars do, has
    none yet.
    """
    if not bars.tick_volume.any():
        return Missing("the feed has no volume", configured=False)
    anchor = sessions.anchor(symbol, int(bars.time[-1]))
    start = int(np.searchsorted(bars.time, anchor))
    if start == 0 and not whole and int(bars.time[0]) > anchor:
        return Missing("the session began before the first bar we have")
    count = len(bars) - start
    if count < valid_bars:
        return Missing(f"VWAP needs {valid_bars} M5 bars since the session's anchor, has {count}")
    values = running(bars, start)
    if np.isnan(values[-1]):
        return Missing("no volume since the session's anchor")
    return Line(start, values)


def flip(close: Series, line: Series, theta: Series, valid_bars: int) -> tuple[int, int]:
    """Side of VWAP the market flipped to, and closed bars since: (+1, -1 or 0, age; age is 0 without a flip).

    Two closes in a row at least theta away flip it; a close across the line takes it back; it starts at 0. All three
    arrays begin at the anchor; distances count from the bar on which the line is valid; a NaN in theta (no ATR at
    that bar) flips nothing.
    """
    side = age = before = 0
    first = valid_bars - 1
    for distance, least in zip((close - line)[first:].tolist(), theta[first:].tolist(), strict=True):
        beyond = 1 if distance >= least else -1 if -distance >= least else 0
        age += 1
        if side * distance < 0:
            side = 0
        if beyond and beyond == before and side != beyond:
            side, age = beyond, 0
        before = beyond
    return side, age if side else 0


def volume_flip(bars: Bars, parameters: Parameters, *, low: bool) -> int:
    """+1 or -1 when that direction's bars hold enough of the volume of the newest bars that moved at all, else 0."""
    share = parameters.volume_share_low if low else parameters.volume_share
    newest = slice(-parameters.volume_bars, None)
    body, volume = (bars.close - bars.open)[newest], bars.tick_volume[newest]
    up, down = float(volume[body > 0].sum()), float(volume[body < 0].sum())
    if up + down == 0:
        return 0
    return int(up >= share * (up + down)) - int(down >= share * (up + down))
