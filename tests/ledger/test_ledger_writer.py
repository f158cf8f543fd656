from __future__ import annotations

import asyncio
import sqlite3
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ledger_values import INSTANCE, a_trade, an_event
from sqlalchemy import Connection, Engine, event

from dtms_service.domain.errors import Invalid, StorageBusy, StorageFailed
from dtms_service.domain.record import Batch
from dtms_service.ledger import database
from dtms_service.ledger.store import SqlLedger


@pytest.fixture
def commits() -> Iterator[list[Connection]]:
    """One entry per transaction that was committed by any engine."""
    seen: list[Connection] = []

    def note(connection: Connection) -> None:
        seen.append(connection)

    event.listen(Engine, "commit", note)
    yield seen
    event.remove(Engine, "commit", note)


class Gate:
    """Holds the writer's thread, so that everything handed over meanwhile waits at the same moment."""

    def __init__(self, ledger: SqlLedger) -> None:
        self._open = threading.Event()
        self._held = asyncio.ensure_future(ledger._writer.read(self._hold))

    def _hold(self, _: Connection) -> None:
        assert self._open.wait(5)

    async def release(self) -> None:
        await asyncio.sleep(0)
        self._open.set()
        await self._held


async def _together(ledger: SqlLedger, batches: list[Batch]) -> list[Any]:
    gate = Gate(ledger)
    await asyncio.sleep(0)
    answers = asyncio.gather(*(ledger.commit(batch) for batch in batches), return_exceptions=True)
    await gate.release()
    return await answers


async def test_everything_that_waits_is_one_transaction(ledger: SqlLedger, commits: list[Connection]) -> None:
    answers = await _together(ledger, [Batch((an_event(n),), (a_trade(n),)) for n in range(1, 65)])
    assert answers == list(range(1, 65))
    assert len(commits) == 2  # the gate's own, and one for all 64
    assert len((await ledger.load()).trades) == 64


async def test_callers_share_a_transaction_but_keep_their_own_numbers(ledger: SqlLedger) -> None:
    two, none, three = (Batch(events=tuple(an_event(n) for _ in range(n))) for n in (2, 0, 3))
    assert await _together(ledger, [two, none, three]) == [2, 2, 5]
    assert [stored.body["n"] for stored in await ledger.events()] == [2, 2, 3, 3, 3]


async def test_one_batch_at_fault_does_not_spoil_the_others_of_its_group(ledger: SqlLedger) -> None:
    await ledger.commit(Batch((), (a_trade(1),)))
    batches = [
        Batch((an_event(2),), (a_trade(2),)),
        Batch((an_event(3),), (a_trade(3, identifier=1001),)),  # the position of trade 1
        Batch((an_event(4),), (a_trade(4, volume=float("nan")),)),
        Batch((an_event(5),), (a_trade(5, ticket=2**63),)),
        Batch((an_event(6),), (a_trade(6),)),
    ]
    first, second, third, fourth, fifth = await _together(ledger, batches)
    assert (first, fifth) == (1, 2)
    assert [type(answer) for answer in (second, third, fourth)] == [Invalid] * 3
    assert [trade.trade_id for trade in (await ledger.load()).trades] == [1, 2, 6]
    assert [stored.body for stored in await ledger.events()] == [{"n": 2}, {"n": 6}]


async def test_nobody_is_answered_before_the_commit(ledger: SqlLedger) -> None:
    reached, go = threading.Event(), threading.Event()

    def hold(_: Connection) -> None:
        reached.set()
        assert go.wait(5)

    event.listen(Engine, "commit", hold)
    caller = asyncio.ensure_future(ledger.commit(Batch((an_event(),))))
    assert await asyncio.to_thread(reached.wait, 5)
    assert not caller.done()
    assert await ledger.events() == ()
    go.set()
    assert await caller == 1
    event.remove(Engine, "commit", hold)
    assert len(await ledger.events()) == 1


async def test_a_caller_that_went_away_does_not_disturb_the_others(ledger: SqlLedger) -> None:
    gate = Gate(ledger)
    leaving, staying = (asyncio.ensure_future(ledger.commit(Batch((an_event(n),)))) for n in (1, 2))
    await asyncio.sleep(0)
    leaving.cancel()
    await gate.release()
    assert await staying == 2
    assert len(await ledger.events()) == 2


