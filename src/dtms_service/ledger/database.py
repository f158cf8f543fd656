"""Opening the database file: what it must be, how it is set up, and how it gets to the newest tables."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import URL, Connection, Engine, create_engine, event, insert, make_url, select
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from dtms_service.domain.errors import DtmsError, StorageBusy, StorageFailed
from dtms_service.ledger.codec import INSTANCE
from dtms_service.ledger.tables import META

SCRIPTS = "dtms_service.ledger:migrations"
"""Where Alembic finds the steps: inside this package, so that they are in every wheel."""

BUSY_S = 2.0
"""How long another process may hold the database before a commit gives up (``reliability.md`` 11)."""

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


def connect(path: Path, draw: Callable[[int], int], scripts: str = SCRIPTS) -> Connection:
    """The one writing connection, at the newest tables.

    ``draw(n)`` returns a random number below ``n``; it is asked once for each new or restored database (R20). An
    older database is copied to ``<file>.before-<step>.bak`` first. Raises `StorageFailed` with nothing changed when
    the file is not a ledger, is damaged or is newer than this version, and `StorageBusy` when another process holds
    it.
    """
    if path.is_dir():
        _fail(path, "it is a folder")
    if not path.parent.is_dir():
        _fail(path, "its folder does not exist")
    engine = create_engine(
        URL.create("sqlite+pysqlite", database=str(path)),
        pool_size=1,
        max_overflow=0,
        paramstyle="named",  # rows are dictionaries
        connect_args={"isolation_level": None, "timeout": BUSY_S},
    )
    event.listen(engine, "begin", _begin)
    with contextlib.ExitStack() as undo:
        undo.callback(engine.dispose)
        try:
            connection = engine.connect()
            undo.callback(connection.close)
            _check_sound(path, _raw(connection))
            _migrate(path, connection, draw, scripts)
        except (SQLAlchemyError, sqlite3.Error, CommandError) as error:
            sentence = f"{path} cannot be opened as the ledger, nothing was deleted"
            raise _meaning(error, sentence) from error
        undo.pop_all()
    return connection


def close(connection: Connection) -> None:
    """Give back the connection and everything of its engine."""
    engine: Engine = connection.engine
    connection.close()
    engine.dispose()


def commit_error(error: Exception) -> DtmsError:
    """What a failed transaction means to the caller.

    `StorageBusy`: nothing was written. Besides a lock that is a full disk: then the last frame of the log is not whole,
    and the transaction cannot come back at the next start. After anything else only the disk knows, hence
    `StorageFailed`: a commit that answered EIO was there after a restart (``reliability.md`` T7).
    """
    return _meaning(error, "A commit failed and may or may not be on disk")


def read_error(error: Exception) -> DtmsError:
    """The same for a read: `StorageBusy` or `StorageFailed`."""
    return _meaning(error, "The ledger cannot be read")


def _meaning(error: Exception, sentence: str) -> DtmsError:
    code = _code(error)
    if code in {_BUSY, _LOCKED}:
        return StorageBusy()
    if code == _FULL:
        return StorageBusy(f"The disk of the database is full; nothing was written ({_cause(error)})")
    return StorageFailed(f"{sentence}: {_cause(error)}")


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


def _raw(connection: Connection) -> sqlite3.Connection:
    raw = connection.connection.driver_connection
    if not isinstance(raw, sqlite3.Connection):
        message = f"the writer needs a connection of sqlite3, not {type(raw).__name__}"
        raise TypeError(message)
    return raw


def _check_sound(path: Path, raw: sqlite3.Connection) -> None:
    (verdict,) = raw.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        _fail(path, f"the file is damaged ({verdict}); restore a backup")


def _migrate(path: Path, connection: Connection, draw: Callable[[int], int], scripts: str) -> None:
    raw = _raw(connection)
    config = Config()
    config.set_main_option("script_location", scripts)
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    steps = ScriptDirectory.from_config(config)
    known = {step.revision for step in steps.walk_revisions()}
    newest = str(steps.get_current_head())
    current = _revision(path, raw)
    if current is not None and current not in known:
        _fail(
            path,
            f"its tables are of step {current}, this version of DTMS knows up to {newest}; start the newer version",
        )
    if current is not None and current != newest:
        _back_up(raw, path.with_name(f"{path.name}.before-{newest}.bak"))
    _set_up(path, raw)
    with connection.begin():
        if current != newest:
            command.upgrade(config, "head")
        _draw_instance(connection, draw)


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


def _back_up(raw: sqlite3.Connection, target: Path) -> None:
    """Copy the whole database to ``target``, complete or not at all.

    The copy has no instance: whoever restores it gets a new one, because the magics after it are at the broker
    already (R20).
    """
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)
    copy = sqlite3.connect(part)
    try:
        raw.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")
        copy.execute("DELETE FROM meta WHERE name = ?", (INSTANCE,))
        copy.commit()
    finally:
        copy.close()
    part.replace(target)


def _draw_instance(connection: Connection, draw: Callable[[int], int]) -> None:
    if connection.execute(select(META.c.value).where(META.c.name == INSTANCE)).scalar() is None:
        connection.execute(insert(META).values(name=INSTANCE, value=str(draw(1000))))
