"""The broker's file: one SQLite database, held for as long as the child process lives (R36).

Write-ahead log, ``synchronous=FULL``, ``locking_mode=EXCLUSIVE``: what a reply says is on disk before the reply, and
a new child waits until the old one has let go of the file. Columns are those of ``rows``.
"""

from __future__ import annotations

import sqlite3
import weakref
from dataclasses import astuple, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from dtms_service import private
from dtms_service.terminal.simulated.rows import DealRow, FaultRow, LateRow, OrderRow, PositionRow, Row

FORMAT = 2
_WAIT_SECONDS = 10.0
_TABLES: dict[str, type[Row]] = {
    "positions": PositionRow,
    "orders": OrderRow,
    "deals": DealRow,
    "faults": FaultRow,
    "late": LateRow,
}
_SELECT: dict[type[Any], str] = {
    kind: f"SELECT * FROM {table} ORDER BY 1"  # noqa: S608 -- own names only
    for table, kind in _TABLES.items()
}
_INSERT = {
    kind: f"INSERT OR REPLACE INTO {table} VALUES ({', '.join('?' * len(fields(kind)))})"  # noqa: S608 -- own names only
    for table, kind in _TABLES.items()
}
_DELETE = {
    kind: f"DELETE FROM {table} WHERE {fields(kind)[0].name} = ?"  # noqa: S608 -- own names only
    for table, kind in _TABLES.items()
}
_R = TypeVar("_R", bound=Row)


@dataclass(slots=True)
class Changes:
    """What one transaction writes: rows to put and (kind, key) to drop, in their order, and single values."""

    rows: list[Row | tuple[type[Row], int]] = field(default_factory=list)
    meta: dict[str, Any] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.rows or self.meta)


class Store:
    """The open file. Raises ``ValueError`` with one sentence when it cannot be opened as a broker's file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            private.folder(path.parent)
            private.file(path)
            self._connection = sqlite3.connect(
                path, timeout=_WAIT_SECONDS, isolation_level=None, check_same_thread=False
            )
        except (OSError, sqlite3.Error) as error:
            message = f"{path}: the simulated account cannot be opened ({error})"
            raise ValueError(message) from error
        # Whoever forgets ``close`` does not keep the file locked for longer than the object lives.
        weakref.finalize(self, self._connection.close)
        try:
            self._prepare()
        except sqlite3.Error as error:
            self._connection.close()
            held = "locked" in str(error)
            why = "another process holds it" if held else f"it is not readable ({error})"
            message = f"{path}: the simulated account cannot be opened, {why}; nothing was changed"
            raise ValueError(message) from error

    def _prepare(self) -> None:
        run = self._connection.execute
        run("PRAGMA locking_mode=EXCLUSIVE")
        run("PRAGMA journal_mode=WAL")
        run("PRAGMA synchronous=FULL")
        run("BEGIN IMMEDIATE")
        run("CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID")
        for table, kind in _TABLES.items():
            first, *others = (column.name for column in fields(kind))
            columns = ", ".join((f"{first} INTEGER PRIMARY KEY", *others))
            run(f"CREATE TABLE IF NOT EXISTS {table} ({columns})")
        run("COMMIT")

    def meta(self) -> dict[str, Any]:
        """All single values."""
        return dict(self._connection.execute("SELECT key, value FROM meta"))

    def rows(self, kind: type[_R]) -> list[_R]:
        """All rows of one kind, in the order of their keys."""
        found = self._connection.execute(_SELECT[kind])
        return [kind(*row) for row in found]

    def commit(self, changes: Changes) -> None:
        """Write everything in one transaction, on disk at return; ``sqlite3.Error`` means nothing was written."""
        run = self._connection.execute
        if changes.meta.keys() == {"now"} and not changes.rows:
            # A pure step of the clock: the disk need not be waited for (0.3 ms, ten times the write). A
            # killed process loses nothing by it; after a power failure the market stands at an earlier
            # instant and plays the same way again.
            run("PRAGMA synchronous=NORMAL")
            run("INSERT OR REPLACE INTO meta VALUES ('now', ?)", (changes.meta["now"],))
            run("PRAGMA synchronous=FULL")
            return
        run("BEGIN IMMEDIATE")
        try:
            for row in changes.rows:
                if isinstance(row, tuple):
                    run(_DELETE[row[0]], (row[1],))
                else:
                    run(_INSERT[type(row)], astuple(row))
            for item in changes.meta.items():
                run("INSERT OR REPLACE INTO meta VALUES (?, ?)", item)
        except sqlite3.Error:
            run("ROLLBACK")
            raise
        run("COMMIT")

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()
