"""Copies of a ledger: taken while it is in use, looked through, and put back."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from dtms_service.domain.errors import StorageFailed
from dtms_service.domain.states import TradeState
from dtms_service.ledger import codec, database
from dtms_service.ledger.marker import RESTORED, Mark, create, durable, read, sync_folder
from dtms_service.ledger.seal import name_of, rows_in
from dtms_service.ledger.tables import ALERTS, EVENTS, INTENTS, META, TRADES

_READERS = {
    TRADES: codec.trade_of,
    INTENTS: codec.intent_of,
    EVENTS: codec.event_of,
    ALERTS: codec.alert_of,
}
_BELONG = (INTENTS, EVENTS, ALERTS)
"""Whose ``trade_id`` must be the number of a trade that exists."""


@dataclass(frozen=True, slots=True)
class Verified:
    """A sound ledger and what is in it."""

    path: Path
    step: str
    """Step of its tables; an older one than this version's is brought up to date by the next start."""
    sealed: bool
    """False for tables of the first step, which have no seal: nothing would show that a row is missing."""
    commits: int
    trades: int
    intents: int
    events: int
    alerts: int = 0
    """None before step 0003."""


def verify(path: Path, marker: Path | None = None) -> Verified:
    """Read every row of a ledger, in use or not, and change nothing.

    The file is sound; each row has its digest and can be read; the rows are those of the last commit; each intent and
    event belongs to a trade that exists; with ``marker``, it is the ledger that was used there, up to its last commit.
    Raises `StorageFailed` with the first thing that is wrong, `StorageBusy` when it is locked.
    """
    with _told(path):
        if not path.is_file():
            raise StorageFailed(f"{path} is no file")
        place = (marker, read(marker)) if marker is not None else None
        seal = database.look(path, place=place, whole=True)
        with contextlib.closing(database.read_only(path)) as raw:
            raw.execute("BEGIN")
            step = str(raw.execute("SELECT version_num FROM alembic_version").fetchone()[0])
            if seal is not None:
                _check_meaning(raw, seal.sums)
            tables = {name for (name,) in raw.execute("SELECT name FROM sqlite_master")}.intersection(
                table.name for table in _READERS
            )
            counts = {name: raw.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables}  # noqa: S608 -- names of ours
    return Verified(path, step, seal is not None, seal.commits if seal is not None else 0, **counts)


def facts(path: Path) -> dict[str, str]:
    """What the ledger knows beside its trades, such as the pinned ``account`` (R45). Raises like `verify`."""
    with _told(path), contextlib.closing(database.read_only(path)) as raw:
        return dict(raw.execute(f"SELECT name, value FROM {META.name}").fetchall())  # noqa: S608 -- a name of ours


def open_trades(path: Path) -> int:
    """How many trades are not over. Raises like `verify`."""
    with _told(path), contextlib.closing(database.read_only(path)) as raw:
        states = [state for (state,) in raw.execute(f"SELECT state FROM {TRADES.name}")]  # noqa: S608 -- a name of ours
    return sum(not TradeState(state).final for state in states)


def back_up(path: Path, target: Path, marker: Path) -> Verified:
    """Copy a ledger, in use or not, to a new file; verified before it takes its name, which is its last step.

    Raises `StorageFailed` when the target exists, or ledger or copy is not sound, or the ledger lacks commits that
    ``marker`` knows of: then there is no target.
    """
    with _told(path):
        if not path.is_file():
            raise StorageFailed(f"{path} is no file, there is nothing to copy")
        if target.exists():
            raise StorageFailed(f"{target} exists already and was not touched; give another name, or a folder")
        database.look(path, place=(marker, read(marker)))
        with durable(target) as part:
            with contextlib.closing(database.read_only(path)) as raw:
                database.copy_into(raw, part)
            verified = verify(part)
    return replace(verified, path=target)


def restore(source: Path, path: Path, kept: Path, marker: Path) -> Verified:
    """Put a copy of the ledger ``source`` in the place of ``path``; what was there is kept as ``kept``.

    Nobody may have ``path`` open. The next start gives the restored ledger an instance and a lineage of its own (R20);
    until then ``marker`` says that one was restored. Cut short at any moment, either the old ledger is there, or none
    and a marker, and then no start takes that for an empty one. Raises `StorageFailed` with nothing changed when the
    source is not sound, or ``kept`` exists.
    """
    with _told(path):
        if path.exists() and source.exists() and source.samefile(path):
            raise StorageFailed(f"{source} is the ledger itself")
        if kept.exists():
            raise StorageFailed(f"{kept} exists already; try again")
        verify(source)
        with durable(path) as part:
            with contextlib.closing(database.read_only(source)) as raw:
                database.copy_into(raw, part)
            verified = verify(part)
            if not marker.exists():
                create(marker, Mark(RESTORED, 0))  # from here on a missing ledger is missed
            with durable(marker) as mark:
                mark.write_bytes(Mark(RESTORED, verified.commits).line())  # takes its space before anything is moved
                _set_aside(path, kept)
    return replace(verified, path=path)


def _set_aside(path: Path, kept: Path) -> None:
    """Move a ledger away: never without its log, and never leaving a log beside another ledger."""
    logs = [path.with_name(path.name + suffix) for suffix in ("-wal", "-journal")]
    for log in logs:
        if log.exists():
            with durable(kept.with_name(kept.name + log.name.removeprefix(path.name))) as copy:
                shutil.copyfile(log, copy)
    if path.exists():
        path.rename(kept)
    for old in (*logs, path.with_name(path.name + "-shm")):
        old.unlink(missing_ok=True)
    sync_folder(path.parent)


def _check_meaning(raw: sqlite3.Connection, sealed: Collection[str]) -> None:
    for table, reader in _READERS.items():
        if table.name in sealed:
            for row in rows_in(raw, table):
                reader(row)
    for table in _BELONG:
        if table.name not in sealed:
            continue
        lost = f"SELECT * FROM {table.name} WHERE trade_id NOT IN (SELECT trade_id FROM trades) LIMIT 1"  # noqa: S608 -- names of ours
        names = [column.name for column in table.columns]
        for row in raw.execute(lost):
            found = dict(zip(names, row, strict=True))
            raise StorageFailed(f"{name_of(found, table)} belongs to trade {found['trade_id']}, which is not there")


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise database.meaning(error, f"{path} cannot be read or copied") from error
