"""The markets being watched: windows and a view per symbol, shared by all its trades, rebuilt once per closed bar."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dtms_service.domain.parameters import Parameters
from dtms_service.domain.values import SymbolSpec, Timeframe
from dtms_service.domain.view import MarketView, Missing
from dtms_service.market import view
from dtms_service.market.snapshot import Snapshot
from dtms_service.market.window import Window

ASKS = 2
"""Reads for one expected bar: it may come late once; after that the market has made none, as on every weekend."""
FEED_QUIET_S = 600.0
"""Age of the newest quote at which a market that was open a week ago is called quiet."""
_WEEK_S = 7 * 86_400
_FRAMES = (Timeframe.M15, Timeframe.M5)


@dataclass(frozen=True, slots=True)
class _Series:
    m15: Window
    m5: Window
    slow: view.M15Readings | Missing

    def window(self, frame: Timeframe) -> Window:
        return self.m15 if frame is Timeframe.M15 else self.m5


log = logging.getLogger(__name__)

_NEW = _Series(Window.empty(Timeframe.M15), Window.empty(Timeframe.M5), Missing("no closed M15 bar"))


class Markets:
    """Windows and views by symbol. Everything here can be read again from the terminal, so nothing of it is stored."""

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters
        self._series: dict[str, _Series] = {}
        self._asked: dict[tuple[str, Timeframe], tuple[float, int]] = {}
        self.views: Mapping[str, MarketView] = {}

    def needs(self, symbols: Sequence[str], now: float) -> tuple[tuple[str, Timeframe, int], ...]:
        """The bars to read at ``now``: none for a window whose newest closed bar is there already.

        A bar counts as closed `bar_delay_s` after its end, because terminals deliver its last ticks late.
        """
        self._forget_all_but(frozenset(symbols))
        settled = now - self._parameters.bar_delay_s
        wanted = []
        for symbol in symbols:
            series = self._series.get(symbol, _NEW)
            for frame in _FRAMES:
                window = series.window(frame)
                due = _newest_closed(settled, frame)
                there = len(window.bars) > 0 and int(window.bars.time[-1]) >= due
                if not there and self._asked.get((symbol, frame)) != (due, ASKS):
                    wanted.append((symbol, frame, window.wanted(now)))
        return tuple(wanted)

    async def take(self, snapshot: Snapshot, specs: Mapping[str, SymbolSpec]) -> None:
        """Update the windows with what was read and rebuild the views that changed.

        The loop turns between two symbols: the indicators of one take 20 ms at an M15 close, those of fifty a second.
        """
        settled = snapshot.time - self._parameters.bar_delay_s
        for symbol, frame in snapshot.bars:
            due = _newest_closed(settled, frame)
            slot, times = self._asked.get((symbol, frame), (due, 0))
            self._asked[symbol, frame] = (due, times + 1 if slot == due else 1)
        changed = set()
        for symbol in dict.fromkeys(symbol for symbol, _ in snapshot.bars):
            if self._updated(symbol, snapshot, settled):
                changed.add(symbol)
            await asyncio.sleep(0)
        if not changed:
            return
        views = dict(self.views)
        for symbol in changed:
            await asyncio.sleep(0)
            built = self._built(specs[symbol])
            if isinstance(built, MarketView):
                views[symbol] = built
        self.views = views

    def quiet(self, snapshot: Snapshot) -> frozenset[str]:
        """Symbols without a new quote for `FEED_QUIET_S` though they had a bar at this time last week.

        Brokers publish no sessions to programs; a week ago is the calendar that every symbol has.
        """
        now = snapshot.time
        old = (symbol for symbol, tick in snapshot.ticks.items() if now - tick.time >= FEED_QUIET_S)
        return frozenset(symbol for symbol in old if self._open_last_week(symbol, now))

    def _open_last_week(self, symbol: str, now: float) -> bool:
        times = self._series.get(symbol, _NEW).m15.bars.time
        place = int(np.searchsorted(times, now - _WEEK_S, "right")) - 1
        return place >= 0 and float(times[place]) > now - _WEEK_S - Timeframe.M15.seconds

    def forget(self) -> None:
        """Read everything anew: the times of all bars were wrong."""
        self._series, self._asked, self.views = {}, {}, {}

    def _forget_all_but(self, symbols: frozenset[str]) -> None:
        """A market nobody holds a trade in is not read any more, so its last view must not set the cadence."""
        if not symbols.issuperset(self._series):
            self._series = {symbol: series for symbol, series in self._series.items() if symbol in symbols}
            self.views = {symbol: seen for symbol, seen in self.views.items() if symbol in symbols}

    def _updated(self, symbol: str, snapshot: Snapshot, settled: float) -> bool:
        before = self._series.get(symbol, _NEW)
        after = before
        for frame in _FRAMES:
            bars = snapshot.bars.get((symbol, frame))
            if bars is None:
                continue
            update = after.window(frame).updated(bars, settled)
            if update.revised or update.refused:
                facts = {"symbol": symbol, "frame": frame.value, "revised": update.revised, "refused": update.refused}
                log.warning("bars_corrected", extra=facts)
            window = update.window
            if frame is Timeframe.M15 and window is not after.m15:
                after = replace(after, m15=window, slow=view.read_m15(symbol, window, self._parameters))
            elif frame is Timeframe.M5:
                after = replace(after, m5=window)
        self._series[symbol] = after
        return after.m15 is not before.m15 or after.m5 is not before.m5

    def _built(self, spec: SymbolSpec) -> MarketView | Missing:
        series = self._series[spec.name]
        if isinstance(series.slow, Missing):
            return series.slow
        fast = view.read_m5(spec, series.m5, series.slow, self._parameters)
        return fast if isinstance(fast, Missing) else view.combined(spec.name, series.slow, fast)


def _newest_closed(now: float, frame: Timeframe) -> float:
    """Opening time of the newest bar that has ended by ``now``."""
    return (now // frame.seconds - 1) * frame.seconds
