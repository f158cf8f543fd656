"""Looking for positions that nobody registered, in the snapshot that the cycle read anyway (R49)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from dtms_service.domain import alerts, magic
from dtms_service.domain.trade import Event
from dtms_service.domain.unmanaged import GRACE_S, Announcement, Policy, announced, registration
from dtms_service.domain.values import Position
from dtms_service.engine.book import Book
from dtms_service.engine.record import Record
from dtms_service.engine.registrar import Registrar

CODE = "unmanaged_position"
USED = "announcements_used"
"""Fact: names of announcements whose position is registered, as JSON. Their files may outlive this process."""
USED_KEPT = 1000
"""A file is removed within seconds of its use; so many are never left."""


def unmanaged(book: Book) -> tuple[Position, ...]:
    """Positions of the last good snapshot that belong to no trade, and are no trade's hedge; oldest first."""
    hedges = {trade.hedge.identifier for trade in book.trades.values() if trade.hedge is not None}
    found = (p for p in book.positions.values() if p.identifier not in hedges and not _registered(book, p))
    return tuple(sorted(found, key=lambda position: (position.time, position.identifier)))


def _registered(book: Book, position: Position) -> bool:
    trade_id = book.by_identifier.get(position.identifier, book.by_ticket.get(position.ticket))
    return trade_id is not None and not book.trades[trade_id].may_be_registered_again


class Unmanaged:
    """What the engine does about them after each completed cycle.

    Which announcements became positions is stored with the positions; the rest is memory: a restart gives the grace
    anew.
    """

    def __init__(self, record: Record, registrar: Registrar, policy: Policy) -> None:
        self.policy = policy
        self.announcements: Sequence[Announcement] = ()
        """Newest reading of what callers announced; given by whoever can read it."""
        self._record = record
        self._registrar = registrar
        self._since: Mapping[int, float] = MappingProxyType({})

    @property
    def used(self) -> Sequence[str]:
        """Names of announcements whose position is registered, oldest first."""
        return tuple(json.loads(self._record.facts.get(USED, "[]")))

    def since(self, position: Position) -> float | None:
        """When it was first seen like this, engine clock."""
        return self._since.get(position.identifier)

    async def look(self, now: float) -> None:
        """After a completed cycle: register or tell what is past its grace. Raises what the ledger raises."""
        found = [p for p in unmanaged(self._record.book) if not magic.ours(p.magic)]  # ours have an alert of their own
        self._since = {p.identifier: self._since.get(p.identifier, now) for p in found}
        ripe = [p for p in found if now - self._since[p.identifier] >= GRACE_S]
        used = self.used
        waiting = [a for a in self.announcements if a.name not in used]
        said = {p.identifier: a for p, a in announced(waiting, found, self._since)}
        wanted = [(p, said.get(p.identifier)) for p in ripe if p.identifier in said or self.policy is not Policy.ALERT]
        if wanted:
            became = [a.name for _, a in wanted if a is not None]
            facts = {USED: json.dumps([*used, *became][-USED_KEPT:])} if became else {}
            await self._registrar.adopt([registration(p, self.policy, a) for p, a in wanted], facts)
        left = [p for p in found if not _registered(self._record.book, p)]
        events = [*self._new(ripe, left, now), *self._gone(left, now)]
        if events:
            await self._record.write(events=events)

    def _new(self, ripe: Sequence[Position], left: Sequence[Position], now: float) -> list[Event]:
        told = self._record.told
        return [
            alerts.alert_event(now, CODE, _words(position), ticket=position.ticket)
            for position in ripe
            if position in left and (CODE, f"ticket {position.ticket}") not in told
        ]

    def _gone(self, left: Sequence[Position], now: float) -> list[Event]:
        here = {f"ticket {position.ticket}" for position in left}
        return [
            alerts.over_event(now, CODE, "it is registered or closed", ticket=alert.ticket)
            for alert in self._record.book.alerts.values()
            if alert.code == CODE and alert.over_at is None and alert.about not in here
        ]


def _words(position: Position) -> str:
    stop = "no stop" if position.stop_loss is None else f"a stop at {position.stop_loss:g}"
    return (
        f"{position.side.value} {position.volume:g} {position.symbol}, magic {position.magic}, has {stop}, "
        "and nobody registered it"
    )
