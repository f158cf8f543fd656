"""The one writer. Everything that waits is committed in one transaction, and each caller is answered after it.

`Writer` is the plain, synchronous part. `ThreadedWriter` runs it on a thread of its own beside the event loop;
`InlineWriter` calls it on the loop, for the virtual-time simulation, which must not wait for a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import Connection, Table, func, insert, select
from sqlalchemy.exc import DataError, IntegrityError, ProgrammingError, SQLAlchemyError

from dtms_service.domain.errors import DtmsError, Invalid, StorageBusy, StorageFailed
from dtms_service.domain.record import Batch
from dtms_service.ledger import database
from dtms_service.ledger.codec import LINEAGE, SEAL, Row, Rows, numbered, rows_of
from dtms_service.ledger.marker import Mark, Marker
from dtms_service.ledger.reserve import Reserve
from dtms_service.ledger.seal import Seal, facts_digest, facts_in, key_of, seal_of
from dtms_service.ledger.tables import ALERTS, EVENTS, INTENTS, META, TRADES, upsert

log = logging.getLogger(__name__)

T = TypeVar("T")
Read: TypeAlias = Callable[[Connection], T]

# Failures that are the batch's own: a rule of the tables broken, or a number no column can hold. They come before the
# commit, so nothing was written; another batch of the same group is not at fault.
_OWN_FAULT = (IntegrityError, DataError, ProgrammingError, OverflowError)


class Writer:
    """Commits batches on one connection. After a commit of unknown outcome it stops for good: ``failure`` says why."""

    def __init__(self, path: Path, connection: Connection, marker: Path, reserve: int = 0) -> None:
        self.failure: StorageFailed | None = None
        self._connection = connection
        self._raw = database.raw_of(connection)
        # Compiled once and given to the driver as text: for 1,000 rows that is a third of the time of Core's own way.
        dialect = connection.dialect
        upserts = [upsert(table, dialect.name) for table in (META, TRADES, INTENTS, ALERTS)]
        texts = (str(statement.compile(dialect=dialect)) for statement in (*upserts, insert(EVENTS)))
        self._meta, self._trades, self._intents, self._alerts, self._events = texts
        with connection.begin():
            self._last = connection.execute(select(func.max(EVENTS.c.sequence))).scalar() or 0
            self._facts: dict[str, str] = facts_in(self._raw)
            self._version = self._foreign_writes()
        self._seal = seal_of(self._facts)
        self._files = database.files_of(path)
        self._identity = database.identity(self._files)
        self._marker = Marker(marker)
        self._reserve = Reserve(path, reserve)
        if reserve:
            self._reserve.keep()

    def commit(self, batches: Sequence[Batch]) -> list[int | DtmsError]:
        """All batches in one transaction; per batch the sequence of its last event, or why it was not stored.

        A batch at fault does not spoil the others: the group is undone and each is committed alone.
        """
        answers: list[int | DtmsError] = []
        group: list[Rows] = []
        for batch in batches:
            try:
                group.append(rows_of(batch))
                answers.append(-1)
            except Invalid as error:
                answers.append(error)
        stored = iter(self._commit(group))
        return [answer if isinstance(answer, DtmsError) else next(stored) for answer in answers]

    def read(self, read: Read[T]) -> T | DtmsError:
        """Answer of ``read`` in a transaction of its own."""
        if self.failure is not None:
            return self.failure
        try:
            with self._connection.begin():
                return read(self._connection)
        except DtmsError as error:
            return error
        except SQLAlchemyError as error:
            return database.read_error(error)

    def close(self) -> None:
        """Close the connection and the marker."""
        database.close(self._connection)
        try:
            self._marker.close()
        except OSError:
            log.warning("marker_not_synced", exc_info=True)

    def _commit(self, group: Sequence[Rows]) -> list[int | DtmsError]:
        if self.failure is not None:
            return [self.failure] * len(group)
        if not group:
            return []
        try:
            return [*self._store(group)]
        except _OWN_FAULT as error:
            if len(group) > 1:
                return [answer for rows in group for answer in self._commit([rows])]
            return [Invalid(f"The batch contradicts the ledger, nothing was written: {getattr(error, 'orig', error)}")]
        except (SQLAlchemyError, sqlite3.Error, OSError, StorageFailed) as error:
            return self._commit(group) if self._given_space(error) else [self._meaning(error)] * len(group)

    def _given_space(self, error: Exception) -> bool:
        return database.is_full(error) and self._reserve.release()

    def _meaning(self, error: Exception) -> DtmsError:
        answer = error if isinstance(error, StorageFailed) else database.commit_error(error)
        if isinstance(answer, StorageFailed):
            self.failure = answer
        return answer

    def _store(self, group: Sequence[Rows]) -> list[int]:
        last, answers = self._last, []
        merged = Rows()
        for rows in group:
            merged.facts.extend(rows.facts)
            merged.trades.extend(rows.trades)
            merged.intents.extend(rows.intents)
            merged.alerts.extend(rows.alerts)
            for row in rows.events:
                last += 1
                merged.events.append(numbered(row, last))
            answers.append(last)
        facts = self._facts | {row["name"]: row["value"] for row in merged.facts}
        with self._connection.begin():
            if self._foreign_writes() != self._version:
                raise StorageFailed(
                    "Another program has written into the ledger. Start again: it is checked as a whole"
                )
            seal = self._sealed(merged, facts)
            self._execute(self._meta, merged.facts)
            self._raw.execute("UPDATE meta SET value = ? WHERE name = ?", (seal.text(), SEAL))
            self._execute(self._trades, merged.trades)
            self._execute(self._intents, merged.intents)
            self._execute(self._alerts, merged.alerts)
            self._execute(self._events, merged.events)
        if database.identity(self._files) != self._identity:
            message = f"{self._files[0]} or its log was replaced while the service ran"
            raise OSError(message)
        self._last, self._facts, self._seal = last, facts, seal
        self._mark()
        return answers

    def _sealed(self, rows: Rows, facts: Mapping[str, str]) -> Seal:
        """The seal over what there will be after ``rows`` are stored; reads the digests of those they replace."""
        sums = dict(self._seal.sums)
        of_tables = ((TRADES, rows.trades), (INTENTS, rows.intents), (ALERTS, rows.alerts), (EVENTS, rows.events))
        for table, new in of_tables:
            if new:
                key = key_of(table)
                written = {row[key]: row["digest"] for row in new}  # of two in one group the later stays
                replaced = [] if table is EVENTS else self._digests(table, written)
                sums[table.name] = sums[table.name].changed(written.values(), replaced)
        return Seal(self._seal.commits + 1, facts_digest(facts) if rows.facts else self._seal.facts, sums)

    def _digests(self, table: Table, keys: Iterable[int]) -> list[str]:
        """Digests of those rows that exist. Past Core: with it a commit of one row took a third longer."""
        wanted = ",".join(str(int(key)) for key in keys)
        text = f"SELECT digest FROM {table.name} WHERE {key_of(table)} IN ({wanted})"  # noqa: S608 -- numbers, and names of ours
        return [digest for (digest,) in self._raw.execute(text)]

    def _foreign_writes(self) -> int:
        """A number that changes when another connection has written; it may be asked inside a transaction only."""
        (version,) = self._raw.execute("PRAGMA data_version").fetchone()
        return int(version)

    def _mark(self) -> None:
        try:
            self._marker.write(Mark(self._facts[LINEAGE], self._seal.commits))
        except OSError:  # the commit is on disk; a marker that is behind only sees less
            log.warning("marker_not_written", exc_info=True)

    def _execute(self, text: str, rows: list[Row]) -> None:
        if rows:
            self._connection.exec_driver_sql(text, rows)


class InlineWriter:
    """The writer on the event loop itself."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    @classmethod
    async def start(cls, connect: Callable[[], Writer]) -> InlineWriter:
        """Open with ``connect``; raises what it raises."""
        return cls(connect())

    async def commit(self, batch: Batch) -> int:
        """The sequence of the last event stored so far. Raises `DtmsError`."""
        return _result(self._writer.commit([batch])[0])

    async def read(self, read: Read[T]) -> T:
        """Answer of ``read``. Raises `DtmsError`."""
        return _result(self._writer.read(read))

    @property
    def failure(self) -> StorageFailed | None:
        """Why nothing is written any more."""
        return self._writer.failure

    async def close(self) -> None:
        """Close the connection."""
        self._writer.close()


