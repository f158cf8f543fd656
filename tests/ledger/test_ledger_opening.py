from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from ledger_values import INSTANCE, a_trade, an_event, an_intent
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from dtms_service.domain.errors import StorageBusy, StorageFailed
from dtms_service.domain.record import Batch
from dtms_service.ledger import copies, database, migrations
from dtms_service.ledger.marker import marker_of
from dtms_service.ledger.store import SqlLedger
from dtms_service.ledger.tables import METADATA, TRADES, upsert


def _never(_: int) -> int:
    pytest.fail("an instance was drawn")


@contextmanager
def _sqlite(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path)) as connection, connection:
        yield connection


def _ask(path: Path, query: str) -> list[Any]:
    with _sqlite(path) as connection:
        return [value for (value,) in connection.execute(query)]


async def _filled(url: str) -> Path:
    ledger = await SqlLedger.open(url, draw=lambda _: INSTANCE)
    await ledger.commit(Batch((an_event(),), (a_trade(),), (an_intent(77),)))
    await ledger.close()
    return ledger.path


@pytest.fixture
def next_step(tmp_path: Path) -> Path:
    """The shipped steps, and one more that a test writes."""
    scripts = tmp_path / "steps"
    shutil.copytree(Path(migrations.__file__).parent, scripts, ignore=shutil.ignore_patterns("__pycache__"))
    (scripts / "versions" / "next.py").write_text(
        "import sqlalchemy as sa\n"
        "from alembic import op\n"
        "revision = 'next'\n"
        "down_revision = '0003'\n"
        "def upgrade():\n"
        "    op.create_table('notes', sa.Column('text', sa.Text()))\n"
        "    op.execute('INSERT INTO notes VALUES (1)')\n"
    )
    return scripts


async def test_the_steps_make_exactly_the_tables_of_the_code(ledger: SqlLedger) -> None:
    def differences(connection: Connection) -> list[Any]:
        return compare_metadata(MigrationContext.configure(connection), METADATA)

    assert await ledger._writer.read(differences) == []


async def test_a_database_at_the_newest_step_is_opened_as_it_is(url: str) -> None:
    path = await _filled(url)
    again = await SqlLedger.open(url, draw=_never)
    assert (await again.load()).last_trade_id == 1
    await again.close()
    assert sorted(file.name for file in path.parent.iterdir()) == [path.name, f"{path.name}.used"]


@pytest.mark.parametrize("scheme", ["sqlite", "sqlite+pysqlite", "sqlite+aiosqlite"])
async def test_the_driver_in_the_url_does_not_matter(tmp_path: Path, scheme: str) -> None:
    ledger = await SqlLedger.open(f"{scheme}:///{tmp_path}/dtms.db", draw=lambda _: INSTANCE)
    await ledger.commit(Batch((an_event(),)))
    assert len(await ledger.events()) == 1
    await ledger.close()


async def test_an_older_database_is_copied_and_then_brought_up_to_date(url: str, next_step: Path) -> None:
    path = await _filled(url)
    database.close(database.connect(path, _never, str(next_step)))
    assert _ask(path, "SELECT version_num FROM alembic_version") == ["next"]
    assert _ask(path, "SELECT count(*) FROM notes") == [1]
    backup = path.with_name(path.name + ".before-next.bak")
    assert _ask(backup, "SELECT version_num FROM alembic_version") == ["0003"]
    assert _ask(backup, "SELECT count(*) FROM events") == [1]


async def test_a_restored_copy_gets_an_instance_of_its_own(url: str, next_step: Path) -> None:
    path = await _filled(url)
    database.close(database.connect(path, _never, str(next_step)))
    before = path.with_name(path.name + ".before-next.bak")
    shutil.copy(before, path)
    with pytest.raises(
        StorageFailed, match="it is a copy, or its log is damaged: it holds 1 of the 1 commits made here"
    ):
        await SqlLedger.open(url, draw=_never)
    copies.restore(before, path, path.with_name("kept"), marker_of(path))
    restored = await SqlLedger.open(url, draw=lambda _: INSTANCE + 1)
    recorded = await restored.load()
    await restored.close()
    assert (recorded.instance, recorded.last_magic_sequence) == (INSTANCE + 1, 0)
    assert recorded.open_intents == (an_intent(77),)


