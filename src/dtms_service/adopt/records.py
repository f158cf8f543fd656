"""What the old programs wrote down: ``dtms_trades`` and ``universal_trades`` (contract.md 3.2 and 4). Read only."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WAIT_S = 2.0
"""How long an old program that is writing may keep us waiting."""
TABLES: Mapping[str, Mapping[str, str]] = {
    "dtms_trades": {
        "ticket": "ticket",
        "symbol": "symbol",
        "direction": "side",
        "entry_price": "entry_price",
        "volume": "volume",
        "stop_loss": "stop_loss",
        "take_profit": "take_profit",
    },
    "universal_trades": {
        "ticket": "ticket",
        "symbol": "symbol",
        "direction": "side",
        "entry_price": "entry_price",
        "initial_volume": "volume",
        "initial_sl": "stop_loss",
        "initial_tp": "take_profit",
        "strategy_type": "strategy_type",
        "managed_by": "managed_by",
    },
}
"""Table -> its columns and our names for them; later tables know better who manages a trade."""
_LOGS = b"\x02\x02"
"""Bytes 18 and 19 of a file that is written through a log (SQLite's file format, 1.3.3)."""
_NEEDED = frozenset({"ticket"})


class Unusable(Exception):
    """A file cannot serve as a record of old trades; the message says why and what to try."""


@dataclass(frozen=True, slots=True)
class OldTrade:
    """One row. ``claims``: what it says beside the ticket, in our names; ``found_in``: file and table."""

    ticket: int
    claims: Mapping[str, Any]
    found_in: str


def read(files: Iterable[Path]) -> dict[int, OldTrade]:
    """Every trade of the files by ticket; where two know one, the Universal Manager's says who manages it.

    Raises `Unusable`. Nothing is written, and no file is left behind.
    """
    rows = [row for file in files for row in _rows(file)]
    order = list(TABLES)
    found: dict[int, OldTrade] = {}
    for row in sorted(rows, key=lambda row: order.index(row.found_in.rpartition(":")[2])):
        earlier = found.get(row.ticket)
        claims = row.claims if earlier is None else {**earlier.claims, **row.claims}
        found[row.ticket] = OldTrade(row.ticket, claims, row.found_in)
    return found


def _rows(file: Path) -> list[OldTrade]:
    if not file.is_file():
        raise Unusable(f"{file} is not a file. Try: the old dtms_trades.db or universal_sl_tp_trades.db")
    try:
        with closing(sqlite3.connect(_address(file), uri=True, timeout=WAIT_S)) as database:
            return list(_tables(file, database))
    except OSError as error:
        raise Unusable(f"{file} cannot be read: {error}. Try: check its permissions") from error
    except sqlite3.OperationalError as error:
        raise Unusable(f"{file} cannot be read now: {error}. Try: stop the program that writes to it") from error
    except sqlite3.DatabaseError as error:
        raise Unusable(f"{file} is not a sound SQLite database: {error}. Try: a copy of it from before") from error


def _address(file: Path) -> str:
    """Read only; and a file whose log is empty is read as it is, else SQLite would leave a log beside it."""
    with file.open("rb") as opened:
        logs = opened.read(20)[18:20] == _LOGS
    alone = logs and not file.with_name(f"{file.name}-wal").exists()
    return f"{file.resolve().as_uri()}?mode=ro{'&immutable=1' if alone else ''}"


def _tables(file: Path, database: sqlite3.Connection) -> Iterator[OldTrade]:
    present = {str(name) for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    known = [table for table in TABLES if table in present]
    if not known:
        seen = ", ".join(sorted(present)[:5]) or "no table at all"
        raise Unusable(f"{file} holds neither {' nor '.join(TABLES)} ({seen}). Try: another file")
    for table in known:
        yield from _table(file, database, table)


def _table(file: Path, database: sqlite3.Connection, table: str) -> Iterator[OldTrade]:
    columns = {str(row[1]) for row in database.execute(f"PRAGMA table_info({table})")}
    if not columns >= _NEEDED:
        raise Unusable(f"{file}: the table {table} has no column ticket. Try: another file")
    wanted = [(old, new) for old, new in TABLES[table].items() if old in columns]
    names = ", ".join(old for old, _ in wanted)
    for row in database.execute(f"SELECT {names} FROM {table} ORDER BY ticket"):  # noqa: S608 - names of our own table
        said = dict(zip((new for _, new in wanted), row, strict=True))
        ticket = said.pop("ticket")
        if isinstance(ticket, bool) or not str(ticket).isdigit() or int(ticket) == 0:
            raise Unusable(f"{file}: the table {table} has a row whose ticket is {ticket!r}. Try: correct that row")
        claims = {name: value for name, value in said.items() if value not in (None, "", 0, 0.0)}
        yield OldTrade(int(ticket), claims, f"{file.name}:{table}")
