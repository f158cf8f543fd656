"""The ledger as the engine sees it: load once, commit batches, look up history."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Result, Select, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from dtms_service.domain import magic
from dtms_service.domain.alerts import Alert, Wanted
from dtms_service.domain.errors import StorageFailed
from dtms_service.domain.record import Batch, Recorded
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import Event, IntentState
from dtms_service.ledger import database
from dtms_service.ledger.codec import INSTANCE, OWN, Row, alert_of, event_of, intent_of, trade_of
from dtms_service.ledger.marker import marker_of
from dtms_service.ledger.seal import seal_of
from dtms_service.ledger.tables import ALERTS, EVENTS, INTENTS, META, TRADES
from dtms_service.ledger.writer import InlineWriter, ThreadedWriter, Writer

T = TypeVar("T", Event, Alert)

ENDED_TRADES = 1_000
"""How many trades that are over are still loaded."""

RECENT_ACTIONS = 500
"""How many events of kind ``action`` are loaded."""

RECENT_ALERTS = 500
"""How many of the acknowledged alerts are loaded."""


class SqlLedger:
    """The durable record on one SQLite file, with one writer.

    Commits that wait at the same moment share one transaction and one fsync. ``StorageBusy``: nothing was written,
    try again. ``Invalid``: this batch breaks a rule of the tables or cannot be read back; nothing of it was written.
    ``StorageFailed``: a commit may or may not be on disk; from then on every call raises it.
    """

    def __init__(self, path: Path, writer: InlineWriter | ThreadedWriter) -> None:
        self.path = path
        self._writer = writer
        self._reader: AsyncEngine | None = None
        self._files = database.files_of(path)
        self._identity = database.identity(self._files)

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        draw: Callable[[int], int],
        inline: bool = False,
        marker: Path | None = None,
        reserve: int = 0,
    ) -> SqlLedger:
        """Open or create the database of an SQLAlchemy URL, whatever SQLite driver it names, at the newest tables.

        ``draw(n)`` returns a random number below ``n`` (asked for a new or restored database). ``inline`` does all
        work on the calling loop, without a thread. ``marker`` is the file that says whether a ledger was used here
        before, by default one beside the database. ``reserve`` bytes of disk are set aside for the day it is full.
        Raises `StorageFailed` with a sentence and nothing changed when the
        file cannot serve (a folder, no database, damaged, made by a newer version, missing or older where a ledger was
        used before), and `StorageBusy` when another process holds it.
        """
        path = database.path_of(url)
        opened = partial(_open_writer, path, draw, marker or marker_of(path), reserve)
        if inline:
            writer: InlineWriter | ThreadedWriter = await InlineWriter.start(opened)
        else:
            writer = await ThreadedWriter.start(opened)
        return cls(path, writer)

    async def load(self) -> Recorded:
        """The state to start from. Raises `StorageFailed` naming the row when one is damaged; none is skipped."""
        return await self._writer.read(_load)

    async def commit(self, batch: Batch) -> int:
        """Store everything in one transaction; returns, after its fsync, the sequence of the last event so far.

        The ``n`` events of the batch have the ``n`` numbers up to the answer, whoever shared the transaction.
        """
        return await self._writer.commit(batch)

    async def events(
        self,
        *,
        kind: str | None = None,
        trade_id: int | None = None,
        since: int = 0,
        limit: int = 100,
        newest: bool = False,
    ) -> tuple[Event, ...]:
        """Stored events with ``sequence > since``, oldest first; ``newest``: the last ``limit``, not the first."""
        found = await self._found(_events(kind, trade_id, since, limit, newest=newest), event_of)
        return found[::-1] if newest else found

    async def _found(self, query: Select[Any], reader: Callable[[Row], T]) -> tuple[T, ...]:
        if isinstance(self._writer, InlineWriter):
            return await self._writer.read(partial(_all, query=query, reader=reader))
        if self._writer.failure is not None:
            raise StorageFailed(self._writer.failure.detail)
        try:
            async with self._read_engine().connect() as connection:
                return tuple(reader(row) for row in _rows(await connection.execute(query)))
        except SQLAlchemyError as error:
            raise database.read_error(error) from error

    async def alerts(self, wanted: Wanted) -> tuple[Alert, ...]:
        """Stored alerts, newest first."""
        return await self._found(_alerts(wanted), alert_of)

    def look(self) -> None:
        """Is it still there, and still written? Raises `StorageFailed` when a file was replaced or a commit failed."""
        if self._writer.failure is not None:
            raise StorageFailed(self._writer.failure.detail)
        try:
            intact = database.identity(self._files) == self._identity
        except OSError as error:
            raise StorageFailed(f"{self.path} or its log is gone: {error}") from error
        if not intact:
            raise StorageFailed(f"{self.path} or its log was replaced while the service ran")

    async def close(self) -> None:
        """Finish what was handed over, then close. Afterwards commits raise `StorageBusy`."""
        if self._reader is not None:
            await self._reader.dispose()
        await self._writer.close()

    def _read_engine(self) -> AsyncEngine:
        """Two connections that cannot write, so that a long history never holds up a commit."""
        if self._reader is None:
            read_only = URL.create("sqlite+aiosqlite", database=self.path.as_uri(), query={"mode": "ro", "uri": "true"})
            self._reader = create_async_engine(read_only, pool_size=2, max_overflow=0)
        return self._reader


def _open_writer(path: Path, draw: Callable[[int], int], marker: Path, reserve: int) -> Writer:
    connection = database.connect(path, draw, marker=marker)
    try:
        return Writer(path, connection, marker, reserve)
    except (SQLAlchemyError, sqlite3.Error, OSError) as error:
        database.close(connection)
        raise database.meaning(error, f"{path} or {marker} cannot be used") from error


def _load(connection: Connection) -> Recorded:
    facts = {row.name: row.value for row in connection.execute(select(META))}
    seal_of(facts)
    instance = int(facts[INSTANCE])
    final = TRADES.c.state.in_([state for state in TradeState if state.final])
    ended_at = func.coalesce(TRADES.c.closed_at, TRADES.c.registered_at)
    live = select(TRADES).where(~final)
    ended = select(TRADES).where(final).order_by(ended_at.desc(), TRADES.c.trade_id.desc()).limit(ENDED_TRADES)
    trades = [trade_of(row) for query in (live, ended) for row in _rows(connection.execute(query))]
    still_open = INTENTS.c.state.in_([state for state in IntentState if state.open])
    intents = connection.execute(select(INTENTS).where(still_open).order_by(INTENTS.c.magic))
    actions = _all(connection, _events("action", None, 0, RECENT_ACTIONS, newest=True), event_of)
    alerts = [
        *_all(connection, _alerts(Wanted(open=True, limit=None)), alert_of),
        *_all(connection, _alerts(Wanted(open=False, limit=RECENT_ALERTS)), alert_of),
    ]
    ours = INTENTS.c.magic.between(magic.make(instance, 1), magic.make(instance, 10**8 - 1))
    last_magic = connection.execute(select(func.max(INTENTS.c.magic)).where(ours)).scalar()
    return Recorded(
        trades=tuple(sorted(trades, key=lambda trade: trade.trade_id)),
        open_intents=tuple(intent_of(row) for row in _rows(intents)),
        actions=actions[::-1],
        last_trade_id=connection.execute(select(func.max(TRADES.c.trade_id))).scalar() or 0,
        last_magic_sequence=0 if last_magic is None else magic.sequence_of(last_magic, instance) or 0,
        last_event_sequence=connection.execute(select(func.max(EVENTS.c.sequence))).scalar() or 0,
        instance=instance,
        facts={name: value for name, value in facts.items() if name not in OWN},
        alerts=tuple(sorted(alerts, key=lambda alert: alert.alert_id)),
        last_alert_id=connection.execute(select(func.max(ALERTS.c.alert_id))).scalar() or 0,
    )


def _events(
    kind: str | None, trade_id: int | None, since: int, limit: int, *, newest: bool
) -> Select[tuple[object, ...]]:
    query = select(EVENTS).where(EVENTS.c.sequence > since).limit(limit)
    if kind is not None:
        query = query.where(EVENTS.c.kind == kind)
    if trade_id is not None:
        query = query.where(EVENTS.c.trade_id == trade_id)
    return query.order_by(EVENTS.c.sequence.desc() if newest else EVENTS.c.sequence)


def _alerts(wanted: Wanted) -> Select[tuple[object, ...]]:
    query = select(ALERTS).order_by(ALERTS.c.alert_id.desc()).limit(wanted.limit)
    if wanted.open is not None:
        nobody = ALERTS.c.acknowledged_at.is_(None)
        query = query.where(nobody if wanted.open else ~nobody)
    exactly = (ALERTS.c.alert_id, wanted.alert_id), (ALERTS.c.code, wanted.code), (ALERTS.c.ticket, wanted.ticket)
    for column, value in exactly:
        if value is not None:
            query = query.where(column == value)
    return query if wanted.before is None else query.where(ALERTS.c.alert_id < wanted.before)


def _all(connection: Connection, query: Select[Any], reader: Callable[[Row], T]) -> tuple[T, ...]:
    return tuple(reader(row) for row in _rows(connection.execute(query)))


def _rows(result: Result[Any]) -> list[Row]:
    names = tuple(result.keys())  # cheaper for 10,000 rows than asking each of them
    return [dict(zip(names, row, strict=True)) for row in result]
