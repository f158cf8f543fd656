"""Whether everything that was committed is in the ledger, and nothing else.

A row's digest shows that it was changed. The seal shows that a row was taken out or put in: per table the number of
rows and the sum of their digests, written anew by every commit, inside its transaction. It costs one small row.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Table, select
from sqlalchemy.dialects import sqlite

from dtms_service.domain.errors import StorageFailed
from dtms_service.ledger.codec import SEAL, Row, checked
from dtms_service.ledger.tables import ALERTS, EVENTS, INTENTS, TRADES

TABLES = (TRADES, INTENTS, EVENTS, ALERTS)
"""In the order of the seal; one of step 0002 ends before the alerts."""
_MODULUS = 2**256
_REMEDY = "Nothing was changed; restore a backup"


@dataclass(frozen=True, slots=True)
class Sum:
    """Rows of one table: how many, and the sum of their digests modulo 2 ** 256."""

    count: int = 0
    total: int = 0

    def changed(self, written: Iterable[str], replaced: Iterable[str]) -> Sum:
        """The sum after rows with the digests ``written`` took the place of those with ``replaced``."""
        new, old = [_number(digest) for digest in written], [_number(digest) for digest in replaced]
        return Sum(self.count + len(new) - len(old), (self.total + sum(new) - sum(old)) % _MODULUS)


@dataclass(frozen=True, slots=True)
class Seal:
    """What the ledger held after its last commit."""

    commits: int
    """Transactions since the database was made; copies and restored ones count on."""
    facts: str
    """Digest of all facts but the seal."""
    sums: Mapping[str, Sum]
    """By the name of the table, in the order of `TABLES`."""

    def text(self) -> str:
        """The seal as it is stored: its numbers, then the SHA-256 of that."""
        sums = (f"{found.count} {found.total:064x}" for found in self.sums.values())
        body = " ".join((str(self.commits), self.facts, *sums))
        return f"{body} {hashlib.sha256(body.encode()).hexdigest()}"


def facts_digest(facts: Mapping[str, Any]) -> str:
    """Digest of all facts in ``meta`` but the seal itself."""
    rest = {name: value for name, value in facts.items() if name != SEAL}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, default=repr).encode()).hexdigest()


def seal_of(facts: Mapping[str, Any]) -> Seal:
    """The seal among the facts. Raises `StorageFailed` when it is missing, damaged, or is of other facts."""
    seal = _read(facts)
    if facts_digest(facts) != seal.facts:
        raise StorageFailed(f"The ledger's facts are not those that were committed. {_REMEDY}")
    return seal


def facts_in(connection: sqlite3.Connection) -> dict[str, Any]:
    """Everything in ``meta``."""
    return dict(connection.execute("SELECT name, value FROM meta"))


def check(connection: sqlite3.Connection, *, whole: bool) -> Seal:
    """Compare the rows with the seal, inside one transaction of the caller's.

    Trades, intents and alerts always row by row. Events, which grow without bound, by their number, and row by row when
    ``whole``; each is looked at again when history is read. Raises `StorageFailed` naming the row or table.
    """
    seal = seal_of(facts_in(connection))
    for table in TABLES[: len(seal.sums)]:
        expected = seal.sums[table.name]
        if table is EVENTS and not whole:
            (count,) = connection.execute(f"SELECT count(*) FROM {table.name}").fetchone()  # noqa: S608 -- a name of ours
            found = replace(expected, count=count)
        else:
            found = Sum().changed((checked(row, name_of(row, table)) for row in rows_in(connection, table)), ())
        if found.count != expected.count:
            message = f"The ledger holds {found.count} {table.name} where {expected.count} were committed. {_REMEDY}"
            raise StorageFailed(message)
        if found != expected:
            raise StorageFailed(f"The ledger's {table.name} are not those that were committed. {_REMEDY}")
    for table in TABLES[len(seal.sums) :]:
        if connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table.name,)).fetchone():
            raise StorageFailed(f"The ledger's seal says nothing about its {table.name}. {_REMEDY}")
    return seal


def set_facts(connection: sqlite3.Connection, facts: Mapping[str, str | None]) -> None:
    """Set facts (None takes one out) and renew the seal over them, where there is one (from step 0002 on).

    Raises `StorageFailed` when the facts are not those that it was made over: damage must not be sealed as sound.
    """
    if SEAL in (held := facts_in(connection)):
        seal_of(held)
    for name, value in facts.items():
        connection.execute("DELETE FROM meta WHERE name = ?", (name,))
        if value is not None:
            connection.execute("INSERT INTO meta (name, value) VALUES (?, ?)", (name, value))
    held = facts_in(connection)
    if SEAL in held:
        text = replace(_read(held), facts=facts_digest(held)).text()
        connection.execute("UPDATE meta SET value = ? WHERE name = ?", (text, SEAL))


def rows_in(connection: sqlite3.Connection, table: Table) -> Iterator[Row]:
    """All rows of a table."""
    names = [column.name for column in table.columns]
    for row in connection.execute(str(select(table).compile(dialect=sqlite.dialect()))):
        yield dict(zip(names, row, strict=True))


def name_of(row: Row, table: Table) -> str:
    """The row in words: ``trade 7``."""
    return f"{table.name[:-1]} {row[key_of(table)]}"


def key_of(table: Table) -> str:
    """Name of the column that tells rows apart."""
    (key,) = table.primary_key
    return str(key.name)


def _read(facts: Mapping[str, Any]) -> Seal:
    body, _, digest = str(facts.get(SEAL, "")).rpartition(" ")
    if hashlib.sha256(body.encode("utf-8", "replace")).hexdigest() != digest:
        raise StorageFailed(f"The ledger's seal is missing or damaged. {_REMEDY}")
    commits, of_facts, *numbers = body.split(" ")
    pairs = zip(numbers[::2], numbers[1::2], strict=True)
    sums = {table.name: Sum(int(n), int(total, 16)) for table, (n, total) in zip(TABLES, pairs, strict=False)}
    return Seal(int(commits), of_facts, sums)


def _number(digest: str) -> int:
    try:
        return int(digest, 16)
    except (TypeError, ValueError) as error:
        raise StorageFailed(f"A digest in the ledger is damaged: {digest!r}. {_REMEDY}") from error
