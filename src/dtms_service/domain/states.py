"""The states of a trade, and nothing else that is a state."""

from __future__ import annotations

from enum import StrEnum


class TradeState(StrEnum):
    """PENDING before the terminal showed the position, REJECTED when it never did; the rest is ``engine.md`` E."""

    PENDING = "PENDING"
    HEALTHY = "HEALTHY"
    WARNING_L1 = "WARNING_L1"
    WARNING_L2 = "WARNING_L2"
    HEDGED = "HEDGED"
    RECOVERING = "RECOVERING"
    CLOSED = "CLOSED"
    REJECTED = "REJECTED"

    @property
    def final(self) -> bool:
        """True when the trade needs no more watching."""
        return self in _FINAL


_FINAL = frozenset({TradeState.CLOSED, TradeState.REJECTED})  # built once: asked thousands of times per cycle
