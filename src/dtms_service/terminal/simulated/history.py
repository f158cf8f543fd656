"""What the simulated terminal says about positions, orders and deals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from dtms_service.terminal.simulated import answers
from dtms_service.terminal.simulated.arguments import (
    BAD_PARAMS,
    NOT_FOUND,
    Failed,
    history_filter,
    position_filter,
)
from dtms_service.terminal.simulated.calls import Acting, Calls
from dtms_service.terminal.simulated.rows import FaultRow, PositionRow
from dtms_service.terminal.simulated.server_clock import ServerClock
from dtms_service.terminal.simulated.structs import Struct


class History(Calls):
    """Open positions, orders and deals."""

    def positions_total(self) -> int | None:
        """Number of open positions."""
        return self._run("positions_total", None, lambda _: len(self._desk.state.positions))

    def positions_get(self, *args: Any, **kwargs: Any) -> tuple[Struct, ...] | None:
        """Open positions by ``ticket``, else ``symbol``, else ``group`` (C08); () when there is none."""

        def get(acting: Acting) -> tuple[Struct, ...]:
            chosen = self._filter(args, kwargs)
            if "ticket_changed" in acting:
                self._change_ticket(acting["ticket_changed"])
            desk = self._desk
            rows = list(desk.seen(self._lag(acting)).positions)
            if "read_omits_ticket" in acting and rows:
                rows.remove(_meant(rows, acting["read_omits_ticket"]))
            books, clock = desk.broker.books, desk.broker.terms.clock
            return tuple(
                answers.position(books, row, desk.now, clock) for row in rows if chosen(row.ticket, row.symbol)
            )

        return self._run("positions_get", None, get, {row.symbol for row in self._desk.state.positions.values()})

    def _change_ticket(self, fault: FaultRow) -> None:
        """What a swap by re-opening does (C54): a new ticket, the same identifier."""
        row = _meant(list(self._desk.state.positions.values()), fault)
        self._desk.state.drop_position(row.ticket)
        self._desk.state.put(replace(row, ticket=self._desk.state.ticket()))
        self._desk.save()

    def _lag(self, acting: Acting) -> float:
        """Market seconds by which the records lag behind what has happened (C57)."""
        late = acting["visible_late"].seconds if "visible_late" in acting else None
        return max(self._desk.broker.habits.visibility_lag_s, late or 0.0)

    def _filter(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[int, str], bool]:
        chosen = position_filter(args, kwargs)
        unknown = "ticket" not in kwargs and kwargs.get("symbol") not in {None, *self._desk.market.series}
        if unknown and self._desk.broker.habits.positions_of_unknown_symbol == "none":
            raise Failed(NOT_FOUND)
        return chosen

    def orders_total(self) -> int | None:
        """Number of waiting orders."""
        return self._run("orders_total", None, lambda _: len(self._desk.state.waiting))

    def orders_get(self, *args: Any, **kwargs: Any) -> tuple[Struct, ...] | None:
        """Waiting orders by ``ticket``, else ``symbol``, else ``group``; () when there is none."""

        def get(acting: Acting) -> tuple[Struct, ...]:
            chosen = self._filter(args, kwargs)
            rows, clock = self._desk.seen(self._lag(acting)).waiting, self._desk.broker.terms.clock
            return tuple(answers.order(row, clock) for row in rows if chosen(row.ticket, row.symbol))

        return self._run("orders_get", None, get)

    def history_orders_get(self, *args: Any, **kwargs: Any) -> tuple[Struct, ...] | None:
        """Finished orders by two dates (and ``group=``), ``ticket=`` or ``position=``."""
        clock = self._desk.broker.terms.clock

        def get(acting: Acting) -> tuple[Struct, ...]:
            wanted = history_filter(args, kwargs)
            until = (self._desk.now - self._lag(acting)) * 1000
            rows = [r for r in self._desk.state.orders.values() if not r.waits and r.done_msc <= until]
            found = (r for r in rows if wanted(r.ticket, r.position_id, _server_second(r.done_msc, clock), r.symbol))
            return tuple(answers.order(row, clock) for row in found)

        return self._run("history_orders_get", None, get)

    def history_deals_get(self, *args: Any, **kwargs: Any) -> tuple[Struct, ...] | None:
        """Deals by two dates (and ``group=``), ``ticket=`` (the order's; at most one) or ``position=`` (identifier)."""
        clock = self._desk.broker.terms.clock

        def get(acting: Acting) -> tuple[Struct, ...]:
            wanted = history_filter(args, kwargs)
            by_ticket = not args and "ticket" in kwargs
            if by_ticket and self._desk.broker.habits.deals_by_ticket == "none":
                raise Failed(BAD_PARAMS)
            position = kwargs.get("position")
            state, lag = self._desk.state, self._lag(acting)
            until = (self._desk.now - lag) * 1000
            rows = state.deals if args or position is None else state.deals_of.get(position, [])
            rows = [row for row in rows if row.time_msc <= until] if lag else rows
            found = [
                r for r in rows if wanted(r.order_ticket, r.position_id, _server_second(r.time_msc, clock), r.symbol)
            ]
            return tuple(answers.deal(row, clock) for row in (found[:1] if by_ticket else found))

        return self._run("history_deals_get", None, get)

    def history_orders_total(self, date_from: Any, date_to: Any, /) -> int | None:
        """Number of filled orders between two server times."""
        found = self.history_orders_get(date_from, date_to)
        return None if found is None else len(found)

    def history_deals_total(self, date_from: Any, date_to: Any, /) -> int | None:
        """Number of deals between two server times."""
        found = self.history_deals_get(date_from, date_to)
        return None if found is None else len(found)


def _server_second(milliseconds: int, clock: ServerClock) -> int:
    return milliseconds // 1000 + clock.ahead(milliseconds / 1000)


def _meant(rows: list[PositionRow], fault: FaultRow) -> PositionRow:
    """The position a fault is about: its ``ticket``, else the oldest of its symbol, else the oldest."""
    of_symbol = [row for row in rows if fault.symbol in {None, row.symbol}]
    exact = [row for row in rows if row.ticket == fault.ticket]
    return (exact or sorted(of_symbol, key=lambda row: row.identifier))[0]
