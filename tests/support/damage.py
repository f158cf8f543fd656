"""Damage to a ledger's files, and a judge who knows what was committed: refused, harmless, or not seen by anybody.

Injected errors come at the boundary of the DBAPI (a subclass of ``sqlite3.Connection``, on any system) and, on POSIX,
from the system itself: a process that may not make its files longer (``RLIMIT_FSIZE``), so that SQLite's own writes
fail in the middle.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from dtms_service.domain import magic
from dtms_service.domain.alerts import Alert, Wanted, raised
from dtms_service.domain.errors import DtmsError, StorageBusy, StorageFailed
from dtms_service.domain.record import Batch
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import Event, Intent, IntentState, ObligationKind, Trade
from dtms_service.domain.values import Side
from dtms_service.ledger import copies
from dtms_service.ledger.store import SqlLedger

INSTANCE = 417
FILE = "dtms.db"
TABLES = {"trades": "trade_id", "intents": "magic", "events": "sequence", "alerts": "alert_id", "meta": "name"}
TRADES, INTENTS = 24, 30
_LOG_HEAD = 32
"""Bytes before the first frame of a log, https://www.sqlite.org/fileformat2.html#walformat."""
_OWN = {"seal", "lineage", "instance"}


class Verdict(StrEnum):
    """What became of a damaged ledger."""

    AT_START = "refused at the start"
    IN_USE = "refused when it was read"
    BY_VERIFY = "found by verify"
    HARMLESS = "harmless: all that was committed is read"
    UNSEEN = "NOT SEEN: something else is read"
    EMPTY = "SILENTLY EMPTY: trades are missing"
    CRASHED = "CRASHED with something that is no error of ours"


BAD = {Verdict.UNSEEN, Verdict.EMPTY, Verdict.CRASHED}


@dataclass(frozen=True)
class Contents:
    """Everything that can be read of a ledger, through it and past it."""

    recorded: object
    events: object
    rows: dict[str, list[Any]]


def a_trade(number: int, **changes: Any) -> Trade:
    trade = Trade(
        trade_id=number,
        login=5012345,
        server="Broker-Demo",
        ticket=1000 + number,
        identifier=1000 + number,
        symbol="XAUUSD",
        side=Side.BUY,
        volume=0.3,
        initial_volume=0.3,
        entry_price=2012.34,
        stop_loss=2002.5,
        take_profit=None,
        initial_stop_loss=2002.5,
        state=TradeState.HEALTHY,
        state_since=1_700_000_000.0,
        registered_at=1_700_000_000.0 + number,
    )
    return replace(trade, **changes)


def an_event(number: int, kind: str = "registered") -> Event:
    return Event(time=1.7e9 + number, kind=kind, trade_id=number, ticket=1000 + number, body={"n": number})


def an_intent(sequence: int, state: IntentState) -> Intent:
    return Intent(
        magic=magic.make(INSTANCE, sequence),
        trade_id=1 + sequence % TRADES,
        kind=ObligationKind.TIGHTEN_STOP,
        episode=sequence,
        leg=1,
        state=state,
        plan={"stop_loss": 2005.0},
        before={"volume": 0.3},
        reason="score_warns",
        created_at=1_700_000_000.0,
        sending_at=1_700_000_000.0,
    )


def an_alert(number: int, **changes: Any) -> Alert:
    event = Event(
        time=1.7e9 + number, kind="alert", trade_id=number, ticket=1000 + number, body={"code": "c", "detail": "d"}
    )
    (alert,) = raised({}, [event], number - 1)
    return replace(alert, **changes)


