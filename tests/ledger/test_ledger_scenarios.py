"""What happens to the ledger when its storage fails: one test or more for each scenario of the design, by number."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import damage
import pytest
from alembic import command
from alembic.config import Config
from damage import Trouble, troubled
from ledger_values import INSTANCE, a_trade, an_alert, an_event, an_intent
from sqlalchemy import Connection, create_engine

from dtms_service.domain.errors import StorageBusy, StorageFailed
from dtms_service.domain.record import Batch
from dtms_service.ledger import codec, copies, database, marker
from dtms_service.ledger.marker import marker_of
from dtms_service.ledger.store import SqlLedger


def _draw(_: int) -> int:
    return INSTANCE


async def _filled(url: str, trades: int = 1) -> Path:
    """A ledger with some trades, closed."""
    ledger = await SqlLedger.open(url, draw=_draw)
    for number in range(1, trades + 1):
        await ledger.commit(Batch((an_event(number),), (a_trade(number),)))
    await ledger.close()
    return ledger.path


def _bytes(folder: Path) -> dict[str, bytes]:
    """All files but the log's index, which is no data."""
    return {
        file.name: file.read_bytes() for file in folder.iterdir() if file.is_file() and not file.name.endswith("-shm")
    }


async def _refused(url: str, *words: str) -> None:
    """It does not start, says why and what to try, and changes nothing."""
    folder = database.path_of(url).parent
    before = _bytes(folder)
    with pytest.raises(StorageFailed) as refused:
        await SqlLedger.open(url, draw=_draw)
    for word in words:
        assert word in refused.value.detail
    assert _bytes(folder) == before


# 11: locked by another process.