async def test_a_database_in_other_hands_is_busy_and_nothing_is_written(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_S", 0.02)
    ledger = await SqlLedger.open(url, draw=lambda _: INSTANCE)
    other = sqlite3.connect(ledger.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    busy = await _together_busy(ledger)
    assert [type(answer) for answer in busy] == [StorageBusy] * 3
    other.execute("ROLLBACK")
    other.close()
    assert await ledger.commit(Batch((an_event(9),))) == 1
    assert [stored.body for stored in await ledger.events()] == [{"n": 9}]
    await ledger.close()


async def _together_busy(ledger: SqlLedger) -> list[Any]:
    return await asyncio.gather(*(ledger.commit(Batch((an_event(n),))) for n in range(3)), return_exceptions=True)


async def test_a_full_disk_is_busy_and_recovers_by_itself(ledger: SqlLedger) -> None:
    def limit(pages: int, connection: Connection) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    await ledger._writer.read(partial(limit, 1))  # never below what the file has already
    big = Batch(events=tuple(an_event(body={"text": "x" * 5000}) for _ in range(20)))
    with pytest.raises(StorageBusy, match="full"):
        await ledger.commit(big)
    assert await ledger.events() == ()
    await ledger._writer.read(partial(limit, 1_000_000))
    assert await ledger.commit(big) == 20


class Failing(sqlite3.Connection):
    """A disk whose next sync fails although the data arrives: ``reliability.md`` T7."""

    armed = False

    def commit(self) -> None:
        super().commit()
        if Failing.armed:
            raise sqlite3.OperationalError("disk I/O error")


@pytest.mark.parametrize("inline", [False, True])
async def test_after_a_commit_of_unknown_outcome_nothing_is_done_any_more(
    url: str, inline: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite3.dbapi2, "connect", partial(sqlite3.dbapi2.connect, factory=Failing))
    ledger = await SqlLedger.open(url, draw=lambda _: INSTANCE, inline=inline)
    monkeypatch.setattr(Failing, "armed", True)
    with pytest.raises(StorageFailed, match="may or may not be on disk: disk I/O error"):
        await ledger.commit(Batch((an_event(),)))
    monkeypatch.setattr(Failing, "armed", False)
    for call in (lambda: ledger.commit(Batch()), ledger.load, ledger.events):
        with pytest.raises(StorageFailed, match="disk I/O error"):
            await call()
    await ledger.close()
    again = await SqlLedger.open(url, draw=lambda _: INSTANCE)
    assert len(await again.events()) == 1  # only the disk knew
    await again.close()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not delete an open file")
@pytest.mark.parametrize("suffix", ["", "-wal"])
async def test_a_commit_into_a_deleted_file_is_not_acknowledged(ledger: SqlLedger, suffix: str) -> None:
    await ledger.commit(Batch((an_event(),)))
    ledger.path.with_name(ledger.path.name + suffix).unlink()
    with pytest.raises(StorageFailed):
        await ledger.commit(Batch((an_event(),)))


async def test_a_defect_that_ends_the_writer_is_loud_and_leaves_nobody_waiting(
    ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", shown.append)
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "ledger-writer")
    gate = Gate(ledger)
    await asyncio.sleep(0)
    defect = asyncio.ensure_future(ledger._writer.read(lambda _: 1 // 0))
    await asyncio.sleep(0)
    behind = asyncio.ensure_future(ledger.load())
    await gate.release()
    for waiting in (defect, behind):
        with pytest.raises(StorageFailed):
            await waiting
    with pytest.raises(StorageFailed):
        await ledger.commit(Batch((an_event(),)))
    thread.join(5)
    assert [failure.exc_type for failure in shown] == [ZeroDivisionError]


async def test_one_connection_can_write_and_every_other_is_read_only(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    plain = sqlite3.connect

    def connect(name: str, **options: Any) -> sqlite3.Connection:
        opened.append(str(name))
        return plain(name, **options)

    for module in (sqlite3, sqlite3.dbapi2):
        monkeypatch.setattr(module, "connect", connect)
    ledger = await SqlLedger.open(url, draw=lambda _: INSTANCE)
    await asyncio.gather(*(ledger.commit(Batch((an_event(n),))) for n in range(20)))
    await asyncio.gather(*(ledger.events() for _ in range(5)))
    await ledger.load()
    await ledger.close()
    assert [name for name in opened if "mode=ro" not in name] == [str(Path(ledger.path))]
    assert len(opened) > 1


async def test_a_commit_is_synced_to_the_disk(ledger: SqlLedger) -> None:
    def pragmas(connection: Connection) -> list[Any]:
        return [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")]

    assert await ledger._writer.read(pragmas) == ["wal", 2]  # 2 is FULL


async def test_an_opening_that_is_cancelled_lets_go_of_the_database(url: str) -> None:
    opening = asyncio.ensure_future(SqlLedger.open(url, draw=lambda _: INSTANCE))
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    path = database.path_of(url)
    left = sorted(file.name for file in path.parent.iterdir())
    assert left == [path.name, f"{path.name}.used"]  # its log went with the last connection
