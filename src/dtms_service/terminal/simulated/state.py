"""The account in memory: exactly what the file holds, plus the indices that questions need."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from dtms_service.terminal.simulated.money import cents
from dtms_service.terminal.simulated.rows import DealRow, FaultRow, LateRow, OrderRow, PositionRow, Row
from dtms_service.terminal.simulated.store import Changes, Store


class State:
    """Everything the broker knows; changed only through ``apply`` and ``save``.

    Changes are applied at once and written by ``save`` in one transaction, so that a step of many fills is one write.
    Whoever changes something calls ``save`` before he answers; when that fails, memory is read again from the file.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pending = Changes()
        self._load()

    def _load(self) -> None:
        self.meta = self._store.meta()
        self.positions: dict[int, PositionRow] = {row.ticket: row for row in self._store.rows(PositionRow)}
        self.orders: dict[int, OrderRow] = {row.ticket: row for row in self._store.rows(OrderRow)}
        self.waiting: dict[int, OrderRow] = {row.ticket: row for row in self.orders.values() if row.waits}
        self.deals: list[DealRow] = []
        self.deals_of: dict[int, list[DealRow]] = {}
        self.balance = 0.0
        self.faults: dict[int, FaultRow] = {row.id: row for row in self._store.rows(FaultRow)}
        self.late: dict[int, LateRow] = {row.id: row for row in self._store.rows(LateRow)}
        self.version = 0
        for row in self._store.rows(DealRow):
            self._book(row)

    def _book(self, row: DealRow) -> None:
        self.deals.append(row)
        self.deals_of.setdefault(row.position_id, []).append(row)
        self.balance = cents(self.balance + row.profit + row.commission + row.swap)

    def ticket(self) -> int:
        """The next number; orders, deals, faults and late orders share one sequence."""
        number = int(self.meta["ticket"]) + 1
        self.set_meta("ticket", number)
        return number

    def set_meta(self, key: str, value: object) -> None:
        """Remember a single value."""
        self.meta[key] = value
        self._pending.meta[key] = value

    def put(self, row: Row) -> None:
        """Add or replace a row. Deals are only ever added."""
        self._pending.rows.append(row)
        match row:
            case PositionRow():
                self.positions[row.ticket] = row
                self.version += 1
            case OrderRow():
                self.orders[row.ticket] = row
                self.version += 1
                if row.waits:
                    self.waiting[row.ticket] = row
                else:
                    self.waiting.pop(row.ticket, None)
            case DealRow():
                self._book(row)
            case FaultRow():
                self.faults[row.id] = row
            case LateRow():
                self.late[row.id] = row

    def drop_position(self, ticket: int) -> None:
        """A position is closed, or goes on under another ticket."""
        del self.positions[ticket]
        self.version += 1
        self._pending.rows.append((PositionRow, ticket))

    def drop_faults(self, ids: Iterable[int]) -> None:
        """Faults are used up or called off."""
        for each in tuple(ids):
            del self.faults[each]
            self._pending.rows.append((FaultRow, each))

    def drop_late(self, number: int) -> None:
        """A late order has executed, or was refused."""
        del self.late[number]
        self._pending.rows.append((LateRow, number))

    @property
    def changed(self) -> bool:
        """True while something waits for ``save``."""
        return bool(self._pending)

    def save(self) -> None:
        """Write all changes in one transaction; on disk when this returns."""
        changes, self._pending = self._pending, Changes()
        if not changes:
            return
        try:
            self._store.commit(changes)
        except sqlite3.Error:
            self._load()
            raise

    def close(self) -> None:
        """Let go of the file."""
        self._store.close()
