from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ledger_values import INSTANCE, a_trade, an_event, an_intent

from dtms_service.domain.errors import StorageFailed
from dtms_service.domain.record import Batch
from dtms_service.ledger import copies, database, marker
from dtms_service.ledger.marker import marker_of
from dtms_service.ledger.store import SqlLedger


async def _filled(path: Path, trades: int = 3, marker: Path | None = None) -> Path:
    ledger = await SqlLedger.open(f"sqlite:///{path}", draw=lambda _: INSTANCE, marker=marker)
    for number in range(1, trades + 1):
        await ledger.commit(Batch((an_event(number),), (a_trade(number),), (an_intent(number, trade_id=number),)))
    await ledger.close()
    return path


async def _trades(path: Path, draw: Callable[[int], int] = lambda n: n - 1) -> tuple[list[int], int]:
    """Trades and instance as a start sees them."""
    ledger = await SqlLedger.open(f"sqlite:///{path}", draw=draw)
    recorded = await ledger.load()
    await ledger.close()
    return [trade.trade_id for trade in recorded.trades], recorded.instance


def _copied(raw: sqlite3.Connection, target: Path) -> Path:
    database.copy_into(raw, target)
    return target


def _by_hand(path: Path, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as other, other:
        other.execute(statement)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A path that would break a careless URI."""
    return tmp_path / "dtms #1 100%.db"


async def test_a_copy_taken_while_commits_are_made_is_one_moment_of_the_ledger(tmp_path: Path, path: Path) -> None:
    ledger = await SqlLedger.open(f"sqlite:///{path}", draw=lambda _: INSTANCE)
    stop = asyncio.Event()

    async def keep_writing() -> int:
        number = 0
        while not stop.is_set():
            number += 1
            await ledger.commit(Batch((an_event(number),), (a_trade(number),)))
        return number

    writing = asyncio.ensure_future(keep_writing())
    for turn in range(4):
        await asyncio.sleep(0.05)
        copied = await asyncio.to_thread(copies.back_up, path, tmp_path / f"{turn}.db", marker_of(path))
        assert copied.trades == copied.events == copied.commits > 0
    stop.set()
    assert await writing >= copied.trades
    await ledger.close()
    assert sorted(file.suffix for file in tmp_path.iterdir()) == [".db"] * 5 + [".used"]


async def test_a_copy_of_what_a_kill_left_has_the_commits_of_its_log(tmp_path: Path, path: Path) -> None:
    ledger = await SqlLedger.open(f"sqlite:///{path}", draw=lambda _: INSTANCE)
    await ledger.commit(Batch((an_event(),), (a_trade(),)))
    killed = tmp_path / "killed"
    shutil.copytree(tmp_path, killed, ignore=shutil.ignore_patterns("*-shm", "killed"))
    await ledger.close()
    assert (killed / path.name).stat().st_size < path.stat().st_size
    assert copies.back_up(killed / path.name, tmp_path / "copy.db", marker_of(killed / path.name)).trades == 1


async def test_a_copy_is_a_ledger_without_an_instance(tmp_path: Path, path: Path) -> None:
    copies.back_up(await _filled(path), tmp_path / "copy.db", marker_of(path))
    with contextlib.closing(sqlite3.connect(tmp_path / "copy.db")) as plain:
        assert [name for (name,) in plain.execute("SELECT name FROM meta")] == ["seal"]
    assert await _trades(tmp_path / "copy.db") == ([1, 2, 3], 999)


async def test_a_target_that_exists_is_not_touched(tmp_path: Path, path: Path) -> None:
    await _filled(path)
    for target in (tmp_path / "other.txt", path):
        target.touch()
        before = target.read_bytes()
        with pytest.raises(StorageFailed, match="exists already"):
            copies.back_up(path, target, marker_of(path))
        assert target.read_bytes() == before


async def test_a_damaged_ledger_is_not_copied(tmp_path: Path, path: Path) -> None:
    _by_hand(await _filled(path), "UPDATE events SET body = '{}' WHERE sequence = 2")
    with pytest.raises(StorageFailed, match=r"event 2 .*damaged"):
        copies.back_up(path, tmp_path / "copy.db", marker_of(path))
    assert sorted(file.name for file in tmp_path.iterdir()) == [path.name, f"{path.name}.used"]


async def test_a_copy_that_comes_out_wrong_does_not_get_its_name(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _filled(path)
    right = database.copy_into

    def wrong(raw: sqlite3.Connection, target: Path) -> None:
        right(raw, target)
        _by_hand(target, "DELETE FROM intents")

    monkeypatch.setattr(database, "copy_into", wrong)
    with pytest.raises(StorageFailed, match="0 intents where 3"):
        copies.back_up(path, tmp_path / "copy.db", marker_of(path))
    assert not list(tmp_path.glob("copy.db*"))


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE trades SET body = replace(body, '2002.5', '1002.5') WHERE trade_id = 2", "trade 2 .*damaged"),
        ("UPDATE intents SET kind = 'close_all' WHERE trade_id = 1", "intent .*damaged"),
        ("UPDATE events SET ticket = 9 WHERE sequence = 3", "event 3 .*damaged"),
        ("DELETE FROM events WHERE sequence = 3", "2 events where 3 were committed"),
        ("DELETE FROM trades WHERE trade_id = 3", "2 trades where 3 were committed"),
        ("INSERT INTO meta VALUES ('account', '1@Other')", "facts are not those"),
        ("DELETE FROM meta WHERE name = 'seal'", "seal is missing"),
        ("UPDATE meta SET value = replace(value, '1', '2') WHERE name = 'seal'", "seal is missing or damaged"),
    ],
)
async def test_verify_finds_what_another_program_changed(path: Path, statement: str, words: str) -> None:
    _by_hand(await _filled(path), statement)
    with pytest.raises(StorageFailed, match=words):
        copies.verify(path)


async def test_verify_finds_two_rows_that_changed_places(path: Path) -> None:
    await _filled(path)
    for number, other in ((1, 100), (2, 1), (100, 2)):
        _by_hand(path, f"UPDATE events SET sequence = {other} WHERE sequence = {number}")  # noqa: S608 -- numbers
    with pytest.raises(StorageFailed, match=r"event 1 .*damaged"):
        copies.verify(path)


async def test_verify_finds_an_order_without_its_trade(path: Path) -> None:
    ledger = await SqlLedger.open(f"sqlite:///{path}", draw=lambda _: INSTANCE)
    await ledger.commit(Batch(intents=(an_intent(1, trade_id=77),)))
    await ledger.close()
    with pytest.raises(StorageFailed, match="belongs to trade 77, which is not there"):
        copies.verify(path)


async def test_verify_knows_the_ledger_of_the_place(tmp_path: Path, path: Path) -> None:
    await _filled(path)
    assert copies.verify(path, marker_of(path)).commits == 3
    marker.create(tmp_path / "later", marker.Mark(_lineage(path), 4))
    with pytest.raises(StorageFailed, match="ends at commit 3, but 4 were made"):
        copies.verify(path, tmp_path / "later")


def _lineage(path: Path) -> str:
    found = marker.read(marker_of(path))
    assert found is not None
    return found.lineage


@pytest.mark.parametrize("missing", ["nowhere.db", "."])
def test_what_is_no_file_is_said_to_be_none(tmp_path: Path, missing: str) -> None:
    with pytest.raises(StorageFailed, match="is no file"):
        copies.verify(tmp_path / missing)
    with pytest.raises(StorageFailed, match="is no file"):
        copies.back_up(tmp_path / missing, tmp_path / "copy.db", tmp_path / "used")


async def test_a_restored_ledger_has_a_new_instance_and_the_replaced_one_is_kept_with_its_log(
    tmp_path: Path, path: Path
) -> None:
    copies.back_up(await _filled(path), tmp_path / "copy.db", marker_of(path))
    ledger = await SqlLedger.open(f"sqlite:///{path}", draw=lambda _: INSTANCE)
    await ledger.commit(Batch((an_event(4),), (a_trade(4),)))
    killed = tmp_path / "killed"
    shutil.copytree(tmp_path, killed, ignore=shutil.ignore_patterns("*-shm", "killed"))
    await ledger.close()
    path = killed / path.name

    restored = copies.restore(tmp_path / "copy.db", path, killed / "dtms.db.replaced", marker_of(path))
    assert (restored.path, restored.trades) == (path, 3)
    assert copies.verify(killed / "dtms.db.replaced").trades == 4
    assert await _trades(path) == ([1, 2, 3], 999)
    assert _lineage(path) == f"{2**48 - 1:012x}"
    ledger = await SqlLedger.open(f"sqlite:///{path}", draw=lambda _: 1 // 0)  # nothing is drawn again
    assert (await ledger.load()).instance == 999
    await ledger.close()


async def test_a_ledger_is_restored_where_none_has_been(tmp_path: Path, path: Path) -> None:
    copies.back_up(await _filled(path), tmp_path / "copy.db", marker_of(path))
    (tmp_path / "fresh").mkdir()
    fresh = tmp_path / "fresh" / "dtms.db"
    copies.restore(tmp_path / "copy.db", fresh, tmp_path / "fresh" / "kept", marker_of(fresh))
    assert await _trades(fresh) == ([1, 2, 3], 999)
    assert not (tmp_path / "fresh" / "kept").exists()


async def test_a_source_that_is_damaged_or_the_ledger_itself_changes_nothing(tmp_path: Path, path: Path) -> None:
    copies.back_up(await _filled(path), tmp_path / "copy.db", marker_of(path))
    _by_hand(tmp_path / "copy.db", "DELETE FROM trades WHERE trade_id = 2")
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(StorageFailed, match="2 trades where 3"):
        copies.restore(tmp_path / "copy.db", path, tmp_path / "kept", marker_of(path))
    with pytest.raises(StorageFailed, match="is the ledger itself"):
        copies.restore(path, path, tmp_path / "kept", marker_of(path))
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize("marked", [True, False])
async def test_a_restore_that_is_cut_short_anywhere_never_leaves_what_looks_empty_or_mixed(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch, marked: bool
) -> None:
    """Also where there is no marker: people remove it, and a new state folder has none for an old ledger."""
    copies.back_up(await _filled(path), tmp_path / "copy.db", marker_of(path))
    ledger = await SqlLedger.open(f"sqlite:///{path}", draw=lambda _: INSTANCE)
    await ledger.commit(Batch((an_event(4),), (a_trade(4),)))
    outcomes = []
    for step in range(1, 11):
        work = tmp_path / f"work{step}"
        shutil.copytree(tmp_path, work, ignore=shutil.ignore_patterns("*-shm", "work*", "" if marked else "*.used"))
        with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
            _dies_at(patch, step)
            copies.restore(work / "copy.db", work / path.name, work / "kept", marker_of(work / path.name))
        try:
            outcomes.append((await _trades(work / path.name))[0])
        except StorageFailed as refused:
            outcomes.append(refused.detail.rpartition("Restore a backup")[1])
        if (work / "kept").exists():
            assert copies.verify(work / "kept").trades == 4, "with its log"
    await ledger.close()
    # The log is copied, the file moved, log, journal and index removed, the marker and then the copy get their names;
    # where there is no marker one is made first of all.
    whole, refused, done = [1, 2, 3, 4], "Restore a backup", [1, 2, 3]
    assert outcomes == [*[whole] * (3 - marked), *[refused] * 5, *[done] * (2 + marked)]


def _dies_at(patch: pytest.MonkeyPatch, step: int) -> None:
    """In front of the ``step``-th change of a name; that parts are swept away changes nothing, and is not counted."""
    left = [step]

    def changes(plain: Any) -> Any:
        def change(self: Path, *target: Path, **more: bool) -> Any:
            left[0] -= bool(target) or self.suffix != ".part"
            if left[0] == 0:
                raise KeyboardInterrupt
            return plain(self, *target, **more)

        return change

    for name in ("rename", "replace", "unlink"):
        patch.setattr(Path, name, changes(getattr(Path, name)))


async def test_until_a_restored_ledger_is_started_a_missing_one_is_still_missed(tmp_path: Path, path: Path) -> None:
    copies.back_up(await _filled(path), tmp_path / "copy.db", marker_of(path))
    copies.restore(tmp_path / "copy.db", path, tmp_path / "kept", marker_of(path))
    restored = path.read_bytes()
    for gone in (path.unlink, lambda: path.write_bytes(b"")):
        gone()
        with pytest.raises(StorageFailed, match="but a ledger was restored here"):
            await SqlLedger.open(f"sqlite:///{path}", draw=lambda _: 1 // 0)
    path.unlink()
    await _filled(path, 2, marker=tmp_path / "elsewhere")
    with pytest.raises(StorageFailed, match="another ledger than the one that was restored"):
        await SqlLedger.open(f"sqlite:///{path}", draw=lambda _: 1 // 0)
    path.write_bytes(restored)
    assert await _trades(path) == ([1, 2, 3], 999)


async def test_a_restore_replaces_nothing_that_an_earlier_one_kept(tmp_path: Path, path: Path) -> None:
    copies.back_up(await _filled(path), tmp_path / "copy.db", marker_of(path))
    (tmp_path / "kept").write_text("an earlier ledger")
    with pytest.raises(StorageFailed, match="kept exists already"):
        copies.restore(tmp_path / "copy.db", path, tmp_path / "kept", marker_of(path))
    assert (tmp_path / "kept").read_text() == "an earlier ledger"
    assert copies.verify(path, marker_of(path)).trades == 3


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("INSERT INTO meta VALUES ('account', '666@Other')", "facts are not those"),
        ("DELETE FROM trades WHERE trade_id = 3", "2 trades where 3 were committed"),
    ],
)
async def test_what_is_damaged_does_not_become_sound_by_being_copied(
    tmp_path: Path, path: Path, statement: str, words: str
) -> None:
    _by_hand(await _filled(path), statement)
    with pytest.raises(StorageFailed, match=words):
        copies.back_up(path, tmp_path / "copy.db", marker_of(path))
    past = tmp_path / "past the look.db"
    with contextlib.closing(sqlite3.connect(path)) as raw, pytest.raises(StorageFailed, match=words):
        copies.verify(_copied(raw, past))


async def test_a_ledger_that_lacks_commits_is_not_copied(tmp_path: Path, path: Path) -> None:
    await _filled(path)
    killed = tmp_path / "killed"
    ledger = await SqlLedger.open(f"sqlite:///{path}", draw=lambda _: INSTANCE)
    await ledger.commit(Batch((an_event(4),), (a_trade(4),)))
    shutil.copytree(tmp_path, killed, ignore=shutil.ignore_patterns("*-shm", "killed"))
    await ledger.close()
    path = killed / path.name
    path.with_name(path.name + "-wal").unlink()
    with pytest.raises(StorageFailed, match="ends at commit 3, but 4 were made"):
        copies.back_up(path, tmp_path / "copy.db", marker_of(path))
    assert not (tmp_path / "copy.db").exists()


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
async def test_a_link_to_a_killed_ledger_is_read_with_its_log(tmp_path: Path, path: Path) -> None:
    ledger = await SqlLedger.open(f"sqlite:///{path}", draw=lambda _: INSTANCE)
    await ledger.commit(Batch((an_event(),), (a_trade(),)))
    killed = tmp_path / "killed"
    shutil.copytree(tmp_path, killed, ignore=shutil.ignore_patterns("*-shm", "killed"))
    await ledger.close()
    (tmp_path / "latest.db").symlink_to(killed / path.name)
    assert copies.verify(tmp_path / "latest.db").trades == 1


async def test_a_path_is_opened_by_the_name_it_was_given(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows ``resolve`` makes a mapped drive its network share, which is no address that SQLite opens."""
    await _filled(path)
    resolve = Path.resolve

    def shared(self: Path, *, strict: bool = False) -> Path:
        return path.with_name("another name") if self == path else resolve(self, strict=strict)

    monkeypatch.setattr(Path, "resolve", shared)
    assert copies.verify(path).trades == 3


def _cut_short(path: Path, folder: Path) -> Path:
    """The file as a death leaves it in the middle of a change: pages are written, and the journal undoes them."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as plain:
        plain.execute("PRAGMA cache_size = 1")  # so that pages are written before the commit
        plain.execute("BEGIN")
        plain.execute("CREATE TABLE half (done)")
        plain.executemany("INSERT INTO half VALUES (?)", [(bytes(3_000),)] * 20)
        folder.mkdir()
        for file in path.parent.glob(f"{path.name}*"):
            shutil.copy(file, folder)
        plain.execute("ROLLBACK")
    assert (folder / f"{path.name}-journal").stat().st_size > 512
    return folder / path.name


async def test_a_start_that_was_cut_short_in_the_change_to_a_log_is_undone_by_the_next(
    tmp_path: Path, path: Path
) -> None:
    copies.back_up(await _filled(path), tmp_path / "copy.db", marker_of(path))
    copies.restore(tmp_path / "copy.db", path, tmp_path / "kept", marker_of(path))
    path = _cut_short(path, tmp_path / "cut")
    with pytest.raises(StorageFailed, match="cut short in the middle of a change, which the next start undoes"):
        copies.verify(path)
    assert await _trades(path) == ([1, 2, 3], 999)
    assert copies.verify(path, marker_of(path)).trades == 3


@pytest.mark.parametrize(
    ("statement", "commits", "words"),
    [("DELETE FROM trades WHERE trade_id = 3", 3, "2 trades where 3"), ("SELECT 1", 4, "another ledger than the one")],
)
async def test_what_was_undone_is_looked_at_as_any_other(
    tmp_path: Path, path: Path, statement: str, commits: int, words: str
) -> None:
    copies.back_up(await _filled(path), tmp_path / "copy.db", marker_of(path))
    copies.restore(tmp_path / "copy.db", path, tmp_path / "kept", marker_of(path))
    marker.create(marker_of(path), marker.Mark(marker.RESTORED, commits))
    _by_hand(path, statement)
    path = _cut_short(path, tmp_path / "cut")
    with pytest.raises(StorageFailed, match=words):
        await _trades(path)


async def test_only_what_is_half_done_is_opened_to_be_undone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await _filled(path)
    looked = []

    def busy(*_: object) -> None:
        looked.append(1)
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(database, "look", busy)
    with pytest.raises(StorageFailed, match="locked"):
        await _trades(path)
    assert looked == [1]


async def test_a_restored_ledger_does_not_inherit_the_journal_of_the_replaced_one(tmp_path: Path, path: Path) -> None:
    copies.back_up(await _filled(path), tmp_path / "copy.db", marker_of(path))
    copies.restore(tmp_path / "copy.db", path, tmp_path / "kept", marker_of(path))
    path = _cut_short(path, tmp_path / "cut")
    copies.restore(tmp_path / "copy.db", path, tmp_path / "cut" / "kept", marker_of(path))
    assert (tmp_path / "cut" / "kept-journal").exists()
    assert not path.with_name(path.name + "-journal").exists()
    assert await _trades(path) == ([1, 2, 3], 999)