async def test_scenario_11_a_locked_database_is_busy_in_time_never_blocks_the_loop_and_recovers(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert database.BUSY_S == 2.0
    monkeypatch.setattr(database, "BUSY_S", 0.3)
    ledger = await SqlLedger.open(url, draw=_draw)
    await ledger.commit(Batch((an_event(1),), (a_trade(1),)))
    longest, last = 0.0, time.perf_counter()
    with contextlib.closing(sqlite3.connect(ledger.path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        commit = asyncio.ensure_future(ledger.commit(Batch((an_event(2),), (a_trade(2),))))
        while not commit.done():
            await asyncio.sleep(0.01)
            longest, last = max(longest, time.perf_counter() - last), time.perf_counter()
        assert longest < 0.2
        with pytest.raises(StorageBusy):
            await commit
        assert len(await ledger.events()) == 1  # history can be read meanwhile
        other.execute("ROLLBACK")
    assert await ledger.commit(Batch((an_event(2),), (a_trade(2),))) == 2
    assert len((await ledger.load()).trades) == 2
    await ledger.close()


# 12: the disk is full.


async def test_scenario_12_what_was_set_aside_is_given_up_first_and_then_a_full_disk_is_busy(url: str) -> None:
    megabyte = 1024 * 1024
    trouble = Trouble(0, after=False, code=sqlite3.SQLITE_FULL)
    with troubled(trouble):
        ledger = await SqlLedger.open(url, draw=_draw, reserve=megabyte)
    reserve = ledger.path.with_name(f"{ledger.path.name}.reserve")
    assert reserve.stat().st_size == megabyte
    trouble.at = trouble.calls + 2  # once: the commit goes through with the space given up
    assert await ledger.commit(Batch((an_event(1),))) == 1
    assert not reserve.exists()
    trouble.at = trouble.calls + 2
    with pytest.raises(StorageBusy, match="full; nothing was written"):
        await ledger.commit(Batch((an_event(2),)))
    assert [event.body["n"] for event in await ledger.events()] == [1]
    assert await ledger.commit(Batch((an_event(3),))) == 2  # space came back
    await ledger.close()
    again = await SqlLedger.open(url, draw=_draw, reserve=megabyte)
    assert reserve.exists()
    await again.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MiB, where one may be made."""
    folder = tmp_path / "small"
    folder.mkdir()
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only the administrator of a Linux machine can make a small disk")
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        pytest.skip(f"no small disk here: {made.stderr}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


async def test_scenario_12_a_real_full_disk_loses_nothing_and_recovers(small_disk: Path) -> None:
    url = f"sqlite:///{small_disk / 'dtms.db'}"
    ledger = await SqlLedger.open(url, draw=_draw, reserve=1024 * 1024)
    acknowledged = 0
    (small_disk / "filler").write_bytes(bytes(1024 * 1024))
    busy: StorageBusy | None = None
    while busy is None:
        try:
            await ledger.commit(Batch((an_event(acknowledged + 1),), (a_trade(acknowledged + 1),)))
        except StorageBusy as error:
            busy = error
        else:
            acknowledged += 1
    assert "full" in busy.detail
    assert acknowledged > 10
    assert not (small_disk / "dtms.db.reserve").exists()
    assert len((await ledger.load()).trades) == len(await ledger.events(limit=10_000)) == acknowledged
    (small_disk / "filler").unlink()
    assert await ledger.commit(Batch((an_event(1),))) == acknowledged + 1
    await ledger.close()
    copies.verify(small_disk / "dtms.db")


# 13: an I/O error at the commit.


@pytest.mark.parametrize("code", [sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_CORRUPT])
@pytest.mark.parametrize("after", [False, True])
async def test_scenario_13_a_failed_commit_is_unknown_and_final_and_the_disk_says_what_is_true(
    url: str, code: int, after: bool
) -> None:
    trouble = Trouble(0, after=after, code=code)
    with troubled(trouble):
        ledger = await SqlLedger.open(url, draw=_draw)
    trouble.calls, trouble.at = 0, 5  # begin, who else wrote, seal, event, commit
    with pytest.raises(StorageFailed, match="may or may not be on disk"):
        await ledger.commit(Batch((an_event(),)))
    for call in (lambda: ledger.commit(Batch()), ledger.load, ledger.events):
        with pytest.raises(StorageFailed):
            await call()
    with pytest.raises(StorageFailed):
        ledger.look()
    await ledger.close()
    again = await SqlLedger.open(url, draw=_draw)
    assert len(await again.events()) == int(after)
    await again.close()


# 14: truncated, zeroed, missing, a folder, another database. Flipped bits are in test_ledger_corruption.


async def test_scenario_14_a_missing_database_where_one_was_used_is_refused_with_its_remedy(url: str) -> None:
    path = await _filled(url)
    path.unlink()
    await _refused(url, "it is missing", "1 commits", "dtms db restore", f"remove {marker_of(path)}")
    assert not path.exists()
    marker_of(path).unlink()  # the remedy
    fresh = await SqlLedger.open(url, draw=_draw)
    assert (await fresh.load()).trades == ()
    await fresh.close()


@pytest.mark.parametrize("length", [0, 1, 4096, 5000])
async def test_scenario_14_a_truncated_database_is_refused_and_left_as_it_is(url: str, length: int) -> None:
    path = await _filled(url)
    damage.cut(path, length)
    await _refused(url, "restore" if length else "it is empty")


async def test_scenario_14_a_folder_in_its_place_is_refused(url: str) -> None:
    path = await _filled(url)
    path.unlink()
    path.mkdir()
    with pytest.raises(StorageFailed, match="it is a folder"):
        await SqlLedger.open(url, draw=_draw)


async def test_scenario_14_zeroes_in_its_place_are_refused(url: str) -> None:
    path = await _filled(url)
    path.write_bytes(bytes(path.stat().st_size))
    await _refused(url, "not a database")


async def test_scenario_14_another_ledger_in_its_place_is_refused(url: str, tmp_path: Path) -> None:
    path = await _filled(url)
    (tmp_path / "other").mkdir()
    other = await SqlLedger.open(f"sqlite:///{tmp_path}/other/dtms.db", draw=lambda n: n - 1)
    await other.commit(Batch((an_event(),)))
    await other.close()
    shutil.copy(other.path, path)
    await _refused(url, "another ledger", "dtms db restore")


async def test_scenario_14_its_own_older_copy_is_refused_because_commits_are_missing(url: str) -> None:
    path = await _filled(url, trades=2)
    older = path.read_bytes()
    ledger = await SqlLedger.open(url, draw=_draw)
    await ledger.commit(Batch((an_event(3),), (a_trade(3),)))
    await ledger.close()
    path.write_bytes(older)
    await _refused(url, "ends at commit 2, but 3 were made", "dtms db restore")


async def test_scenario_14_a_copied_ledger_without_its_marker_gets_an_instance_of_its_own(
    url: str, tmp_path: Path
) -> None:
    path = await _filled(url)
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(path, tmp_path / "elsewhere" / "dtms.db")
    copy = await SqlLedger.open(f"sqlite:///{tmp_path}/elsewhere/dtms.db", draw=lambda n: min(n - 1, INSTANCE + 1))
    recorded = await copy.load()
    await copy.close()
    assert (recorded.instance, len(recorded.trades)) == (INSTANCE + 1, 1)


async def test_scenario_14_no_bit_of_the_marker_can_change_unseen(url: str) -> None:
    path = await _filled(url)
    whole = marker_of(path).read_bytes()
    assert len(whole) == 80
    damaged = [*(bytes(b ^ (1 << bit % 8) * (n == bit // 8) for n, b in enumerate(whole)) for bit in range(640))]
    for line in (*damaged, b"", whole[:40], whole + b" ", bytes(80), b"null"):
        marker_of(path).write_bytes(line)
        with pytest.raises(StorageFailed, match=r"is damaged; the ledger may be sound") as refused:
            marker.read(marker_of(path))
        assert f"remove {marker_of(path)} and start" in refused.value.facts["remedy"]
    await _refused(url, "the ledger may be sound")
    marker_of(path).write_bytes(whole)
    assert marker.read(marker_of(path)) is not None


async def test_scenario_14_a_marker_that_cannot_be_read_is_refused(url: str) -> None:
    path = await _filled(url)
    marker_of(path).unlink()
    marker_of(path).mkdir()
    await _refused(url, "cannot be read", str(marker_of(path)))


async def test_scenario_14_a_start_that_is_cut_short_before_its_first_commit_is_made_again(url: str) -> None:
    path = database.path_of(url)
    with contextlib.closing(sqlite3.connect(path)) as begun:
        begun.execute("PRAGMA journal_mode=WAL")
    assert path.stat().st_size > 0
    ledger = await SqlLedger.open(url, draw=_draw)
    assert (await ledger.load()).instance == INSTANCE
    await ledger.close()


# 15: deleted or exchanged while the service runs.


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not delete an open file")
@pytest.mark.parametrize("suffix", ["", "-wal"])
async def test_scenario_15_a_file_that_goes_away_or_is_exchanged_is_seen_without_a_commit(
    ledger: SqlLedger, suffix: str
) -> None:
    await ledger.commit(Batch((an_event(),)))
    ledger.look()
    file = ledger.path.with_name(ledger.path.name + suffix)
    content = file.read_bytes()
    file.unlink()
    with pytest.raises(StorageFailed, match="gone"):
        ledger.look()
    file.write_bytes(content)
    with pytest.raises(StorageFailed, match="replaced while the service ran"):
        ledger.look()


async def test_scenario_15_a_log_that_was_removed_after_a_kill_is_missed(url: str, tmp_path: Path) -> None:
    ledger = await SqlLedger.open(url, draw=_draw)
    await ledger.commit(Batch((an_event(),), (a_trade(),)))
    shutil.copytree(ledger.path.parent, tmp_path / "killed", ignore=shutil.ignore_patterns("*-shm", "killed"))
    await ledger.close()
    killed = url.replace(str(tmp_path), str(tmp_path / "killed"))
    database.path_of(killed).with_name(ledger.path.name + "-wal").unlink()
    with pytest.raises(StorageFailed):
        await SqlLedger.open(killed, draw=_draw)


# 16: tables of an older and of a newer version.


def _tables_of(path: Path, step: str) -> None:
    config = Config()
    config.set_main_option("script_location", database.SCRIPTS)
    config.set_main_option("path_separator", "os")
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, step)
    engine.dispose()


def _of_the_first_step(path: Path) -> None:
    """A ledger as the first version left it: digests are of the bodies alone, events have none, nothing is sealed."""
    _tables_of(path, "0001")
    trade, intent, event = codec.trade_row(a_trade()), codec.intent_row(an_intent()), codec.event_row(an_event())
    for row in (trade, intent):
        row["digest"] = hashlib.sha256(row["body"].encode()).hexdigest()
    with contextlib.closing(sqlite3.connect(path)) as plain, plain:
        for table, row in (("trades", trade), ("intents", intent), ("events", {"sequence": 1, **event})):
            marks = ", ".join("?" for _ in row)
            values = tuple(str(value) if isinstance(value, str) else value for value in row.values())
            plain.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", values)  # noqa: S608 -- names of ours
        plain.execute("INSERT INTO meta VALUES ('instance', '12'), ('account', '5012345@Broker-Demo')")


async def test_scenario_16_a_ledger_of_the_first_version_is_copied_brought_up_to_date_and_sealed(url: str) -> None:
    path = database.path_of(url)
    _of_the_first_step(path)
    before = copies.verify(path)
    assert (before.step, before.sealed, before.trades) == ("0001", False, 1)
    ledger = await SqlLedger.open(url, draw=_draw)
    recorded, events = await ledger.load(), await ledger.events()
    await ledger.close()
    assert (recorded.trades, recorded.open_intents) == ((a_trade(),), (an_intent(),))
    assert [event.body for event in events] == [{"n": 1}]
    assert recorded.facts == {"account": "5012345@Broker-Demo"}
    after = copies.verify(path)
    assert (after.step, after.sealed, after.intents, after.events) == ("0003", True, 1, 1)
    backup = path.with_name(path.name + ".before-0003.bak")
    assert copies.verify(backup).step == "0001"


async def test_scenario_16_a_backup_of_the_first_version_is_restored_and_sealed(url: str, tmp_path: Path) -> None:
    path = database.path_of(url)
    _of_the_first_step(path)
    copies.back_up(path, tmp_path / "first.bak", marker_of(path))
    copies.restore(tmp_path / "first.bak", path, tmp_path / "kept", marker_of(path))
    ledger = await SqlLedger.open(url, draw=_draw)
    assert (await ledger.load()).trades == (a_trade(),)
    await ledger.close()
    assert copies.verify(path, marker_of(path)).sealed


async def test_scenario_16_a_ledger_without_alerts_is_sound_and_gets_them(url: str) -> None:
    path = database.path_of(url)
    _tables_of(path, "0002")
    before = copies.verify(path)
    assert (before.step, before.sealed, before.alerts) == ("0002", True, 0)
    ledger = await SqlLedger.open(url, draw=_draw)
    await ledger.commit(Batch(trades=(a_trade(),), alerts=(an_alert(),)))
    await ledger.close()
    after = copies.verify(path)
    assert (after.step, after.sealed, after.alerts) == ("0003", True, 1)
    assert copies.verify(path.with_name(path.name + ".before-0003.bak")).step == "0002"


async def test_scenario_14_a_seal_that_says_nothing_about_the_alerts_is_refused(url: str) -> None:
    ledger = await SqlLedger.open(url, draw=_draw)
    await ledger.close()
    with contextlib.closing(sqlite3.connect(ledger.path)) as plain, plain:
        (seal,) = plain.execute("SELECT value FROM meta WHERE name = 'seal'").fetchone()
        shorter = " ".join(seal.split(" ")[:-3])
        shorter += f" {hashlib.sha256(shorter.encode()).hexdigest()}"
        plain.execute("UPDATE meta SET value = ? WHERE name = 'seal'", (shorter,))
    with pytest.raises(StorageFailed, match="says nothing about its alerts"):
        await SqlLedger.open(url, draw=_draw)


async def test_scenario_16_a_ledger_that_lost_its_seal_is_not_taken_for_one_that_never_had_one(url: str) -> None:
    path = database.path_of(url)
    _tables_of(path, "0002")
    with contextlib.closing(sqlite3.connect(path)) as plain, plain:
        plain.execute("DELETE FROM meta WHERE name = 'seal'")
    for use in (copies.verify, database.look):
        with pytest.raises(StorageFailed, match="seal is missing"):
            use(path)


async def test_scenario_16_a_ledger_whose_step_was_changed_is_not_sound(url: str) -> None:
    path = database.path_of(url)
    _tables_of(path, "0002")
    with contextlib.closing(sqlite3.connect(path)) as plain, plain:
        plain.execute("UPDATE alembic_version SET version_num = '0003'")
    with pytest.raises(StorageFailed, match="newer than its seal"):
        copies.verify(path)


async def test_what_a_killed_process_left_in_the_log_is_on_disk_before_it_is_relied_on(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A SIGKILL before the fsync leaves a commit in memory only; a power cut after the next start would take it."""
    ledger = await SqlLedger.open(url, draw=_draw)
    await ledger.commit(Batch((an_event(),), (a_trade(),)))
    killed = tmp_path / "killed"
    shutil.copytree(ledger.path.parent, killed, ignore=shutil.ignore_patterns("*-shm", "killed"))
    await ledger.close()
    synced: list[int] = []
    monkeypatch.setattr(database.os, "fsync", lambda file: synced.append(os.fstat(file).st_ino))
    again = await SqlLedger.open(f"sqlite:///{killed / ledger.path.name}", draw=_draw)
    assert (killed / f"{ledger.path.name}-wal").stat().st_ino in synced
    await again.close()


async def test_scenario_16_a_damaged_row_of_the_first_version_is_not_sealed_as_if_it_were_right(url: str) -> None:
    path = database.path_of(url)
    _of_the_first_step(path)
    with contextlib.closing(sqlite3.connect(path)) as plain, plain:
        plain.execute("UPDATE trades SET body = replace(body, '2002.5', '1002.5')")
    with pytest.raises(StorageFailed, match="1 is damaged"):
        await SqlLedger.open(url, draw=_draw)
    assert copies.verify(path).step == "0001"


async def test_scenario_16_a_ledger_of_a_newer_version_is_refused_and_left_as_it_is(url: str) -> None:
    path = await _filled(url)
    with contextlib.closing(sqlite3.connect(path)) as plain, plain:
        plain.execute("UPDATE alembic_version SET version_num = '0099'")
    await _refused(url, "step 0099", "start the newer version")
    with pytest.raises(StorageFailed, match="0099"):
        copies.verify(path)


# 17: the log's disk is full. Its handlers are in tests/edges; the ledger's own lines go the same way.


async def test_scenario_17_a_marker_that_cannot_be_written_costs_a_warning_and_not_the_commit(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = await SqlLedger.open(url, draw=_draw, inline=True)

    def full(_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ledger._writer._writer._marker, "write", full)  # type: ignore[union-attr]
    assert await ledger.commit(Batch((an_event(),))) == 1
    assert "marker_not_written" in caplog.text
    await ledger.close()
    again = await SqlLedger.open(url, draw=_draw)
    assert len(await again.events()) == 1
    await again.close()


# 18: one writer.


async def test_scenario_18_a_second_writer_is_refused_while_a_transaction_is_open(ledger: SqlLedger) -> None:
    def second(_: Connection) -> str:
        with contextlib.closing(sqlite3.connect(ledger.path, isolation_level=None, timeout=0)) as other:
            with pytest.raises(sqlite3.OperationalError) as refused:
                other.execute("BEGIN IMMEDIATE")
            return str(refused.value)

    assert "locked" in await ledger._writer.read(second)


async def test_scenario_18_a_writer_that_came_in_between_ends_the_service_and_is_seen_at_the_next_start(
    url: str,
) -> None:
    ledger = await SqlLedger.open(url, draw=_draw)
    await ledger.commit(Batch((an_event(1),), (a_trade(1),)))
    with contextlib.closing(sqlite3.connect(ledger.path)) as other, other:
        other.execute("DELETE FROM trades")
    with pytest.raises(StorageFailed, match="Another program has written"):
        await ledger.commit(Batch((an_event(2),)))
    await ledger.close()
    with pytest.raises(StorageFailed, match="0 trades where 1 were committed"):
        await SqlLedger.open(url, draw=_draw)


async def test_scenario_18_readers_and_copies_do_not_count_as_writers(ledger: SqlLedger, tmp_path: Path) -> None:
    for number in range(1, 6):
        await ledger.commit(Batch((an_event(number),), (a_trade(number),)))
        await ledger.events()
        copies.verify(ledger.path)
        copies.back_up(ledger.path, tmp_path / f"{number}.db", marker_of(ledger.path))
    assert len((await ledger.load()).trades) == 5


async def test_scenario_18_every_commit_is_one_immediate_transaction_in_a_synced_log(url: str) -> None:
    seen: list[str] = []
    plain = sqlite3.connect

    def traced(*arguments: Any, **options: Any) -> sqlite3.Connection:
        made = plain(*arguments, **options)
        made.set_trace_callback(seen.append)
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite3.dbapi2, "connect", traced)
        ledger = await SqlLedger.open(url, draw=_draw, inline=True)
    seen.clear()
    await ledger.commit(Batch((an_event(),), (a_trade(),)))
    assert (seen[0], seen[-1]) == ("BEGIN IMMEDIATE", "COMMIT")
    assert sum("BEGIN" in text for text in seen) == 1
    pragma = partial(_pragma, names=("journal_mode", "synchronous"))
    assert await ledger._writer.read(pragma) == ["wal", 2]  # 2 is FULL
    await ledger.close()


def _pragma(connection: Connection, names: tuple[str, ...]) -> list[Any]:
    return [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names]