def history() -> Iterator[Batch]:
    """Commits of a small life: registrations, orders and their replies, closings, a fact."""
    for number in range(1, TRADES + 1):
        facts = {"account": "5012345@Broker-Demo"}
        yield Batch((an_event(number),), (a_trade(number),), facts=facts, alerts=(an_alert(number),))
    for sequence in range(1, INTENTS + 1):
        yield Batch(intents=(an_intent(sequence, IntentState.SENDING),))
        number = 1 + sequence % TRADES
        done = IntentState.CONFIRMED if sequence % 3 else IntentState.UNKNOWN
        tightened = a_trade(number, stop_loss=2005.0 + sequence)
        yield Batch((an_event(number, "action"),), (tightened,), (an_intent(sequence, done),))
    for number in range(1, TRADES // 2):
        closed = a_trade(number, state=TradeState.CLOSED, closed_at=1_700_100_000.0 + number)
        seen = an_alert(number, acknowledged_at=1_700_100_000.0, acknowledged_by="anna")
        yield Batch((an_event(number, "closed"),), (closed,), alerts=(seen,))


async def _open(folder: Path) -> SqlLedger:
    return await SqlLedger.open(f"sqlite:///{folder / FILE}", draw=lambda _: INSTANCE, inline=True)


async def _fill(folder: Path, killed: Path) -> None:
    ledger = await _open(folder)
    for batch in history():
        await ledger.commit(batch)
    shutil.copytree(folder, killed, ignore=shutil.ignore_patterns("*-shm", killed.name))
    await ledger.close()


@dataclass(frozen=True)
class Sample:
    """One life, as two folders: closed as it should be, and as a kill leaves it, with all of it in the log."""

    closed: Path
    killed: Path
    expected: Contents

    @classmethod
    def make(cls, folder: Path) -> Sample:
        closed, killed = folder / "closed", folder / "killed"
        closed.mkdir(parents=True)
        asyncio.run(_fill(closed, killed))
        read = folder / "read"
        shutil.copytree(closed, read)
        return cls(closed, killed, asyncio.run(_contents(read)))

    def judge(self, work: Path, spoil: Callable[[Path], object], *, killed: bool = False) -> Verdict:
        """Copy the sample to ``work``, spoil that folder, and see what a start makes of it."""
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(self.killed if killed else self.closed, work)
        spoil(work)
        return asyncio.run(self._verdict(work))

    async def _verdict(self, work: Path) -> Verdict:
        verdict, found = Verdict.AT_START, None
        try:
            ledger = await _open(work)
            verdict = Verdict.IN_USE
            try:
                found = await _read(ledger)
            finally:
                await ledger.close()
        except StorageFailed:
            return verdict
        except Exception:  # noqa: BLE001 -- whatever else comes out, a lock that would pass included, is the finding
            return Verdict.CRASHED
        return Verdict.HARMLESS if found == self.expected else self._unlike(found, work)

    def _unlike(self, found: Contents, work: Path) -> Verdict:
        try:
            copies.verify(work / FILE)
        except StorageFailed:
            return Verdict.BY_VERIFY
        fewer = len(found.rows["trades"]) < len(self.expected.rows["trades"])
        return Verdict.EMPTY if fewer else Verdict.UNSEEN


async def _contents(folder: Path) -> Contents:
    ledger = await _open(folder)
    try:
        return await _read(ledger)
    finally:
        await ledger.close()


async def _read(ledger: SqlLedger) -> Contents:
    recorded = await ledger.load()
    events: list[object] = [await ledger.events(limit=1_000_000)]
    events += [await ledger.events(trade_id=number) for number in range(TRADES + 2)]
    events += [await ledger.events(kind=kind) for kind in ("registered", "action", "closed")]
    events += [await ledger.alerts(Wanted(limit=None))]
    with contextlib.closing(sqlite3.connect(ledger.path)) as plain:
        plain.text_factory = bytes
        rows = {name: plain.execute(f"SELECT * FROM {name} ORDER BY {key}").fetchall() for name, key in TABLES.items()}  # noqa: S608 -- names of ours
    rows["meta"] = [row for row in rows["meta"] if row[0].decode("utf-8", "replace") not in _OWN]
    return Contents(recorded, events, rows)


def pages_of(path: Path, *tables: str) -> list[int]:
    """Offsets of all pages of the tables and of their indexes; from the file format, dbstat is not in every SQLite."""
    with contextlib.closing(sqlite3.connect(path)) as plain:
        (size,) = plain.execute("PRAGMA page_size").fetchone()
        roots = [root for name, root in plain.execute("SELECT tbl_name, rootpage FROM sqlite_master") if name in tables]
    data, found, todo = path.read_bytes(), [], list(roots)
    while todo:
        page = todo.pop()
        start = (page - 1) * size
        found.append(start)
        kind, cells = data[start], int.from_bytes(data[start + 3 : start + 5])
        if kind in {2, 5}:  # interior pages of an index, of a table
            todo.append(int.from_bytes(data[start + 8 : start + 12]))
            for number in range(cells):
                at = start + 12 + 2 * number
                cell = start + int.from_bytes(data[at : at + 2])
                todo.append(int.from_bytes(data[cell : cell + 4]))
    return sorted(found)


def flip(path: Path, bit: int) -> None:
    """Change one bit of a file."""
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def cut(path: Path, length: int) -> None:
    """Make a file shorter."""
    os.truncate(path, length)


def by_hand(work: Path, *statements: str) -> None:
    """What another program writes into the database."""
    with contextlib.closing(sqlite3.connect(work / FILE)) as other, other:
        for statement in statements:
            other.execute(statement)


def bit_flips(sample: Sample, work: Path, chances: Random, number: int) -> Iterator[Verdict]:
    """One random bit each in the pages of trades and intents, rows and indexes."""
    yield from _flips(sample, work, chances, number, "trades", "intents")


def flips_in_alerts(sample: Sample, work: Path, chances: Random, number: int) -> Iterator[Verdict]:
    """One random bit each in the pages of alerts, rows and indexes."""
    yield from _flips(sample, work, chances, number, "alerts")


def _flips(sample: Sample, work: Path, chances: Random, number: int, *tables: str) -> Iterator[Verdict]:
    pages = pages_of(sample.closed / FILE, *tables)
    for _ in range(number):
        bit = chances.choice(pages) * 8 + chances.randrange(4096 * 8)
        yield sample.judge(work, lambda folder, bit=bit: flip(folder / FILE, bit))  # type: ignore[misc]


def log_flips(sample: Sample, work: Path, chances: Random, number: int) -> Iterator[Verdict]:
    """One random bit each in the write-ahead log that a kill left behind."""
    log = FILE + "-wal"
    size = (sample.killed / log).stat().st_size
    for _ in range(number):
        bit = chances.randrange(size * 8)
        yield sample.judge(work, lambda folder, bit=bit: flip(folder / log, bit), killed=True)  # type: ignore[misc]


def commits_of(log: bytes) -> Iterator[int]:
    """Where each commit ends: its last frame says how many pages the database has from then on, others say 0."""
    frame = 24 + 4096
    for at in range(_LOG_HEAD, len(log), frame):
        if log[at + 4 : at + 8] != bytes(4):
            yield at + frame


def log_ends(sample: Sample, work: Path) -> Iterator[Verdict]:
    """The log that a kill left behind, cut after each of its commits but the last, and after none of them."""
    log = FILE + "-wal"
    ends = list(commits_of((sample.killed / log).read_bytes()))
    for length in (_LOG_HEAD, *ends[:-1]):
        yield sample.judge(work, lambda folder, length=length: cut(folder / log, length), killed=True)  # type: ignore[misc]


def truncations(sample: Sample, work: Path, chances: Random, number: int) -> Iterator[Verdict]:
    """The database or the log of a kill, cut anywhere, at a page, or to nothing, in turns."""
    for turn in range(number):
        killed = turn % 2 == 1
        name = FILE + "-wal" if killed else FILE
        size = ((sample.killed if killed else sample.closed) / name).stat().st_size
        length = [chances.randrange(size), chances.randrange(size) // 4096 * 4096, 0][
            0 if turn % 10 else 2 - turn % 20 // 10
        ]
        yield sample.judge(work, lambda folder, name=name, length=length: cut(folder / name, length), killed=killed)  # type: ignore[misc]


def foreign_rows(sample: Sample, work: Path, chances: Random, number: int) -> Iterator[Verdict]:
    """A row taken out, put in again under another number, or changed, by another program, past the service."""
    for turn in range(number):
        table, key = [pair for pair in TABLES.items() if pair[0] != "meta"][turn % 4]
        rows = [row[0] for row in sample.expected.rows[table]]
        one = chances.choice(rows)
        statement = [
            f"DELETE FROM {table} WHERE {key} = {one}",  # noqa: S608 -- names and numbers of ours
            f"UPDATE {table} SET {key} = {max(rows) + 1} WHERE {key} = {one}",  # noqa: S608 -- as above
            f"UPDATE {table} SET body = body || ' ' WHERE {key} = {one}",  # noqa: S608 -- as above
        ][turn // 4 % 3]
        yield sample.judge(work, lambda folder, statement=statement: by_hand(folder, statement))  # type: ignore[misc]


# Errors of the disk.


@dataclass
class Trouble:
    """The ``at``-th call of the driver fails, before or after it did its work; 0: none does, and they are counted."""

    at: int
    after: bool
    code: int = sqlite3.SQLITE_IOERR
    calls: int = 0

    def around(self, work: Callable[[], Any]) -> Any:
        self.calls += 1
        fails = self.calls == self.at
        if fails and not self.after:
            self._fail()
        answer = work()
        if fails:
            self._fail()
        return answer

    def _fail(self) -> None:
        text = "database or disk is full" if self.code == sqlite3.SQLITE_FULL else "disk I/O error"
        error = sqlite3.OperationalError(text)
        error.sqlite_errorcode = self.code
        raise error


class _Cursor(sqlite3.Cursor):
    trouble: Trouble

    def execute(self, *arguments: Any) -> Any:
        return self.trouble.around(lambda: super(_Cursor, self).execute(*arguments))

    def executemany(self, *arguments: Any) -> Any:
        return self.trouble.around(lambda: super(_Cursor, self).executemany(*arguments))


class _Connection(sqlite3.Connection):
    def __init__(self, *arguments: Any, trouble: Trouble, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.trouble = trouble

    def cursor(self, factory: Any = _Cursor) -> Any:
        made = super().cursor(factory)
        made.trouble = self.trouble
        return made

    def execute(self, *arguments: Any) -> Any:
        return self.trouble.around(lambda: super(_Connection, self).execute(*arguments))

    def commit(self) -> None:
        try:
            self.trouble.around(super().commit)
        except sqlite3.OperationalError:
            self.rollback()  # as SQLite does where there is something to roll back
            raise


@contextlib.contextmanager
def troubled(trouble: Trouble) -> Iterator[Trouble]:
    """Every connection made meanwhile, by the ledger or by SQLAlchemy, meets the trouble."""
    plain = sqlite3.connect
    troubling = partial(plain, factory=partial(_Connection, trouble=trouble))
    modules: list[Any] = [sqlite3, sqlite3.dbapi2]
    for module in modules:
        module.connect = troubling
    try:
        yield trouble
    finally:
        for module in modules:
            module.connect = plain


@dataclass
class Life:
    """Numbers of the commits that were answered with success, and what the first other answer was."""

    acknowledged: list[int] = field(default_factory=list)
    failure: DtmsError | None = None


async def live(folder: Path, numbers: Iterable[int], told: Callable[[int], object] | None = None) -> Life:
    """Open, and store trades of these numbers with their events, until the ledger refuses."""
    life = Life()
    try:
        ledger = await _open(folder)
    except DtmsError as error:
        life.failure = _bare(error)
        return life
    try:
        for number in numbers:
            try:
                await ledger.commit(Batch((an_event(number),), (a_trade(number),)))
            except DtmsError as error:
                life.failure = life.failure or _bare(error)
                if isinstance(error, StorageFailed):
                    await _stays_refused(ledger)
                    break
            else:
                life.acknowledged.append(number)
                if told is not None:
                    told(number)
    finally:
        with contextlib.suppress(sqlite3.Error, OSError):
            await ledger.close()
    return life


def _bare(error: DtmsError) -> DtmsError:
    """Without its traceback, which would keep cursors of a dead connection, and with them locks, alive."""
    return type(error)(error.detail)


async def _stays_refused(ledger: SqlLedger) -> None:
    for call in (ledger.commit(Batch()), ledger.load(), ledger.events()):
        try:
            await call
        except StorageFailed:
            continue
        raise AssertionError("after a commit of unknown outcome the ledger still answered")


async def check_kept(folder: Path, acknowledged: list[int]) -> int:
    """All that was acknowledged is there, and nothing is there by half; how many commits there are."""
    if not (folder / FILE).exists():
        assert not acknowledged, "the file is gone"
        return 0
    ledger = await _open(folder)
    try:
        recorded, events = await ledger.load(), await ledger.events(limit=1_000_000)
    finally:
        await ledger.close()
    stored = {trade.trade_id: trade for trade in recorded.trades}
    assert set(acknowledged) <= set(stored), f"lost: {sorted(set(acknowledged) - set(stored))}"
    assert all(trade == a_trade(number) for number, trade in stored.items()), "a trade differs"
    assert sorted(stored) == [event.trade_id for event in events], "a commit is there by half"
    copies.verify(folder / FILE)
    return len(stored)


def io_errors(work: Path, chances: Random, number: int, commits: int = 6) -> Iterator[str]:
    """An I/O error, or a full disk, at a random call of the driver; a word for how it went.

    Raises ``AssertionError`` at a lost commit, at half of one, and when the ledger goes on after an unknown outcome.
    """
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    with troubled(Trouble(0, after=False)) as counted:
        asyncio.run(live(work, range(1, commits + 1)))
    for turn in range(number):
        full, after = turn % 4 == 3, turn % 2 == 0
        code = sqlite3.SQLITE_FULL if full else sqlite3.SQLITE_IOERR
        trouble = Trouble(chances.randint(1, counted.calls), after=after, code=code)
        shutil.rmtree(work)
        work.mkdir()
        with troubled(trouble):
            life = asyncio.run(live(work, range(1, commits + 1)))
        gc.collect()  # a process that ends would let go of its locks
        kept = asyncio.run(check_kept(work, life.acknowledged))
        if life.failure is None:
            yield "met no call that mattered"  # a read ahead, or the closing
        elif isinstance(life.failure, StorageBusy):
            assert full, f"an I/O error was called busy: {life.failure.detail}"
            assert kept == len(life.acknowledged), "busy, and written all the same"
            yield "busy: nothing was written"
        else:
            yield "failed: the outcome was unknown"


def read_errors(work: Path, chances: Random, number: int, commits: int = 6) -> Iterator[str]:
    """An I/O error at a random call while a ledger that holds trades is opened and read; a word for how it went.

    Raises ``AssertionError`` when less is read than there is, or when an error of reading changed anything.
    """
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    numbers = list(range(1, commits + 1))
    asyncio.run(live(work, numbers))
    with troubled(Trouble(0, after=False)) as counted:
        asyncio.run(_counted(work))
    for turn in range(number):
        with troubled(Trouble(chances.randint(1, counted.calls), after=turn % 2 == 0)):
            try:
                seen = asyncio.run(_counted(work))
            except (StorageFailed, StorageBusy):
                yield "refused"
            else:
                assert seen == (commits, commits), f"{seen} of {commits} trades and events were read"
                yield "all was read"
        gc.collect()  # as above
        assert asyncio.run(check_kept(work, numbers)) == commits


async def _counted(folder: Path) -> tuple[int, int]:
    """How many trades and events a life reads at its start."""
    ledger = await _open(folder)
    try:
        recorded, events = await ledger.load(), await ledger.events(limit=1_000_000)
        return len(recorded.trades), len(events)
    finally:
        with contextlib.suppress(sqlite3.Error, OSError, DtmsError):
            await ledger.close()


def short_files(work: Path, chances: Random, number: int, commits: int = 40) -> Iterator[str]:
    """As ``io_errors``, with errors of the system: a child may not make any file longer than a random limit."""
    for _ in range(number):
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        asyncio.run(live(work, [1]))
        acknowledged, failed = _in_a_child(work, chances.randrange(40_000, 700_000), commits)
        asyncio.run(check_kept(work, [1, *acknowledged]))
        assert failed or len(acknowledged) == commits - 1, "the child ended without a word"
        yield "failed: the file could not grow" if failed else "fitted"


if sys.platform == "win32":

    def _in_a_child(work: Path, limit: int, commits: int) -> tuple[list[int], bool]:
        """Windows knows no such limit: everything fits."""
        del limit
        return asyncio.run(live(work, range(2, commits + 1))).acknowledged, False

else:
    import resource

    def _in_a_child(work: Path, limit: int, commits: int) -> tuple[list[int], bool]:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            life = asyncio.run(live(work, range(2, commits + 1), lambda one: os.write(writer, f"{one}\n".encode())))
            os.write(writer, json.dumps(life.failure is not None).encode() + b"\n")
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as lines:
            told = [json.loads(line) for line in lines]
        os.waitpid(child, 0)
        failed = bool(told and told[-1] is True)
        return [number for number in told if not isinstance(number, bool)], failed
