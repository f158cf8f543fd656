"""Exactly the last N closed bars of one symbol and timeframe, as a value. The forming bar never gets in.

A closed bar the terminal delivers again replaces the old one (brokers correct bars), and an impossible row is refused
on its own. Readings are taken from exactly N bars, never from a growing buffer: EMA200 depends on where its series
starts. ``engine.md`` B1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dtms_service.domain.values import Timeframe
from dtms_service.market.bars import Bars

DEPTH = {Timeframe.M15: 1000, Timeframe.M5: 600}
"""Closed bars a window holds."""

_COLUMNS = ("time", "open", "high", "low", "close", "tick_volume", "spread")


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """Closed bars, oldest first, at most `DEPTH` of them."""

    timeframe: Timeframe
    bars: Bars

    @staticmethod
    def empty(timeframe: Timeframe) -> Window:
        """A window that has seen nothing."""
        none = np.empty(0)
        whole = np.empty(0, np.int64)
        return Window(timeframe, Bars(whole, none, none, none, none, none, whole))

    @property
    def full(self) -> bool:
        """True when no older bar will ever be kept."""
        return len(self.bars) == DEPTH[self.timeframe]

    def updated(self, bars: Bars, now: float) -> Update:
        """This window with the closed ones of ``bars`` at market time ``now``; the same object when nothing changed."""
        closed = bars.time + self.timeframe.seconds <= now
        usable = closed & _possible(bars)
        refused = int(np.count_nonzero(closed)) - int(np.count_nonzero(usable))
        fetched = _in_order(_taken(bars, usable))
        same, revised = self._compared(fetched)
        depth = DEPTH[self.timeframe]
        if same.all() or (self.full and bool((fetched.time[~same] < self.bars.time[0]).all())):
            return Update(self, 0, refused)
        kept = _taken(self.bars, ~np.isin(self.bars.time, fetched.time, assume_unique=True))
        merged = _in_order(Bars(*(np.concatenate((getattr(kept, c), getattr(fetched, c))) for c in _COLUMNS)))
        return Update(Window(self.timeframe, _taken(merged, slice(-depth, None))), revised, refused)

    def wanted(self, now: float) -> int:
        """How many of the newest bars the next read must ask for, the forming one included.

        Everything while the window is not full: a terminal that has just selected a symbol answers with what it has
        loaded so far. Otherwise what the clock says is missing, so that a read always overlaps the window and can
        correct its end.
        """
        step, depth = self.timeframe.seconds, DEPTH[self.timeframe]
        if not self.full:
            return depth + 2
        missing = int((now - float(self.bars.time[-1])) // step) - 1
        return min(depth, max(10, missing)) + 2

    def _compared(self, fetched: Bars) -> tuple[NDArray[np.bool_], int]:
        """Which fetched rows are in the window already, value for value, and how many replace a row that differs."""
        place = np.searchsorted(self.bars.time, fetched.time)
        place[place == len(self.bars)] = 0
        if len(self.bars) == 0:
            return np.zeros(len(fetched), np.bool_), 0
        known = self.bars.time[place] == fetched.time
        same = known.copy()
        for column in _COLUMNS[1:]:
            same &= getattr(self.bars, column)[place] == getattr(fetched, column)
        return same, int(np.count_nonzero(known & ~same))


@dataclass(frozen=True, slots=True)
class Update:
    """What an update did: ``revised`` closed bars came again with other values, ``refused`` rows cannot be true."""

    window: Window
    revised: int
    refused: int


def _possible(bars: Bars) -> NDArray[np.bool_]:
    """Rows that can be true: finite positive prices, high and low around open and close, no negative volume."""
    prices = np.stack((bars.open, bars.high, bars.low, bars.close, bars.tick_volume))
    finite = np.isfinite(prices).all(axis=0)
    around = (bars.high >= np.maximum(bars.open, bars.close)) & (bars.low <= np.minimum(bars.open, bars.close))
    return finite & around & (bars.low > 0) & (bars.tick_volume >= 0)


def _taken(bars: Bars, rows: NDArray[np.bool_] | slice) -> Bars:
    return Bars(*(getattr(bars, column)[rows] for column in _COLUMNS))


def _in_order(bars: Bars) -> Bars:
    """Strictly increasing in time. Of rows with one time the one with more ticks is the later reading."""
    if len(bars) < 2 or bool((np.diff(bars.time) > 0).all()):
        return bars
    order = np.lexsort((bars.tick_volume, bars.time))
    last_of_its_time = np.append(np.diff(bars.time[order]) > 0, True)
    rows = order[last_of_its_time]
    return Bars(*(getattr(bars, column)[rows] for column in _COLUMNS))
