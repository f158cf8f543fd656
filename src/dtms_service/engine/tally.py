"""What one pass over the trades comes to, and how it is stored: in one transaction at its end."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from dtms_service.domain import reconcile
from dtms_service.domain.errors import Invalid
from dtms_service.domain.reconcile import Reconciled
from dtms_service.domain.trade import Event, Trade
from dtms_service.domain.values import Position
from dtms_service.engine.record import Record
from dtms_service.engine.rivals import Sign

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Tally:
    """Filled trade by trade."""

    quiet: frozenset[str]
    """Symbols whose quotes have stopped though their market should be open."""
    holders: dict[int, Trade]
    """By identifier, the open trade that watches the position."""
    trades: list[Trade] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    evaluated: list[int] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    transitions: int = 0
    orders: int = 0
    again: bool = False
    strangers: list[Position] = field(default_factory=list)
    """Positions that a DTMS opened and that belong to no trade here."""
    signs: list[Sign] = field(default_factory=list)
    """Orders that closed positions of trades, or parts of them."""

    def only(self, trade: Trade, seen: Reconciled, now: float) -> Reconciled:
        """``seen``, unless another trade watches the position: then ``trade`` was registered under a newer ticket."""
        identifier = seen.trade.identifier
        if identifier is None or seen.trade.state.final or seen.trade.verified_at is None:
            return seen
        holder = self.holders.setdefault(identifier, seen.trade)
        return seen if holder.trade_id == trade.trade_id else reconcile.duplicate(trade, holder.trade_id, now)

    async def store(self, record: Record, told: Sequence[Event]) -> None:
        """One transaction, with what else is ``told``. Raises ``StorageBusy`` and ``StorageFailed``.

        Where the ledger refuses one of the trades, each gets its own, so that the others go on; that one has failed.
        """
        try:
            await record.write(trades=self.trades, events=(*self.events, *told))
        except Invalid:
            log.exception("cycle_not_stored_whole")
            await self._store_each(record, told)

    async def _store_each(self, record: Record, told: Sequence[Event]) -> None:
        changed = {trade.trade_id for trade in self.trades}
        for trade in self.trades:
            mine = [event for event in self.events if event.trade_id == trade.trade_id]
            try:
                await record.write(trades=[trade], events=mine)
            except Invalid:
                log.exception("trade_failed", extra={"ticket": trade.ticket, "symbol": trade.symbol})
                self.failed.append(trade.ticket)
        await record.write(events=[*(event for event in self.events if event.trade_id not in changed), *told])
