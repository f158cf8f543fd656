"""When the next cycle is due. Pure arithmetic on the engine clock.

Cycles lie on absolute multiples of the period, not on "previous plus period": after a restart the phase is the same
without storing anything. The period is halved while any trade is in L2 or HEDGED or any watched market is violent
(R41).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import ObligationStatus
from dtms_service.domain.view import Volatility
from dtms_service.engine.book import Book

SETTLE_S = 2.0
"""Seconds between looks at an order without an answer (``engine.md`` D4)."""
_URGENT = frozenset({TradeState.WARNING_L2, TradeState.HEDGED})


@dataclass(frozen=True, slots=True)
class Cadence:
    """Period of the cycle in seconds, within 1 to 300."""

    cycle_s: float

    def period(self, book: Book) -> float:
        """The period in force for this book."""
        urgent = any(trade.state in _URGENT for trade in book.watched.values())
        violent = any(view.volatility is Volatility.HIGH for view in book.views.values())
        return max(1.0, self.cycle_s / 2) if urgent or violent else self.cycle_s

    def next_after(self, last: float, book: Book) -> float:
        """The instant of the cycle after ``last``: the next grid point, or sooner for an open order or obligation."""
        period = self.period(book)
        grid = (math.floor(last / period) + 1) * period
        if book.intents:
            grid = min(grid, last + SETTLE_S)
        return min([grid, *_retries(book, last)])


def _retries(book: Book, last: float) -> Iterable[float]:
    return (
        obligation.next_try_at
        for trade in book.watched.values()
        if not trade.state.final
        for obligation in trade.obligations
        if obligation.status is ObligationStatus.DUE and obligation.next_try_at > last
    )
