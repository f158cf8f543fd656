"""Opening the database file: what it must be, how it is set up, and how it gets to the newest tables."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from dtms_service import private
from dtms_service.domain.errors import DtmsError, StorageBusy, StorageFailed
from dtms_service.ledger.codec import INSTANCE, LINEAGE, SEAL
from dtms_service.ledger.marker import RESTORED, Mark, create, durable, marker_of, read
from dtms_service.ledger.seal import TABLES, Seal, check, facts_in, seal_of, set_facts

SCRIPTS = "dtms_service.ledger:migrations"
"""Where Alembic finds the steps: inside this package, so that they are in every wheel."""

BUSY_S = 2.0
"""How long another process may hold the database before a commit gives up (``reliability.md`` 11)."""

SOUND = "PRAGMA integrity_check(1)"
"""Tells ``ok`` or what is wrong with the file; unlike ``quick_check`` it looks for each row in each index."""

_BUSY, _LOCKED, _FULL = sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL


def path_of(url: str) -> Path:
    """The file an SQLAlchemy URL names, whatever its driver. Raises `StorageFailed` for any other database."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        message = f"ledger.url is no database URL: {error}"
        raise StorageFailed(message) from error
    if parsed.get_backend_name() != "sqlite" or parsed.database in {None, "", ":memory:"}:
        message = f"ledger.url must name a file, as in sqlite+aiosqlite:///path/to/dtms.db, not {parsed}"
        raise StorageFailed(message)
    return Path(str(parsed.database)).absolute()


def connect(path: Path, draw: Callable[[int], int], scripts: str = SCRIPTS, marker: Path | None = None) -> Connection:
    """The one writing connection, at the newest tables.

    ``draw(n)`` returns a random number below ``n``, asked for each new, copied or restored database (R20). An older
    database is copied to ``<file>.before-<step>.bak`` first. ``marker`` says whether a ledger was used here before
    (``marker.py``), by default beside the database. Raises `StorageFailed` with nothing changed when the file is not a
    ledger, is damaged, is newer than this version, or is missing, another or older than the marker says, and
    `StorageBusy` when another process holds it.
    """
    if path.is_dir():
        _fail(path, "it is a folder")
    if not path.parent.is_dir():
        _fail(path, "its folder does not exist")
    marker = marker or marker_of(path)
    with contextlib.ExitStack() as undo:
        try:
            used = read(marker)
            if path.exists() and path.stat().st_size:
                _look_or_roll_back(path, scripts, (marker, used))
            else:
                _check_unused(path, marker, used)
            private.file(path)  # SQLite gives its log and the rest the same rights
            for suffix in ("-wal", "-shm"):
                private.closed(path.with_name(path.name + suffix))
            engine = _engine(path)
            undo.callback(engine.dispose)
            connection = engine.connect()
            undo.callback(connection.close)
            _migrate(path, connection, scripts)
            _identify(connection, draw, marker, used)
        except (SQLAlchemyError, sqlite3.Error, CommandError, OSError) as error:
            sentence = f"{path} cannot be opened as the ledger, nothing was deleted; restore a backup if it is damaged"
            raise meaning(error, sentence) from error
        undo.pop_all()
    return connection


def look(
    path: Path, scripts: str = SCRIPTS, place: tuple[Path, Mark | None] | None = None, *, whole: bool = False
) -> Seal | None:
    """Read the whole database without changing anything, and refuse what is not a sound ledger as it was committed.

    ``place``: the marker and what it says. Returns the seal, None when the tables are of an older step and have none.
    Raises `StorageFailed` with the reason, and what sqlite3 raises.
    """
    with contextlib.closing(read_only(path)) as raw:
        raw.execute("BEGIN")
        (verdict,) = raw.execute(SOUND).fetchone()
        if verdict != "ok":
            _fail(path, f"the file is damaged ({verdict}); restore a backup")
        steps = _steps(scripts)
        current, newest = _revision(path, raw), steps[0]
        if current is None and place is not None and place[1] is None:
            return None  # the first start was cut short
        if current is None:
            _fail(path, "it holds no tables; restore a backup")
        if current not in steps:
            _fail(
                path,
                f"its tables are of step {current}, this version of DTMS knows up to {newest}; start the newer version",
            )
        facts = facts_in(raw)
        seal = check(raw, whole=whole) if SEAL in facts or current != steps[-1] else None
        if seal is not None and current == newest and len(seal.sums) < len(TABLES):
            _fail(path, "its tables are newer than its seal; restore a backup")
        if place is not None:
            _check_place(path, *place, facts, seal)
    return seal


