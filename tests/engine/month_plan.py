"""What people and programs do in a long run: random trades, opened, changed and closed by hand, from one seed.

Nothing here is tuned: distances are drawn as multiples of a market's own M15 range, volumes down to the smallest, and
every kind of hand is as likely as its share below says.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from dtms_service.domain.values import Side
from dtms_service.market.bars import Bars, aggregate, join
from dtms_service.terminal.simulated.market import Market
from dtms_service.terminal.simulated.series import Series

HOUR = 3600.0
WITHOUT_STOP, WITH_TARGET = 0.25, 0.6
CLOSED_BY_HAND, CHANGED_BY_HAND, REDUCED_BY_HAND = 0.25, 0.3, 0.2
REGISTERED_LATE, OF_ANOTHER_MANAGER, NOT_REGISTERED = 0.15, 0.05, 0.05
"""Shares of all trades."""
LOTS = (1, 1, 1, 2, 3, 5, 10, 25, 50)
"""Volumes in smallest lots."""
ATR_BARS = 14


class Act(StrEnum):
    """What somebody does with a position."""

    OPEN = "open"
    REGISTER = "register"
    TIGHTEN = "tighten the stop"
    LOOSEN = "loosen the stop"
    REMOVE = "remove the stop"
    TARGET = "move the target"
    REDUCE = "close a part"
    CLOSE = "close"


CHANGES = (Act.TIGHTEN, Act.LOOSEN, Act.REMOVE, Act.TARGET)


@dataclass(frozen=True, slots=True)
class Step:
    """One act, at an instant (UTC seconds) or as soon as the market is open after it."""

    time: float
    trade: int
    act: Act


@dataclass(frozen=True, slots=True)
class Plan:
    """One trade: distances in M15 ranges of the moment, ``part`` as a share of the volume, ``None`` for none."""

    symbol: str
    side: Side
    lots: int
    stop: float | None
    target: float | None
    part: float
    strategy: str | None


def plans(
    symbols: Sequence[str], count: int, begin: float, end: float, seed: int
) -> tuple[tuple[Plan, ...], list[Step]]:
    """``count`` trades opened between ``begin`` and ``end``, and all that is done with them, oldest first."""
    chance = random.Random(seed)
    made, steps = [], []
    for number in range(count):
        made.append(
            Plan(
                symbol=chance.choice(symbols),
                side=chance.choice((Side.BUY, Side.SELL)),
                lots=chance.choice(LOTS),
                stop=None if chance.random() < WITHOUT_STOP else chance.uniform(0.8, 12.0),
                target=chance.uniform(1.0, 25.0) if chance.random() < WITH_TARGET else None,
                part=chance.uniform(0.1, 0.9),
                strategy="trend_rider" if chance.random() < OF_ANOTHER_MANAGER else None,
            )
        )
        opened = chance.uniform(begin, end)
        steps.append(Step(opened, number, Act.OPEN))
        if chance.random() >= NOT_REGISTERED:
            late = chance.uniform(0.0, 4 * HOUR) if chance.random() < REGISTERED_LATE else 0.0
            steps.append(Step(opened + late, number, Act.REGISTER))
        for share, acts in (
            (CHANGED_BY_HAND, CHANGES),
            (REDUCED_BY_HAND, (Act.REDUCE,)),
            (CLOSED_BY_HAND, (Act.CLOSE,)),
        ):
            if chance.random() < share:
                after = chance.uniform(0.2, 1.0) ** 3 * 48 * HOUR
                steps.append(Step(opened + after, number, chance.choice(acts)))
    return tuple(made), sorted(steps, key=lambda step: (step.time, step.trade, step.act is not Act.OPEN))


def m15_range(series: Series, time: float) -> float:
    """Mean range of the last M15 bars that have closed by ``time``, in price units: the measure of all distances."""
    bars = series.bars(900, time, ATR_BARS + 1)
    return float(np.mean((bars.high - bars.low)[:-1]))


class OpenMarket:
    """Open time of each symbol, from the market's own minutes: 300 s for every M5 bar that has closed (R40)."""

    def __init__(self, market: Market, symbols: Iterable[str], begin: float, end: float) -> None:
        self._closed: Mapping[str, list[int]] = {
            symbol: (aggregate(_base(market.of(symbol), begin, end), 300).time + 300).tolist() for symbol in symbols
        }

    def seconds(self, symbol: str, since: float, until: float) -> float:
        """Seconds of open market after ``since`` up to ``until``, in whole M5 bars."""
        closed = self._closed[symbol]
        return 300.0 * max(0, bisect_right(closed, until) - bisect_right(closed, since))


def _base(series: Series, begin: float, end: float) -> Bars:
    source = series.source
    return join([source.bars(block) for block in range(source.index(begin), source.index(end) + 1)])
