"""The distance of the broker's wall clock from UTC. MetaTrader does not tell it; fresh quotes do (mt5.md 2.6)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from dtms_service.domain.outcome import Unknown
from dtms_service.domain.values import Tick

QUARTER_S = 900
"""Time zones are whole quarters of an hour apart."""
FRESH_S = 60.0
"""A quote is fresh when it is this near to a whole quarter; an older one says nothing about the offset."""
FURTHEST_S = 14 * 3600
"""No place on Earth is further from UTC; a quote that seems so stopped long ago."""
AGREEING = 2
"""Symbols that must say the same."""
AGAIN_S = 60.0
"""Seconds between two attempts to confirm a stored offset: each reads every symbol the broker has."""
REMEMBERED_S = 40 * 86_400
"""Age at which a move of the broker's clock is forgotten: no bar in use is older."""
Move = tuple[float, float]
"""The last instant (UTC seconds) at which the broker's clock was seen as far ahead as the second number says."""

log = logging.getLogger(__name__)


def measure(quote_times: Sequence[float], now: float) -> float | None:
    """Seconds ahead of UTC by the newest quotes of several symbols (broker epoch seconds); None when none agree."""
    votes: dict[float, int] = {}
    for time in quote_times:
        ahead = round((time - now) / QUARTER_S) * QUARTER_S
        # A quote is at most as new as now: a broker's clock runs ahead by whole quarters, never by a few seconds more.
        if abs(ahead) <= FURTHEST_S and -FRESH_S <= time - now - ahead <= FRESH_S:
            votes[float(ahead)] = votes.get(float(ahead), 0) + 1
    if not votes:
        return None
    # Quotes that stopped whole quarters ago vote for a smaller offset; the newest clock shown is the broker's.
    agreed = [ahead for ahead, count in votes.items() if count >= AGREEING]
    return max(agreed, default=None)


class BrokerClock:
    """What is known of the broker's clock: configured, measured, or taken over from an earlier life until then."""

    def __init__(self, now: Callable[[], float], configured: float | None) -> None:
        """``now`` is the engine clock; ``configured`` an offset in seconds that is never measured."""
        self._now = now
        self._offset = configured
        self._configured = configured is not None
        self._assumed = False
        self._doubted = False
        self._tried = float("-inf")
        self._seen: tuple[float, Mapping[str, Tick]] = (0.0, {})
        self._right_at: float | None = None
        self.moves: tuple[Move, ...] = ()
        """Every known move, oldest first: what the broker wrote before one is in the clock of then."""

    @property
    def ahead(self) -> float:
        """Seconds by which the broker's wall clock is ahead of UTC; 0 until that is known."""
        return self._offset or 0.0

    def ahead_then(self, server: float) -> float:
        """Seconds by which it was ahead when it showed ``server``; of two instants that it showed so, the later.

        For what is being timed: a position of the hour that came twice is taken for the younger.
        """
        ahead = self.ahead
        for instant, before in reversed(self.moves):
            if server - ahead > instant:
                break
            ahead = before
        return ahead

    def aheads_then(self, server: NDArray[np.int64]) -> NDArray[np.float64]:
        """The same for a column; of two instants, the earlier.

        For bars: those of the hour that comes twice look old meanwhile, and nothing is decided on old bars.
        """
        ahead = np.full(len(server), self.ahead)
        for instant, before in reversed(self.moves):
            ahead[server - before <= instant] = before
        return ahead

    @property
    def known(self) -> bool:
        """True when times can be converted."""
        return self._offset is not None

    @property
    def measured(self) -> float | None:
        """The offset that quotes of this life agreed on; None while it is configured, assumed or unknown."""
        return None if self._configured or self._assumed else self._offset

    @property
    def questionable(self) -> bool:
        """True when a measurement is wanted."""
        return not self._configured and (self._offset is None or self._assumed or self._doubted)

    def assume(self, ahead: float, moves: Sequence[Move] = (), right_at: float | None = None) -> None:
        """Take over an offset and moves stored earlier; they never overrule what is configured or measured.

        ``right_at``: when that offset was still right, UTC seconds.
        """
        if self._offset is None:
            self._offset, self._assumed = ahead, True
            self.moves, self._right_at = tuple(moves), right_at

    def read(self, quote_times: Sequence[float]) -> float | None:
        """Measure by the newest quotes (broker epoch seconds); None when they do not agree, and nothing changes."""
        measured = measure(quote_times, self._now())
        self._doubted = False
        if measured is None:
            return None
        if self._offset != measured:
            log.warning("broker_offset", extra={"seconds": measured, "before": self._offset})
            self._remember(measured)
        self._offset, self._assumed = measured, False
        return measured

    def _remember(self, measured: float) -> None:
        """What was written until the last look at which the old offset was right keeps it."""
        if self._offset is None or self._right_at is None:
            return
        kept = [move for move in self.moves if self._now() - move[0] < REMEMBERED_S]
        self.moves = (*kept, (self._right_at, self._offset))
        self._right_at = None

    def moved(self, quotes: Mapping[str, Tick]) -> Unknown | None:
        """Unknown when a quote cannot be as old as it says: the broker's clock was moved, as for summer time.

        None of its times means anything then; the next measurement may tell.
        """
        now = self._now()
        before, known = self._seen
        self._seen = (now, quotes)
        if self._configured:
            return None
        if self._doubted:
            return self.doubt("the broker's clock was moved, and was not measured since")
        for symbol, tick in quotes.items():
            new = symbol in known and tick.time > known[symbol].time
            # A quote that was not there at the last look came since then.
            if tick.time > now + FRESH_S or (new and tick.time < before - FRESH_S):
                return self.doubt(
                    f"a new quote of {symbol} is {now - tick.time:.0f} s old: the broker's clock was moved"
                )
        if not self._assumed and any(now - tick.time <= FRESH_S for tick in quotes.values()):
            self._right_at = now
        return None

    def doubt(self, detail: str) -> Unknown:
        """The outcome of a read whose times mean nothing; so it is with every later one until a measurement."""
        self._doubted = True
        return Unknown("clock_moved", detail)

    def may_confirm(self, quotes: Mapping[str, Tick]) -> bool:
        """True when an assumed offset should be measured now: a quote of this minute is there, and no attempt was."""
        now = self._now()
        if not self._assumed or now - self._tried < AGAIN_S:
            return False
        if not any(now - tick.time <= FRESH_S for tick in quotes.values()):
            return False
        self._tried = now
        return True
