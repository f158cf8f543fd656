"""Signs that another DTMS acts on this account: on another machine, or with a copy of this ledger.

Locks keep two apart on one machine. Of one elsewhere only its orders are seen: their magics are of our kind, of another
ledger or beyond the last number that this one has used, and they are younger than this process.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dtms_service.domain import alerts, magic
from dtms_service.domain.trade import Event
from dtms_service.engine.record import Record

SPLIT_BRAIN = "split_brain"
CLOCKS_APART_S = 10.0
"""The broker's clock is measured to a second or so: what an earlier ledger did just before the start is no rival's."""


@dataclass(frozen=True, slots=True)
class Sign:
    """An order that somebody sent: its magic, when it was done, and what it did."""

    magic: int
    at: float
    what: str


class Rivals:
    """Remembers which signs were told. What an earlier ledger left behind is older than ``begin``."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._begun = float("inf")
        self._told: set[int] = set()

    def begin(self, now: float) -> None:
        """This process has taken up its work."""
        self._begun = now

    def is_one(self, number: int, at: float) -> bool:
        """True when an order with this magic, done ``at``, is no order of ours and none that we inherited."""
        return magic.ours(number) and at > self._begun + CLOCKS_APART_S and not self._record.issued(number)

    def signs(self, seen: Iterable[Sign], now: float) -> dict[int, Event]:
        """By magic, an alert for each order of a rival that was not told yet; `told` when they are stored."""
        return {
            sign.magic: alerts.alert_event(now, SPLIT_BRAIN, f"{sign.what} by another DTMS (magic {sign.magic})")
            for sign in seen
            if sign.magic not in self._told and self.is_one(sign.magic, sign.at)
        }

    def told(self, magics: Iterable[int]) -> None:
        """These alerts are on disk."""
        self._told.update(magics)
