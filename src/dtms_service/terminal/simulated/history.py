"""What the simulated terminal says about positions, orders and deals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from dtms_service.terminal.simulated import answers
from dtms_service.terminal.simulated.arguments import (
    history_filter,
    position_filter,
)
from dtms_service.terminal.simulated.calls import Acting, Calls
from dtms_service.terminal.simulated.rows import FaultRow, PositionRow
from dtms_service.terminal.simulated.structs import Struct


class History(Calls):
    """Open positions, orders and deals."""

    def positions_total(self) -> int | None:
        """Number of open positions."""
        return self._run("positions_total", None, lambda _: len(self._desk.state.positions))

    def positions_get(self, *args: Any, **kwargs: Any) -> tuple[Struct, ...] | None:
        """Open positions by ``ticket``, else ``symbol``, else ``group`` (C08); () when there is none."""

        def get(acting: Acting) -> tuple[Struct, ...]:
            chosen = position_filter(args, kwargs)
            if "ticket_changed" in acting:
                self._change_ticket(acting["ticket_changed"])
            rows = list(self._desk.state.positions.values())
            if "read_omits_ticket" in acting:
                rows.remove(_meant(rows, acting["read_omits_ticket"]))
            desk, offset = self._desk, self._desk.broker.terms.offset
            return tuple(
                answers.position(desk.broker, row, desk.now, offset) for row in rows if chosen(row.ticket, row.symbol)
            )

        return self._run("positions_get", None, get, {row.symbol for row in self._desk.state.positions.values()})

    def _change_ticket(self, fault: FaultRow) -> None:
        """What a swap by re-opening does (C54): a new ticket, the same identifier."""
        row = _meant(list(self._desk.state.positions.values()), fault)
        self._desk.state.drop_position(row.ticket)
        self._desk.state.put(replace(row, ticket=self._desk.state.ticket()))
        self._desk.save()

    def orders_total(self) -> int | None:
        """Number of waiting orders: none, market orders are filled or refused at once."""
        return self._run("orders_total", None, lambda _: 0)

    def orders_get(self, *args: Any, **kwargs: Any) -> tuple[Struct, ...] | None:
        """Waiting orders: none ever waits here."""

        def get(_: Acting) -> tuple[Struct, ...]:
            position_filter(args, kwargs)
            return ()

        return self._run("orders_get", None, get)

    def history_orders_get(self, *args: Any, **kwargs: Any) -> tuple[Struct, ...] | None:
        """Filled orders by two dates (and ``group=``), ``ticket=`` or ``position=``."""
        offset = self._desk.broker.terms.offset

        def get(_: Acting) -> tuple[Struct, ...]:
            wanted = history_filter(args, kwargs)
            rows = self._desk.state.orders.values()
            found = (r for r in rows if wanted(r.ticket, r.position_id, r.time_msc // 1000 + offset, r.symbol))
            return tuple(answers.order(row, offset) for row in found)

        return self._run("history_orders_get", None, get)

    def history_deals_get(self, *args: Any, **kwargs: Any) -> tuple[Struct, ...] | None:
        """Deals by two dates (and ``group=``), ``ticket=`` (the order's; at most one) or ``position=`` (identifier)."""
        offset = self._desk.broker.terms.offset

        def get(_: Acting) -> tuple[Struct, ...]:
            wanted = history_filter(args, kwargs)
            position = kwargs.get("position")
            state = self._desk.state
            rows = state.deals if args or position is None else state.deals_of.get(position, [])
            found = [r for r in rows if wanted(r.order_ticket, r.position_id, r.time_msc // 1000 + offset, r.symbol)]
            return tuple(answers.deal(row, offset) for row in (found[:1] if "ticket" in kwargs else found))

        return self._run("history_deals_get", None, get)

    def history_orders_total(self, date_from: Any, date_to: Any, /) -> int | None:
        """Number of filled orders between two server times."""
        found = self.history_orders_get(date_from, date_to)
        return None if found is None else len(found)

    def history_deals_total(self, date_from: Any, date_to: Any, /) -> int | None:
        """Number of deals between two server times."""
        found = self.history_deals_get(date_from, date_to)
        return None if found is None else len(found)


def _meant(rows: list[PositionRow], fault: FaultRow) -> PositionRow:
    """The position a fault is about: its ``ticket``, else the oldest of its symbol, else the oldest."""
    of_symbol = [row for row in rows if fault.symbol in {None, row.symbol}]
    exact = [row for row in rows if row.ticket == fault.ticket]
    return (exact or sorted(of_symbol, key=lambda row: row.identifier))[0]
