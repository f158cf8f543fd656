"""What DTMS may ask of the broker. Every order names its position by ticket and carries the magic of its own intent.

Levels and volumes here are legal already (tick size, volume step, broker's minimum distances): ``domain.levels`` made
them so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from dtms_service.domain.values import Side


@dataclass(frozen=True, slots=True)
class ModifyStops:
    """Set both levels of a position (TRADE_ACTION_SLTP). ``None`` removes a level, so callers pass the current one."""

    ticket: int
    symbol: str
    stop_loss: float | None
    take_profit: float | None
    magic: int
    comment: str


@dataclass(frozen=True, slots=True)
class ClosePosition:
    """Close ``volume`` lots of the position (TRADE_ACTION_DEAL with ``position``).

    ``side`` is the position's own side. ``whole``: it is all that is left, so a volume below the least one is legal.
    """

    ticket: int
    symbol: str
    side: Side
    volume: float
    magic: int
    comment: str
    whole: bool = False


@dataclass(frozen=True, slots=True)
class OpenHedge:
    """Open ``volume`` lots on ``side``, opposite to the position ``ticket`` (TRADE_ACTION_DEAL without ``position``).

    Its stop loss travels with it, so that it is never without one (R4).
    """

    ticket: int
    symbol: str
    side: Side
    volume: float
    stop_loss: float
    magic: int
    comment: str


Order: TypeAlias = ModifyStops | ClosePosition | OpenHedge


@dataclass(frozen=True, slots=True)
class Fill:
    """The broker's answer to an order that was done. ``volume`` and ``price`` are 0.0 for a change of levels."""

    retcode: int
    order: int
    deal: int
    volume: float
    price: float
    comment: str
    latency_ms: float