def _look_or_roll_back(path: Path, scripts: str, place: tuple[Path, Mark | None]) -> None:
    """Look, after SQLite has undone what a death left half done.

    The change to a write-ahead log is made with a rollback journal; killed before that is deleted, the file cannot be
    read any more without writing. To play the journal back is SQLite's own recovery, as to read a log is.
    """
    try:
        look(path, scripts, place)
    except sqlite3.OperationalError as error:
        if not _is_half_done(error):
            raise
        with contextlib.closing(sqlite3.connect(path, timeout=BUSY_S)) as raw:
            raw.execute("SELECT count(*) FROM sqlite_master").fetchone()
        look(path, scripts, place)


def read_only(path: Path) -> sqlite3.Connection:
    """A connection that changes nothing, neither the database nor its log, nor the files beside them."""
    real = path.resolve()  # the log of a link's file lies beside that file
    alone = not any(real.with_name(real.name + suffix).exists() for suffix in ("-wal", "-journal"))
    query = "mode=ro&immutable=1" if alone else "mode=ro"  # without immutable, reading alone would leave two files
    return sqlite3.connect(f"{path.absolute().as_uri()}?{query}", uri=True, isolation_level=None, timeout=BUSY_S)


def close(connection: Connection) -> None:
    """Give back the connection and everything of its engine."""
    engine: Engine = connection.engine
    try:
        connection.close()
    finally:
        engine.dispose()


def commit_error(error: Exception) -> DtmsError:
    """What a failed transaction means to the caller.

    `StorageBusy`: nothing was written. Besides a lock that is a full disk: then the last frame of the log is not whole,
    and the transaction cannot come back at the next start. After anything else only the disk knows, hence
    `StorageFailed`: a commit that answered EIO was there after a restart (``reliability.md`` T7).
    """
    return meaning(error, "A commit failed and may or may not be on disk")


def read_error(error: Exception) -> DtmsError:
    """The same for a read: `StorageBusy` or `StorageFailed`."""
    return meaning(error, "The ledger cannot be read")


def meaning(error: Exception, sentence: str) -> DtmsError:
    """`StorageBusy` for a lock or a full disk, `StorageFailed` beginning with ``sentence`` for anything else."""
    if _code(error) in {_BUSY, _LOCKED}:
        return StorageBusy()
    if is_full(error):
        return StorageBusy(f"The disk of the database is full; nothing was written ({_cause(error)})")
    if _is_half_done(error):
        message = f"{sentence}: a start was cut short in the middle of a change, which the next start undoes"
        return StorageFailed(message, remedy="dtms serve, or dtms db upgrade")
    return StorageFailed(f"{sentence}: {_cause(error)}")


def is_full(error: Exception) -> bool:
    """True when there is no space left."""
    return _code(error) == _FULL or getattr(error, "errno", None) == errno.ENOSPC


def files_of(path: Path) -> tuple[Path, Path]:
    """The database file and its write-ahead log."""
    return path, path.with_name(path.name + "-wal")


def identity(files: tuple[Path, Path]) -> list[tuple[int, int]]:
    """Device and inode of each file: when they change, one of them was deleted or replaced. Raises OSError."""
    return [(status.st_dev, status.st_ino) for status in (file.stat() for file in files)]


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _cause(error: Exception) -> BaseException:
    """The driver's own error inside SQLAlchemy's."""
    return getattr(error, "orig", None) or error


def _code(error: Exception) -> int:
    """SQLite's primary result code, 0 when the error is not SQLite's."""
    return int(getattr(_cause(error), "sqlite_errorcode", 0)) & 0xFF


def _fail(path: Path, reason: str) -> NoReturn:
    message = f"{path} cannot be opened as the ledger: {reason}. Nothing was changed"
    raise StorageFailed(message)


def _is_half_done(error: Exception) -> bool:
    """A rollback journal has to be played back before the file can be read."""
    return getattr(_cause(error), "sqlite_errorcode", 0) == sqlite3.SQLITE_READONLY_ROLLBACK


def raw_of(connection: Connection) -> sqlite3.Connection:
    """The driver's own connection inside SQLAlchemy's."""
    raw = connection.connection.driver_connection
    if not isinstance(raw, sqlite3.Connection):
        message = f"the writer needs a connection of sqlite3, not {type(raw).__name__}"
        raise TypeError(message)
    return raw


def _engine(path: Path) -> Engine:
    engine = create_engine(
        URL.create("sqlite+pysqlite", database=str(path)),
        pool_size=1,
        max_overflow=0,
        paramstyle="named",  # rows are dictionaries
        connect_args={"isolation_level": None, "timeout": BUSY_S},
    )
    event.listen(engine, "begin", _begin)
    return engine