@dataclass(frozen=True, slots=True)
class _Job:
    ask: Batch | Read[Any]
    answer: asyncio.Future[Any]


class ThreadedWriter:
    """The writer on its own thread, which alone touches the connection from its opening to its end."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._wake = threading.Condition()
        self._waiting: list[_Job] = []
        self._closing = False
        self.failure: StorageFailed | None = None
        """Why nothing is written any more."""

    @classmethod
    async def start(cls, connect: Callable[[], Writer]) -> ThreadedWriter:
        """Start the thread and open with ``connect`` on it; raises what that raises."""
        self = cls()
        opened = self._loop.create_future()
        # A daemon, because an interpreter that ends without close() must not wait here for ever; what is not answered
        # is not promised.
        threading.Thread(target=self._serve, args=(connect, opened), name="ledger-writer", daemon=True).start()
        try:
            await opened
        except asyncio.CancelledError:
            await self.close()  # a stop during the start must not leave the database open
            raise
        return self

    async def commit(self, batch: Batch) -> int:
        """The sequence of the last event stored so far, after the commit. Raises `DtmsError`."""
        return int(await self._hand_over(batch))

    async def read(self, read: Read[T]) -> T:
        """Answer of ``read`` on the writer's connection. Raises `DtmsError`."""
        answer: T = await self._hand_over(read)
        return answer

    async def close(self) -> None:
        """Commit what waits, close the connection, end the thread."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        await asyncio.shield(self._ended)

    async def _hand_over(self, ask: Batch | Read[Any]) -> Any:
        job = _Job(ask, self._loop.create_future())
        with self._wake:
            if self._closing:
                raise self.failure or StorageBusy("The ledger is closed; nothing was written")
            self._waiting.append(job)
            self._wake.notify()
        return await job.answer

    def _serve(self, connect: Callable[[], Writer], opened: asyncio.Future[None]) -> None:
        jobs: list[_Job] = []
        try:
            with contextlib.closing(connect()) as writer:
                self._tell([(opened, None)])
                while jobs := self._take():
                    self._work(writer, jobs)
        except DtmsError as error:
            self._tell([(opened, error)])
        finally:  # also when the thread dies of a defect: nobody may wait for ever
            with self._wake:
                self._closing = True
                left = [*jobs, *self._waiting]
            if left:
                self.failure = StorageFailed()
            self._tell(
                [*((job.answer, StorageFailed()) for job in left), (opened, StorageFailed()), (self._ended, None)]
            )

    def _take(self) -> list[_Job]:
        """Everything that waits; nothing only when the ledger is closed."""
        with self._wake:
            while not self._waiting and not self._closing:
                self._wake.wait()
            jobs, self._waiting = self._waiting, []
            return jobs

    def _work(self, writer: Writer, jobs: Sequence[_Job]) -> None:
        batches = [(job.answer, job.ask) for job in jobs if isinstance(job.ask, Batch)]
        if batches:
            answers = writer.commit([batch for _, batch in batches])
            self.failure = writer.failure
            self._tell(zip((answer for answer, _ in batches), answers, strict=True))
        for job in jobs:
            if not isinstance(job.ask, Batch):
                self._tell([(job.answer, writer.read(job.ask))])

    def _tell(self, answers: Iterable[tuple[asyncio.Future[Any], object]]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            self._loop.call_soon_threadsafe(_settle, list(answers))


def _settle(answers: Iterable[tuple[asyncio.Future[Any], object]]) -> None:
    for future, answer in answers:
        if future.done():  # its caller was cancelled, or it has its answer
            continue
        if isinstance(answer, DtmsError):
            future.set_exception(_fresh(answer))
        else:
            future.set_result(answer)


def _result(answer: T | DtmsError) -> T:
    if isinstance(answer, DtmsError):
        raise _fresh(answer)
    return answer


def _fresh(error: DtmsError) -> DtmsError:
    """A copy to raise: one error answers many callers, and each adds its own traceback."""
    copy = type(error)(error.detail, **error.facts)
    copy.__cause__ = error.__cause__
    return copy
