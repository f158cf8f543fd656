from __future__ import annotations

import asyncio
import contextlib
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


async def _filled(path: Path, trades: int = 3) -> Path:
    ledger = await SqlLedger.open(f"sqlite:///{path}", draw=lambda _: INSTANCE)
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
        copied = await asyncio.to_thread(copies.back_up, path, tmp_path / f"{turn}.db")
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
    assert copies.back_up(killed / path.name, tmp_path / "copy.db").trades == 1


async def test_a_copy_is_a_ledger_without_an_instance(tmp_path: Path, path: Path) -> None:
    copies.back_up(await _filled(path), tmp_path / "copy.db")
    with contextlib.closing(sqlite3.connect(tmp_path / "copy.db")) as plain:
        assert [name for (name,) in plain.execute("SELECT name FROM meta")] == ["seal"]
    assert await _trades(tmp_path / "copy.db") == ([1, 2, 3], 999)


async def test_a_target_that_exists_is_not_touched(tmp_path: Path, path: Path) -> None:
    await _filled(path)
    for target in (tmp_path / "other.txt", path):
        target.touch()
        before = target.read_bytes()
        with pytest.raises(StorageFailed, match="exists already"):
            copies.back_up(path, target)
        assert target.read_bytes() == before


async def test_a_damaged_ledger_is_not_copied(tmp_path: Path, path: Path) -> None:
    _by_hand(await _filled(path), "UPDATE events SET body = '{}' WHERE sequence = 2")
    with pytest.raises(StorageFailed, match=r"event 2 .*damaged"):
        copies.back_up(path, tmp_path / "copy.db")
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
        copies.back_up(path, tmp_path / "copy.db")
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
        copies.back_up(tmp_path / missing, tmp_path / "copy.db")


async def test_a_restored_ledger_has_a_new_instance_and_the_replaced_one_is_kept_with_its_log(
    tmp_path: Path, path: Path
) -> None:
    copies.back_up(await _filled(path), tmp_path / "copy.db")
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
    copies.back_up(await _filled(path), tmp_path / "copy.db")
    (tmp_path / "fresh").mkdir()
    fresh = tmp_path / "fresh" / "dtms.db"
    copies.restore(tmp_path / "copy.db", fresh, tmp_path / "fresh" / "kept", marker_of(fresh))
    assert await _trades(fresh) == ([1, 2, 3], 999)
    assert not (tmp_path / "fresh" / "kept").exists()


async def test_a_source_that_is_damaged_or_the_ledger_itself_changes_nothing(tmp_path: Path, path: Path) -> None:
    copies.back_up(await _filled(path), tmp_path / "copy.db")
    _by_hand(tmp_path / "copy.db", "DELETE FROM trades WHERE trade_id = 2")
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(StorageFailed, match="2 trades where 3"):
        copies.restore(tmp_path / "copy.db", path, tmp_path / "kept", marker_of(path))
    with pytest.raises(StorageFailed, match="is the ledger itself"):
        copies.restore(path, path, tmp_path / "kept", marker_of(path))
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


async def test_a_restore_that_is_cut_short_anywhere_never_leaves_what_looks_empty_or_mixed(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies.back_up(await _filled(path), tmp_path / "copy.db")
    ledger = await SqlLedger.open(f"sqlite:///{path}", draw=lambda _: INSTANCE)
    await ledger.commit(Batch((an_event(4),), (a_trade(4),)))
    outcomes = []
    for step in range(1, 7):
        work = tmp_path / f"work{step}"
        shutil.copytree(tmp_path, work, ignore=shutil.ignore_patterns("*-shm", "work*"))
        left = [step]

        def cut(self: Path, target: Path, plain: Any, left: list[int] = left) -> Path:
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt
            return plain(self, target)

        with monkeypatch.context() as patch:
            for name in ("rename", "replace"):
                plain = getattr(Path, name)
                patch.setattr(Path, name, lambda self, target, plain=plain: cut(self, target, plain))
            patch.setattr(copies, "remove", lambda target: cut(target, target, lambda self, _: self.unlink()))
            with contextlib.suppress(KeyboardInterrupt):
                copies.restore(work / "copy.db", work / path.name, work / "kept", marker_of(work / path.name))
        try:
            outcomes.append((await _trades(work / path.name))[0])
        except StorageFailed as refused:
            outcomes.append(refused.detail.rpartition("Restore a backup")[1])
    await ledger.close()
    # before the log was moved, between log and file, after both, with the old marker, and done
    assert outcomes == [[1, 2, 3, 4], *["Restore a backup"] * 3, [1, 2, 3], [1, 2, 3]]