def _check_unused(path: Path, marker: Path, used: Mark | None) -> None:
    """An empty ledger may begin only where none was before."""
    if used is not None:
        what = "it is empty" if path.exists() else "it is missing"
        before = "was restored" if used.lineage == RESTORED else f"of {used.commits} commits was used"
        _fail(path, f"{what}, but a ledger {before} here. {_remedy(marker)}")
    log = path.with_name(path.name + "-wal")
    if log.exists() and log.stat().st_size:  # SQLite would throw it away
        _fail(path, f"it is missing or empty, but its log {log.name} is there; restore a backup")


def _check_place(path: Path, marker: Path, used: Mark | None, facts: dict[str, Any], seal: Seal | None) -> None:
    """The database must be the one that was used here, and have every commit it is known to have had.

    One without an instance is a copy, or has lost its log but for its tables; only after a restore it is expected.
    """
    if used is None:
        return
    held = 0 if seal is None else seal.commits
    if used.lineage == RESTORED:
        if held < used.commits:
            _fail(path, f"it is another ledger than the one that was restored here. {_remedy(marker)}")
        return
    if INSTANCE not in facts:
        _fail(
            path,
            f"it is a copy, or its log is damaged: it holds {held} of the {used.commits} commits made here. "
            f"{_remedy(marker)}",
        )
    if facts.get(LINEAGE) != used.lineage:
        _fail(path, f"it is another ledger than the one that was used here. {_remedy(marker)}")
    if held < used.commits:
        _fail(
            path,
            f"it ends at commit {held}, but {used.commits} were made: it was exchanged for an older one, or "
            f"its log is damaged. {_remedy(marker)}",
        )


def _remedy(marker: Path) -> str:
    return f"Restore a backup with dtms db restore; only to go on with what is there, remove {marker}"


def _steps(scripts: str) -> tuple[str, ...]:
    """All steps, the newest first."""
    return tuple(str(step.revision) for step in ScriptDirectory.from_config(_config(scripts)).walk_revisions())


def _config(scripts: str) -> Config:
    config = Config()
    config.set_main_option("script_location", scripts)
    config.set_main_option("path_separator", "os")
    return config


def _migrate(path: Path, connection: Connection, scripts: str) -> None:
    raw = raw_of(connection)
    current, newest = _revision(path, raw), _steps(scripts)[0]
    if current is not None and current != newest:
        with durable(path.with_name(f"{path.name}.before-{newest}.bak")) as part:
            copy_into(raw, part)
    _set_up(path, raw)
    if current != newest:
        config = _config(scripts)
        config.attributes["connection"] = connection
        with connection.begin():
            command.upgrade(config, "head")
            check(raw, whole=True)


def _identify(connection: Connection, draw: Callable[[int], int], marker: Path, used: Mark | None) -> None:
    """A new, copied or restored database gets an instance and a lineage of its own, and a marker (R20)."""
    if used is not None and used.lineage != RESTORED:
        return  # it is the one that was used here: `_check_place`
    raw = raw_of(connection)
    with connection.begin():
        lineage = f"{draw(2**48):012x}"
        set_facts(raw, {INSTANCE: str(draw(1000)), LINEAGE: lineage})
        commits = seal_of(facts_in(raw)).commits
    create(marker, Mark(lineage, commits))  # a start that is cut short before this is simply made again


def _revision(path: Path, raw: sqlite3.Connection) -> str | None:
    """The step the tables are at; None for a database without any."""
    tables = {name for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:
        return None
    steps = raw.execute("SELECT version_num FROM alembic_version").fetchall() if "alembic_version" in tables else []
    if len(steps) != 1:
        _fail(path, "it holds tables that are not a ledger's")
    return str(steps[0][0])


def _set_up(path: Path, raw: sqlite3.Connection) -> None:
    (mode,) = raw.execute("PRAGMA journal_mode=WAL").fetchone()
    if mode != "wal":
        _fail(path, f"its file system allows no write-ahead log (journal mode {mode})")
    raw.execute("PRAGMA synchronous=FULL")
    log = path.with_name(path.name + "-wal")
    if log.exists():
        # Its last commits may have been read from memory only: a process that is killed before its fsync leaves them
        # there. They will be acknowledged again without another commit, so they must be on disk now.
        with log.open("r+b") as file:
            os.fsync(file.fileno())


def copy_into(raw: sqlite3.Connection, target: Path) -> None:
    """Copy the whole database, as it is at this moment, into a new file.

    The copy has no instance: whoever restores it gets a new one, because the magics after it are at the broker
    already (R20). Raises `sqlite3.Error`.
    """
    with contextlib.closing(sqlite3.connect(target, isolation_level=None)) as copy:
        raw.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")
        copy.execute("BEGIN IMMEDIATE")
        set_facts(copy, {INSTANCE: None, LINEAGE: None})
        copy.execute("COMMIT")