async def test_a_step_that_fails_leaves_nothing_behind(url: str, next_step: Path) -> None:
    path = await _filled(url)
    step = next_step / "versions" / "next.py"
    step.write_text(step.read_text() + "    op.drop_table('nowhere')\n")
    with pytest.raises(StorageFailed, match="nowhere"):
        database.connect(path, _never, str(next_step))
    assert _ask(path, "SELECT version_num FROM alembic_version") == ["0003"]
    assert _ask(path, "SELECT count(*) FROM events") == [1]
    assert _ask(path, "SELECT name FROM sqlite_master WHERE name = 'notes'") == []
    again = await SqlLedger.open(url, draw=_never)
    assert (await again.load()).trades == (a_trade(),)
    await again.close()


async def test_a_first_step_that_fails_leaves_an_empty_database(tmp_path: Path, next_step: Path) -> None:
    step = next_step / "versions" / "next.py"
    step.write_text(step.read_text() + "    op.drop_table('nowhere')\n")
    with pytest.raises(StorageFailed):
        database.connect(tmp_path / "dtms.db", _never, str(next_step))
    assert _ask(tmp_path / "dtms.db", "SELECT name FROM sqlite_master") == []
    assert not list(tmp_path.glob("*.bak"))


async def test_a_database_of_a_newer_version_is_refused_and_left_alone(url: str) -> None:
    path = await _filled(url)
    with _sqlite(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0099'")
    before = path.read_bytes()
    with pytest.raises(StorageFailed, match=r"step 0099.*knows up to 0003.*newer version"):
        await SqlLedger.open(url, draw=_never)
    assert path.read_bytes() == before


async def test_a_folder_is_not_a_database(tmp_path: Path) -> None:
    with pytest.raises(StorageFailed, match="it is a folder"):
        await SqlLedger.open(f"sqlite:///{tmp_path}", draw=_never)


async def test_a_missing_folder_is_named_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(StorageFailed, match="its folder does not exist"):
        await SqlLedger.open(f"sqlite:///{tmp_path}/missing/dtms.db", draw=_never)
    assert not (tmp_path / "missing").exists()


async def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "dtms.db"
    path.write_bytes(b"ticket;symbol\n" * 500)
    with pytest.raises(StorageFailed, match="not a database"):
        await SqlLedger.open(f"sqlite:///{path}", draw=_never)
    assert path.read_bytes() == b"ticket;symbol\n" * 500


async def test_the_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "dtms.db"
    with _sqlite(path) as connection:
        connection.execute("CREATE TABLE dtms_trades (ticket INTEGER)")
    before = path.read_bytes()
    with pytest.raises(StorageFailed, match="not a ledger's"):
        await SqlLedger.open(f"sqlite:///{path}", draw=_never)
    assert path.read_bytes() == before


@pytest.mark.parametrize("part", ["alembic_version", "trades_open_position"])
async def test_a_damaged_database_is_refused_and_left_alone(url: str, part: str) -> None:
    path = await _filled(url)
    (page,) = _ask(path, f"SELECT rootpage FROM sqlite_master WHERE name = '{part}'")  # noqa: S608  a constant of this test
    sound = path.read_bytes()
    path.write_bytes(sound[: (page - 1) * 4096] + b"\xff" * 4096 + sound[page * 4096 :])
    damaged = path.read_bytes()
    with pytest.raises(StorageFailed, match=r"damaged|malformed"):
        await SqlLedger.open(url, draw=_never)
    assert path.read_bytes() == damaged


async def test_a_database_that_another_process_holds_is_busy(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_S", 0.02)
    path = await _filled(url)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageBusy):
            await SqlLedger.open(url, draw=_never)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "postgresql://user:secret@host/db", "no url"])
async def test_what_is_not_a_file_of_sqlite_is_refused_without_showing_a_password(url: str) -> None:
    with pytest.raises(StorageFailed) as refused:
        await SqlLedger.open(url, draw=_never)
    assert "secret" not in str(refused.value)


def test_tables_and_upserts_are_valid_for_postgresql() -> None:
    dialect = postgresql.dialect()
    for table in METADATA.sorted_tables:
        assert "CREATE TABLE" in str(CreateTable(table).compile(dialect=dialect))
    texts = [str(CreateIndex(index).compile(dialect=dialect)) for index in TRADES.indexes]
    assert [text.partition(" WHERE ")[2] for text in texts] == ["closed_at IS NULL AND identifier IS NOT NULL"]
    assert "ON CONFLICT (trade_id) DO UPDATE" in str(upsert(TRADES, "postgresql").compile(dialect=dialect))
