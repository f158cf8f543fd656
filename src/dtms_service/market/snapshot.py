"""What one cycle asks of the terminal and what it gets, as values that the engine and the gateway share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dtms_service.domain.values import Account, Position, Tick, Timeframe
from dtms_service.market.bars import Bars


@dataclass(frozen=True, slots=True)
class Needs:
    """What a cycle wants to read besides account and positions; all of it travels in one round trip."""

    symbols: tuple[str, ...] = ()
    """Symbols whose newest tick is wanted."""
    bars: tuple[tuple[str, Timeframe, int], ...] = ()
    """(symbol, timeframe, count): the newest ``count`` bars, the forming one included."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything one cycle reads, taken together. ``time`` is market time (the broker's clock, in UTC) of the read."""

    time: float
    account: Account
    connected: bool
    """Terminal has a link to its broker; without it every read below is stale."""
    positions: tuple[Position, ...]
    ticks: Mapping[str, Tick]
    """Only symbols with a usable quote (positive, bid <= ask)."""
    bars: Mapping[tuple[str, Timeframe], Bars] = field(default_factory=dict)
    """Only requests that were answered; a missing key is a failed read, not an empty one."""
