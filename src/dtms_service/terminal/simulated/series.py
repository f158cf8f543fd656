"""One symbol's quotes and bars, and whether its market is open: everything is a function of time.

A source hands out *blocks* of base bars (a whole file, or one week of the synthetic market). Each bar is played as
ticks on a grid of 15 seconds: open, first extreme, second extreme, close, at four fixed points of the bar, straight
lines between them. A bar that closes at or above its open goes down first, any other goes up first (the order
MetaTrader's own tester assumes). The ask is the bid plus the bar's spread.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np

from dtms_service.market.bars import Bars, aggregate, join
from dtms_service.terminal.simulated.catalogue import Contract

TICK_SECONDS = 15
CLOSED_AFTER = 600
"""A gap longer than this between two bars means that the market is closed (R38)."""

_BLOCKS_KEPT = 12
_DEEPEST = 260
"""Blocks that a question for bars goes back at most: five years of the synthetic market."""


class Source(Protocol):
    """Where the base bars of a symbol come from."""

    seconds: int
    """Length of a base bar."""
    first: int | None
    """Index of the first block, None when there is no first one."""
    last: int | None

    def index(self, time: float) -> int:
        """The block that holds ``time``, or the nearest one."""

    def bars(self, index: int) -> Bars:
        """Base bars of a block, complete."""


class Quote(NamedTuple):
    """A tick; ``time`` in UTC seconds. ``opens`` is True for the first tick of a bar, where a price may jump."""

    time: float
    bid: float
    ask: float
    opens: bool


class Extremes(NamedTuple):
    """Lowest and highest bid and ask of some time."""

    low_bid: float
    high_bid: float
    low_ask: float
    high_ask: float


class Ticks(NamedTuple):
    """Ticks of a block, oldest first. Lists, not arrays: single look-ups are ten times cheaper in them."""

    times: list[int]
    bids: list[float]
    asks: list[float]


class Block:
    """Base bars of one span, and their ticks as soon as somebody asks for them."""

    def __init__(self, bars: Bars, seconds: int, facts: Contract) -> None:
        self.bars = bars
        self.opening: list[int] = bars.time.tolist()
        self.per_bar = seconds // TICK_SECONDS
        self.longer: dict[tuple[int, float], Bars] = {}
        self._facts = facts

    @cached_property
    def ticks(self) -> Ticks:
        """Every bar as ``per_bar`` ticks."""
        bars, digits = self.bars, self._facts.digits
        bid = np.round(_path(bars, self.per_bar), digits)
        ask = np.round(bid + bars.spread[:, None] * self._facts.point, digits)
        times = bars.time[:, None] + TICK_SECONDS * np.arange(self.per_bar)
        return Ticks(times.ravel().tolist(), bid.ravel().tolist(), ask.ravel().tolist())

    def quote(self, tick: int) -> Quote:
        """Tick number ``tick`` of the block."""
        ticks = self.ticks
        return Quote(ticks.times[tick], ticks.bids[tick], ticks.asks[tick], tick % self.per_bar == 0)


def _path(bars: Bars, ticks: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    up = bars.close >= bars.open
    turning = np.stack(
        [bars.open, np.where(up, bars.low, bars.high), np.where(up, bars.high, bars.low), bars.close], axis=1
    )
    corners = [0, (ticks - 1) // 3, 2 * (ticks - 1) // 3, ticks - 1]
    path = np.empty((len(bars), ticks))
    for leg in range(3):
        begin, end = corners[leg], corners[leg + 1]
        share = np.arange(end - begin + 1) / (end - begin)
        path[:, begin : end + 1] = turning[:, leg, None] + (turning[:, leg + 1] - turning[:, leg])[:, None] * share
    path[:, corners] = turning
    return path


class Series:
    """Quotes and bars of one symbol at any instant."""

    def __init__(self, facts: Contract, source: Source) -> None:
        self.facts = facts
        self.source = source
        self._blocks: OrderedDict[int, Block] = OrderedDict()
        self._asked: tuple[float, Quote | None] = (float("nan"), None)

    def quote(self, time: float) -> Quote | None:
        """The newest tick at ``time``; None before the first one."""
        # One instant is asked for many times in a row: for every position, for the margin, for the tick itself.
        if self._asked[0] != time:
            found = self._at(time)
            self._asked = (time, None if found is None else found[0].quote(found[1]))
        return self._asked[1]

    def ticks(self, after: float, until: float) -> list[Quote]:
        """Every tick with ``after < time <= until``, oldest first."""
        ticks: list[Quote] = []
        for index in range(self.source.index(after), self.source.index(until) + 1):
            block = self._block(index)
            begin, end = bisect_right(block.ticks.times, after), bisect_right(block.ticks.times, until)
            ticks.extend(block.quote(tick) for tick in range(begin, end))
        return ticks

    def extremes(self, after: float, until: float) -> Extremes | None:
        """Lowest and highest prices of the ticks with ``after < time <= until``; None when there are none."""
        found: list[Extremes] = []
        for index in range(self.source.index(after), self.source.index(until) + 1):
            ticks = self._block(index).ticks
            begin, end = bisect_right(ticks.times, after), bisect_right(ticks.times, until)
            if begin < end:
                bids, asks = ticks.bids[begin:end], ticks.asks[begin:end]
                found.append(Extremes(min(bids), max(bids), min(asks), max(asks)))
        if len(found) < 2:
            return found[0] if found else None
        low_bids, high_bids, low_asks, high_asks = zip(*found, strict=True)
        return Extremes(min(low_bids), max(high_bids), min(low_asks), max(high_asks))

    def is_open(self, time: float) -> bool:
        """True while bars follow each other without a gap of more than ten minutes."""
        found = self._at(time)
        if found is None:
            return False
        block, tick = found
        bar = tick // block.per_bar
        end = block.opening[bar] + self.source.seconds
        if time < end:
            return True
        following = self._after(time)
        return following is not None and following - end <= CLOSED_AFTER

    def bars(self, seconds: int, time: float, count: int, offset: float = 0.0) -> Bars:
        """The newest ``count`` bars of ``seconds`` at ``time``, oldest first; the last one is still forming.

        ``offset`` is the server's wall clock, on which long bars begin. Base bars longer than ``seconds`` give no bars.
        """
        found = self._at(time)
        if found is None or seconds % self.source.seconds:
            return _NONE
        newest = self._newest(found, seconds, time, offset)
        start = int(newest.time[0])
        parts: list[Bars] = [newest]
        have, index = 1, self.source.index(start)
        deepest = index - _DEEPEST if self.source.first is None else max(self.source.first, index - _DEEPEST)
        while have < count and index >= deepest:
            longer = self._longer(index, seconds, offset)
            end = int(np.searchsorted(longer.time, start))
            if end:
                part = longer.rows(max(0, end - (count - have)), end)
                parts.append(part)
                have, start = have + len(part), int(part.time[0])
            index -= 1
        return join(parts[::-1])

    def _newest(self, found: tuple[Block, int], seconds: int, time: float, offset: float) -> Bars:
        """The bar that the newest tick belongs to, made of the ticks so far."""
        block, tick = found
        bar = tick // block.per_bar
        begin = bar * block.per_bar
        seen = block.ticks.bids[begin : tick + 1]
        whole = float(block.bars.tick_volume[bar])
        share = (tick + 1 - begin) / block.per_bar
        forming = Bars(
            block.bars.time[bar : bar + 1],
            np.array([seen[0]]),
            np.array([max(seen)]),
            np.array([min(seen)]),
            np.array([seen[-1]]),
            np.array([max(1.0, float(int(whole * share)))]),
            block.bars.spread[bar : bar + 1],
        )
        if seconds == self.source.seconds:
            return forming
        shift = int(offset)
        opening = (block.opening[bar] + shift) // seconds * seconds - shift
        parts = [forming]
        first = bisect_left(block.opening, opening)
        if first < bar:
            parts.insert(0, block.bars.rows(first, bar))
        if first == 0 and opening < block.opening[0]:
            before = self._before(block, opening)
            if before is not None:
                parts.insert(0, before)
        return aggregate(join(parts), seconds, offset)

    def _before(self, block: Block, opening: int) -> Bars | None:
        """Base bars from ``opening`` on that lie in the block before; only a D1 or H4 bar can reach over its edge."""
        index = self.source.index(block.opening[0]) - 1
        if self.source.first is not None and index < self.source.first:
            return None
        earlier = self._block(index)
        first = bisect_left(earlier.opening, opening)
        return earlier.bars.rows(first, len(earlier.opening)) if first < len(earlier.opening) else None

    def _longer(self, index: int, seconds: int, offset: float) -> Bars:
        block = self._block(index)
        if seconds == self.source.seconds:
            return block.bars
        key = (seconds, offset)
        if key not in block.longer:
            bars = block.bars
            shift = int(offset)
            opening = (block.opening[-1] + shift) // seconds * seconds - shift
            edge = opening + seconds
            if self.source.index(edge - 1) != index:
                following = self._block(index + 1)
                bars = join([bars, following.bars.rows(0, bisect_left(following.opening, edge))])
            begin = (block.opening[0] + shift) // seconds * seconds - shift
            before = self._before(block, begin) if begin < block.opening[0] else None
            if before is not None:
                bars = join([before, bars])
            block.longer[key] = aggregate(bars, seconds, offset)
        return block.longer[key]

    def _at(self, time: float) -> tuple[Block, int] | None:
        index = self.source.index(time)
        while self.source.first is None or index >= self.source.first:
            block = self._block(index)
            tick = bisect_right(block.ticks.times, time) - 1
            if tick >= 0:
                return block, tick
            index -= 1
        return None

    def _after(self, time: float) -> int | None:
        """Opening time of the first bar after ``time``."""
        index = self.source.index(time)
        while self.source.last is None or index <= self.source.last:
            block = self._block(index)
            bar = bisect_right(block.opening, time)
            if bar < len(block.opening):
                return block.opening[bar]
            index += 1
        return None

    def _block(self, index: int) -> Block:
        block = self._blocks.get(index)
        if block is None:
            block = Block(self.source.bars(index), self.source.seconds, self.facts)
            self._blocks[index] = block
            if len(self._blocks) > _BLOCKS_KEPT:
                self._blocks.popitem(last=False)
        return block


_EMPTY = np.empty(0)
_NONE = Bars(_EMPTY.astype(np.int64), _EMPTY, _EMPTY, _EMPTY, _EMPTY, _EMPTY, _EMPTY.astype(np.int64))
