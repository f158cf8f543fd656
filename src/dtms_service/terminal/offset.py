"""The distance of the broker's wall clock from UTC. MetaTrader does not tell it; fresh quotes do (mt5.md 2.6)."""

from __future__ import annotations

from collections.abc import Sequence

QUARTER_S = 900
"""Time zones are whole quarters of an hour apart."""
FRESH_S = 60.0
"""A quote is fresh when it is this near to a whole quarter; an older one says nothing about the offset."""
FURTHEST_S = 14 * 3600
"""No place on Earth is further from UTC; a quote that seems so stopped long ago."""
AGREEING = 2
"""Symbols that must say the same."""


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
