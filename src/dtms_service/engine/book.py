"""The book: an immutable in-memory view of all trades, swapped as a whole.

Every read of the current state comes from here.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from dtms_service.domain.alerts import Alert
from dtms_service.domain.trade import Event, Intent, Trade
from dtms_service.domain.values import Account, Position, Tick
from dtms_service.domain.view import MarketView

ENDED_KEPT = 1_000
"""Trades that are over and still in the book; a start loads as many. The ledger has them all."""

_EMPTY: Mapping[int, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Book:
    """All trades by ``trade_id``, the open intents by magic, and what the last snapshot showed of them."""

    trades: Mapping[int, Trade] = field(default_factory=dict)
    watched: Mapping[int, Trade] = field(default_factory=dict)
    """Those of the trades that a cycle looks at: open, or over with something of ours left to close."""
    intents: Mapping[int, Intent] = field(default_factory=dict)
    actions: tuple[Event, ...] = ()
    """Newest events of kind ``action``, oldest first."""
    alerts: Mapping[int, Alert] = field(default_factory=dict)
    """The alerts that nobody has acknowledged, by id."""
    positions: Mapping[int, Position] = field(default_factory=dict)
    """Positions of the last good snapshot by identifier."""
    ticks: Mapping[str, Tick] = field(default_factory=dict)
    views: Mapping[str, MarketView] = field(default_factory=dict)
    account: Account | None = None
    as_of: float | None = None
    """Market time of the last good snapshot."""
    by_ticket: Mapping[int, int] = field(default_factory=lambda: _EMPTY)
    by_identifier: Mapping[int, int] = field(default_factory=lambda: _EMPTY)
    by_former: Mapping[int, int] = field(default_factory=lambda: _EMPTY)

    def find(self, number: int) -> Trade | None:
        """The trade a caller means by ``number``: current ticket, then identifier, then a former ticket (R29).

        One that is not over comes first: after a netting reversal the old ticket still names the closed trade, while
        the identifier names the trade that watches the position now.
        """
        indexes = (self.by_ticket, self.by_identifier, self.by_former)
        named = [self.trades[index[number]] for index in indexes if number in index]
        return next((trade for trade in named if not trade.state.final), named[0] if named else None)

    def with_trades(self, changed: Iterable[Trade]) -> Book:
        """This book with the given trades added or replaced."""
        trades, watched = dict(self.trades), dict(self.watched)
        tickets, identifiers, formers = dict(self.by_ticket), dict(self.by_identifier), dict(self.by_former)
        for trade in changed:
            before = trades.get(trade.trade_id)
            if before is not None and before.ticket != trade.ticket and tickets.get(before.ticket) == trade.trade_id:
                del tickets[before.ticket]
            trades[trade.trade_id] = trade
            if _watched(trade):
                watched[trade.trade_id] = trade
            else:
                watched.pop(trade.trade_id, None)
            _name(tickets, [trade.ticket], trade, trades)
            _name(identifiers, [] if trade.identifier is None else [trade.identifier], trade, trades)
            _name(formers, trade.former_tickets, trade, trades)
        for trade in self._too_old(trades, watched):
            del trades[trade.trade_id]
            _forget(tickets, trade.trade_id, [trade.ticket])
            _forget(identifiers, trade.trade_id, [] if trade.identifier is None else [trade.identifier])
            _forget(formers, trade.trade_id, trade.former_tickets)
        return replace(
            self, trades=trades, watched=watched, by_ticket=tickets, by_identifier=identifiers, by_former=formers
        )

    def _too_old(self, trades: Mapping[int, Trade], watched: Mapping[int, Trade]) -> list[Trade]:
        """The longest ended ones above `ENDED_KEPT`, none of which waits for the outcome of an order."""
        many = len(trades) - len(watched) - ENDED_KEPT
        if many <= 0:
            return []
        waiting = {intent.trade_id for intent in self.intents.values()}
        over = [trade for number, trade in trades.items() if number not in watched and number not in waiting]
        return heapq.nsmallest(many, over, key=_ended_at)


def _ended_at(trade: Trade) -> tuple[float, int]:
    """A position that is registered long after its end has just come into the book."""
    return (max(trade.registered_at, trade.closed_at or 0.0), trade.trade_id)


def _name(index: dict[int, int], numbers: Iterable[int], trade: Trade, trades: Mapping[int, Trade]) -> None:
    """Let ``numbers`` find the trade, unless it is over and they find one that is not."""
    for number in numbers:
        holder = trades.get(index.get(number, trade.trade_id))
        if holder is None or holder.state.final or not trade.state.final:
            index[number] = trade.trade_id


def _forget(index: dict[int, int], trade_id: int, numbers: Iterable[int]) -> None:
    for number in numbers:
        if index.get(number) == trade_id:
            del index[number]


def _watched(trade: Trade) -> bool:
    return not trade.state.final or trade.hedge is not None or any(o.status.live for o in trade.obligations)
