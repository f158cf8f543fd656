"""Positions that are open at the terminal and that nobody registered: what becomes of them (R49). Pure.

A caller that is about to open a position may have said so on disk (``reliability.md`` 6); the position that its order
became is registered as the caller wanted, also when the caller died in between.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from dtms_service.domain.admission import Registration
from dtms_service.domain.reconcile import same_symbol
from dtms_service.domain.trade import Owner
from dtms_service.domain.values import Position

GRACE_S = 20.0
"""Seconds that a position may be seen without its registration, engine clock: it is just being opened. With two looks
30 s apart an alert comes within 60 s of the opening."""


class Policy(StrEnum):
    """What is done with a position that nobody registers."""

    ALERT = "alert"
    """Tell people."""
    OBSERVE = "observe"
    """Register it as nobody's to change: state and score are recorded, nothing is sent."""
    ADOPT = "adopt"
    """Register it for protection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """An order that a caller said may go out. ``name`` tells announcements apart."""

    name: str
    symbol: str
    magic: int
    strategy_type: str | None = None
    managed_by: Owner | None = None
    source: str | None = None


def announced(
    announcements: Sequence[Announcement], positions: Iterable[Position]
) -> tuple[tuple[Position, Announcement], ...]:
    """Which position came of which announcement: same magic and symbol, the oldest of each first, one of one."""
    waiting = list(announcements)
    found = []
    for position in sorted(positions, key=lambda each: (each.time, each.identifier)):
        fits = (a for a in waiting if a.magic == position.magic and same_symbol(a.symbol, position.symbol))
        announcement = next(fits, None)
        if announcement is not None:
            waiting.remove(announcement)
            found.append((position, announcement))
    return tuple(found)


def registration(position: Position, policy: Policy, announcement: Announcement | None = None) -> Registration:
    """The registration that nobody sent: as it was announced, or as the policy says."""
    if announcement is not None:
        return Registration(
            ticket=position.ticket,
            strategy_type=announcement.strategy_type,
            managed_by=announcement.managed_by,
            source=announcement.source or "announced",
        )
    owner = Owner.MANUAL if policy is Policy.OBSERVE else None
    return Registration(ticket=position.ticket, managed_by=owner, source="unmanaged")
