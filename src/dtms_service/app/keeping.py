"""What an operator does with the ledger's file: copy it, look through it, put a copy back, bring it up to date."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from dtms_service.app.leaving import FAILED, STORAGE_FAILED, Exit
from dtms_service.app.locks import ledger_lock, state_lock
from dtms_service.clock import SystemClock, chance
from dtms_service.domain.errors import StorageBusy, StorageFailed
from dtms_service.ledger import copies, database
from dtms_service.ledger.copies import Verified
from dtms_service.settings.tree import Settings

MARKER = "dtms.used"
"""The file in the state folder that says which ledger was used there, and how far it had come."""


def marker(settings: Settings) -> Path:
    """Where the service keeps the marker: not beside the database, whose whole folder may go away."""
    return settings.state_dir / MARKER


def back_up(settings: Settings, target: Path) -> Verified:
    """Copy the ledger, in use or not; into a folder under a dated name. Raises `Exit`."""
    with _ended("check the disk, and dtms db verify"):
        path = database.path_of(settings.ledger.url)
        target = target / f"{path.stem}-{_stamp()}{path.suffix}" if target.is_dir() else target
        if target.exists():
            raise Exit(FAILED, f"{target} exists already and was not touched. Try: another name, or a folder")
        if not target.absolute().parent.is_dir():
            raise Exit(FAILED, f"the folder {target.absolute().parent} does not exist. Try: make it, or another folder")
        return copies.back_up(path, target.absolute(), marker(settings))


def verify(settings: Settings, path: Path | None) -> Verified:
    """Look through a copy, or through the ledger of the settings. Raises `Exit`."""
    with _ended("dtms db restore FILE with a backup that dtms db verify FILE finds sound"):
        if path is not None:
            if not path.is_file():
                raise Exit(STORAGE_FAILED, f"{path} is no file. Try: the path of a copy, or none for the ledger")
            return copies.verify(path)
        return copies.verify(database.path_of(settings.ledger.url), marker(settings))


def restore(settings: Settings, source: Path) -> tuple[Verified, Path | None]:
    """Put a copy in the ledger's place; where the replaced one is now, if there was one. Raises `Exit`."""
    with _ended("another backup"), state_lock(settings), ledger_lock(settings) or contextlib.nullcontext():
        path = database.path_of(settings.ledger.url)
        kept = path.with_name(f"{path.name}.replaced-{_stamp()}")
        restored = copies.restore(source.absolute(), path, kept, marker(settings))
        return restored, kept if kept.exists() else None


def upgrade(settings: Settings) -> Verified:
    """Bring the tables up to date, as a start would. Raises `Exit`."""
    with _ended("dtms db verify"), state_lock(settings), ledger_lock(settings) or contextlib.nullcontext():
        path = database.path_of(settings.ledger.url)
        if not path.is_file() or not path.stat().st_size:  # is not begun by this
            raise StorageFailed(f"{path} is no file, or empty")
        database.close(database.connect(path, chance().randrange, marker=marker(settings)))
        return copies.verify(path, marker(settings))


def _stamp() -> str:
    return datetime.fromtimestamp(SystemClock().now(), UTC).strftime("%Y%m%dT%H%M%SZ")


@contextlib.contextmanager
def _ended(remedy: str) -> Iterator[None]:
    try:
        yield
    except (StorageFailed, StorageBusy) as error:
        raise Exit(STORAGE_FAILED, f"{error.detail}. Try: {remedy_of(error, remedy)}") from error


def remedy_of(error: StorageFailed | StorageBusy, usual: str) -> str:
    """What to try: its own remedy, else the usual one."""
    return str(error.facts.get("remedy", usual))
