"""What DTMS keeps is for its owner alone, and a link in the place of a file is not followed."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dtms_client.spool import REJECTED, Spool, entries
from dtms_service import logs, private
from dtms_service.app import ingest
from dtms_service.ledger import copies
from dtms_service.ledger.marker import marker_of
from dtms_service.ledger.reserve import Reserve
from dtms_service.ledger.store import SqlLedger
from dtms_service.lock import Lock, is_held
from dtms_service.terminal.simulated.store import Store

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX file modes and links")


@pytest.fixture(autouse=True)
def _an_open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    for handler in root.handlers[:]:
        if handler not in before:
            root.removeHandler(handler)
            handler.close()
    root.setLevel(level)


def open_to_others(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.stat().st_mode & 0o077}


def fill(folder: Path) -> None:
    """What a service leaves in a state folder that somebody made beforehand."""
    logs.start("info", folder / "logs")
    logging.getLogger("dtms_service.somewhere").warning("an_event")
    Reserve(folder / "dtms.db", 1 << 20).keep()
    Store(folder / "simulated" / "account.db").close()


async def ledger_in(folder: Path) -> SqlLedger:
    return await SqlLedger.open(f"sqlite+aiosqlite:///{folder}/dtms.db", draw=lambda _: 7)


@pytest.mark.usefixtures("_logging_as_before")
async def test_in_a_folder_that_all_may_read_files_are_for_the_owner_alone(tmp_path: Path) -> None:
    fill(tmp_path)
    ledger = await ledger_in(tmp_path)
    copies.back_up(tmp_path / "dtms.db", tmp_path / "copy.db", marker_of(tmp_path / "dtms.db"))
    names = {path.name for path in tmp_path.rglob("*")}
    assert {"dtms.db", "dtms.db-wal", "dtms.db.used", "dtms.db.reserve", "copy.db", "dtms.log", "account.db"} <= names
    assert open_to_others(tmp_path) == set()
    await ledger.close()


@pytest.mark.usefixtures("_logging_as_before")
async def test_files_of_an_older_version_are_closed_to_others_at_the_next_start(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "logs" / "dtms.log.1").write_text("older lines")
    await (await ledger_in(tmp_path)).close()
    for path in tmp_path.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o644)
    fill(tmp_path)
    ledger = await ledger_in(tmp_path)
    assert open_to_others(tmp_path) == set()
    await ledger.close()


def test_the_lock_is_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("kept")
    (tmp_path / "dtms.lock").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match=r"dtms\.lock"):
        Lock(tmp_path / "dtms.lock")
    assert not is_held(tmp_path / "dtms.lock")
    assert (tmp_path / "precious").read_text() == "kept"


def test_the_reserve_is_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "dtms.db.reserve").symlink_to(tmp_path / "elsewhere")
    Reserve(tmp_path / "dtms.db", 1 << 20).keep()
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.usefixtures("_logging_as_before")
def test_the_log_is_not_written_through_a_link(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "precious").write_text("kept")
    (tmp_path / "dtms.log").symlink_to(tmp_path / "precious")
    logs.start("info", tmp_path)
    logging.getLogger("dtms_service.somewhere").warning("an_event")
    assert (tmp_path / "precious").read_text() == "kept"
    assert "log_file_unavailable" in capsys.readouterr().err


@pytest.mark.parametrize(("mode", "told"), [(0o700, False), (0o755, False), (0o770, True), (0o702, True)])
def test_a_folder_that_others_may_write_to_is_told(tmp_path: Path, mode: int, told: bool) -> None:
    tmp_path.chmod(mode)
    why = private.exposed(tmp_path)
    assert (why is not None) == told
    assert private.exposed(tmp_path / "none") is None


def of_somebody_else(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() == 0:
        os.chown(path, 4242, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 4242)


def test_a_folder_of_somebody_else_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o700)
    of_somebody_else(tmp_path, monkeypatch)
    assert "belongs to another user" in (private.exposed(tmp_path) or "")


def test_a_registration_that_another_user_left_is_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path / "outbox")
    mine = spool.write({"ticket": 1})
    assert mine.load(private.trusted()).body == {"ticket": 1}
    of_somebody_else(mine.path, monkeypatch)
    assert mine.load().body == {"ticket": 1}
    good, damaged = ingest._read(spool.folder, 8001)
    assert (good, [name for name, _ in damaged]) == ([], [mine.path.name])
    (rejected,) = entries(spool.folder, REJECTED)
    assert "another user" in rejected.reason()["detail"]
