"""Reading old databases: everything they know, nothing written, and each way of being unusable is named."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from old_databases import DTMS_TRADES, UNIVERSAL_TRADES, dtms_trade, universal_trade, write

from dtms_service.adopt import records
from dtms_service.adopt.records import Unusable, read


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "WAIT_S", 0.0)


def test_both_tables_are_read_and_the_universal_manager_knows_better_who_manages(tmp_path: Path) -> None:
    first = write(tmp_path / "dtms_trades.db", DTMS_TRADES, dtms_trade(1, "XAUUSD", "SELL"), dtms_trade(2))
    second = write(tmp_path / "universal.db", UNIVERSAL_TRADES, universal_trade(2), universal_trade(3, None, ""))
    for files in ([first, second], [second, first]):
        found = read(files)
        assert sorted(found) == [1, 2, 3]
        assert dict(found[1].claims) == {"symbol": "XAUUSD", "side": "SELL", "entry_price": 1.1, "volume": 0.1}
        assert found[2].claims["strategy_type"] == "kill_zone"
        assert found[2].claims["managed_by"] == "universal_sl_tp_manager"
        assert found[2].found_in == "universal.db:universal_trades"
        assert "strategy_type" not in found[3].claims


def test_both_tables_may_lie_in_one_file_and_columns_may_be_missing(tmp_path: Path) -> None:
    file = write(
        tmp_path / "one.db",
        DTMS_TRADES,
        dtms_trade(1),
        "CREATE TABLE universal_trades (ticket INTEGER, strategy_type TEXT, more TEXT)",
        "INSERT INTO universal_trades VALUES (1, 'fvg_retracement', 'x')",
    )
    assert dict(read([file])[1].claims)["strategy_type"] == "fvg_retracement"
    assert dict(read([file])[1].claims)["symbol"] == "EURUSD"


@pytest.mark.parametrize("wal", [False, True])
def test_reading_changes_nothing_and_leaves_nothing_behind(tmp_path: Path, wal: bool) -> None:
    file = write(tmp_path / "old.db", DTMS_TRADES, dtms_trade(1), wal=wal)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert sorted(read([file])) == [1]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_name_with_a_question_mark_or_a_percent_is_only_a_name(tmp_path: Path) -> None:
    folder = tmp_path / "100% old?"
    folder.mkdir()
    assert sorted(read([write(folder / "a#b.db", DTMS_TRADES, dtms_trade(1))])) == [1]


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.db", tmp_path):
        with pytest.raises(Unusable, match="is not a file"):
            read([path])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"not a database at all, but long enough to be taken for one" * 50, b"", b"SQL"])
def test_a_file_that_is_no_database_of_theirs_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "old.db"
    file.write_bytes(content)
    with pytest.raises(Unusable, match=r"old\.db .* Try: "):
        read([file])
    assert file.read_bytes() == content


def test_a_torn_database_is_named(tmp_path: Path) -> None:
    file = write(tmp_path / "old.db", DTMS_TRADES, *(dtms_trade(n) for n in range(1, 2000)))
    raw = file.read_bytes()
    file.write_bytes(raw[:4096] + b"\xff" * 8192 + raw[12288:])
    with pytest.raises(Unusable, match=r"old\.db"):
        read([file])


def test_a_database_of_another_program_is_named_with_what_it_holds(tmp_path: Path) -> None:
    file = write(tmp_path / "news.db", "CREATE TABLE news (id INTEGER)")
    with pytest.raises(Unusable, match=r"news\.db holds neither dtms_trades nor universal_trades \(news\)"):
        read([file])
    other = write(tmp_path / "other.db", "CREATE TABLE dtms_trades (id INTEGER)")
    with pytest.raises(Unusable, match="no column ticket"):
        read([other])


@pytest.mark.parametrize("ticket", ["'abc'", "-5", "0", "NULL", "1.5"])
def test_a_row_that_names_no_ticket_is_named_and_nothing_of_the_file_is_taken(tmp_path: Path, ticket: str) -> None:
    file = write(
        tmp_path / "old.db",
        "CREATE TABLE dtms_trades (ticket, symbol)",
        "INSERT INTO dtms_trades VALUES (7, 'EURUSD')",
        f"INSERT INTO dtms_trades VALUES ({ticket}, 'EURUSD')",  # noqa: S608 - one of the literals above
    )
    with pytest.raises(Unusable, match="has a row whose ticket is"):
        read([file])


def test_a_database_that_somebody_writes_to_is_not_waited_for_without_end(tmp_path: Path) -> None:
    file = write(tmp_path / "old.db", DTMS_TRADES, dtms_trade(1))
    with closing(sqlite3.connect(file, isolation_level=None)) as busy:
        busy.execute("BEGIN EXCLUSIVE")
        with pytest.raises(Unusable, match=r"locked.* Try: stop the program that writes to it"):
            read([file])
        busy.execute("ROLLBACK")
    assert sorted(read([file])) == [1]


def test_what_an_open_log_holds_is_read_too(tmp_path: Path) -> None:
    file = write(tmp_path / "old.db", DTMS_TRADES, dtms_trade(1), wal=True)
    with closing(sqlite3.connect(file, isolation_level=None)) as busy:
        busy.execute(*dtms_trade(2))
        assert sorted(read([file])) == [1, 2]


def test_a_database_whose_program_died_while_writing_is_not_mended_by_reading(tmp_path: Path) -> None:
    file = write(tmp_path / "old.db", DTMS_TRADES, *(dtms_trade(number) for number in range(1, 2000)))
    copy = tmp_path / "copy"
    copy.mkdir()
    with closing(sqlite3.connect(file, isolation_level=None)) as busy:
        busy.execute("PRAGMA cache_size = 1")
        busy.execute("BEGIN EXCLUSIVE")
        busy.execute("UPDATE dtms_trades SET symbol = 'XAUUSD'")
        for each in (file, file.with_name("old.db-journal")):
            shutil.copy(each, copy)
        busy.execute("ROLLBACK")
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    with pytest.raises(Unusable, match=r"old\.db"):
        read([copy / "old.db"])
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before
