"""Positions that are open at the terminal and that nobody registered: what becomes of them (R49). Pure.

A caller that is about to open a position may have said so on disk (``reliability.md`` 6); the position that its order
became is registered as the caller wanted, also when the caller died in between.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from dtms_service.domain.admission import Registration
from dtms_service.domain.reconcile import same_symbol
from dtms_service.domain.trade import Owner
from dtms_service.domain.values import Position

GRACE_S = 20.0
"""Seconds that a position may be seen without its registration, engine clock: it is just being opened. With two looks
30 s apart an alert comes within 60 s of the opening."""
UNMANAGED = "unmanaged"
"""Source of a trade that a policy registered, until somebody answers for it: a registration, or a hand-over."""
APART_S = 60.0
"""Seconds by which the broker's clock may differ from the machine's: so far a fresh quote may be off, too."""
NEAR_S = 5.0
"""Within so many seconds the two clocks are usually equal: of several positions, those that were opened later than this
before the announcement come first."""


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
    """An order that a caller said may go out. ``name`` tells announcements apart.

    ``after``: an instant shortly before it was said, engine clock; what was open then did not come of it.
    """

    name: str
    symbol: str
    magic: int
    after: float
    strategy_type: str | None = None
    managed_by: Owner | None = None
    source: str | None = None


def announced(
    announcements: Sequence[Announcement], positions: Iterable[Position], seen: Mapping[int, float]
) -> tuple[tuple[Position, Announcement], ...]:
    """Which position came of which announcement: same magic and symbol, opened after it, one of one, oldest first.

    ``seen``: identifier -> engine time at which a position was first seen.
    """
    left = sorted(positions, key=lambda each: (each.time, each.identifier))
    found = []
    for announcement in sorted(announcements, key=lambda each: (each.after, each.name)):
        fits = [position for position in left if _came_of(position, announcement, seen[position.identifier])]
        if fits:
            position = min(fits, key=lambda each: each.time < announcement.after - NEAR_S)  # the first of equals
            left.remove(position)
            found.append((position, announcement))
    return tuple(found)


def _came_of(position: Position, announcement: Announcement, first_seen: float) -> bool:
    """A position that was seen before is older for certain; one first seen later is judged by the broker's clock."""
    if position.magic != announcement.magic or not same_symbol(announcement.symbol, position.symbol):
        return False
    return first_seen >= announcement.after and position.time >= announcement.after - APART_S


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
    return Registration(ticket=position.ticket, managed_by=owner, source=UNMANAGED)
