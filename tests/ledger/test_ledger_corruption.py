"""The everyday share of ``scripts/prove.py corruption``, and each protection switched off once."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import damage
import pytest
from damage import BAD, FILE, Sample, Verdict
from sqlalchemy.exc import SQLAlchemyError

from dtms_service.ledger import codec, database, seal, store

Spoil = Callable[[Path], object]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return Sample.make(tmp_path_factory.mktemp("sample"))


def test_the_undamaged_sample_is_harmless(sample: Sample, tmp_path: Path) -> None:
    for killed in (False, True):
        assert sample.judge(tmp_path / "work", lambda _: None, killed=killed) is Verdict.HARMLESS


@pytest.mark.parametrize(
    ("kind", "number", "all_seen"),
    [
        (damage.bit_flips, 40, False),  # unused space of a page means nothing
        (damage.flips_in_alerts, 40, False),
        (damage.log_flips, 10, True),
        (damage.truncations, 20, True),
        (damage.foreign_rows, 18, True),
    ],
)
def test_damage_is_seen_or_means_nothing(
    sample: Sample, tmp_path: Path, kind: Callable[..., Any], number: int, all_seen: bool
) -> None:
    verdicts = Counter(kind(sample, tmp_path / "work", Random(20), number))
    assert sum(verdicts[bad] for bad in BAD) == 0, verdicts
    assert verdicts[Verdict.AT_START] + verdicts[Verdict.IN_USE] > number // 5
    assert not (all_seen and verdicts[Verdict.HARMLESS]), verdicts


def test_a_log_that_ends_at_an_earlier_commit_is_seen_whichever_it_is(sample: Sample, tmp_path: Path) -> None:
    """The earliest ends leave tables and nothing in them, as a first start that was cut short does."""
    verdicts = Counter(damage.log_ends(sample, tmp_path / "work"))
    assert verdicts.keys() == {Verdict.AT_START}, verdicts
    assert verdicts.total() > 90


def test_an_error_of_the_disk_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    words = Counter(damage.io_errors(tmp_path / "work", Random(21), 6, commits=2))
    assert len(words) >= 2, words
    assert "failed" in " ".join(damage.short_files(tmp_path / "work", Random(22), 2, commits=10))


def test_an_error_while_reading_is_an_error_and_never_less_than_there_is(tmp_path: Path) -> None:
    words = Counter(damage.read_errors(tmp_path / "work", Random(23), 6))
    assert words["refused"] > 3, words


def test_a_ledger_that_reads_errors_as_nothing_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load, read = store._load, []

    def forgiving(connection: Any) -> Any:
        try:
            read.append(load(connection))
        except SQLAlchemyError:
            return replace(read[0], trades=())
        return read[-1]

    monkeypatch.setattr(store, "_load", forgiving)
    with pytest.raises(AssertionError, match=r"\(0, 6\) of 6 trades"):
        Counter(damage.read_errors(tmp_path / "work", Random(23), 60))


# Each protection switched off: what only it sees goes unseen.


def _body_changed(folder: Path) -> None:
    damage.by_hand(folder, "UPDATE events SET body = replace(body, '7', '8') WHERE sequence = 7")


def _settled_order_gone(folder: Path) -> None:
    damage.by_hand(
        folder, "DELETE FROM intents WHERE magic = (SELECT min(magic) FROM intents WHERE state = 'CONFIRMED')"
    )


def _fact_changed(folder: Path) -> None:
    damage.by_hand(folder, "UPDATE meta SET value = '1@Other' WHERE name = 'account'")


def _log_cut(folder: Path) -> None:
    damage.cut(folder / f"{FILE}-wal", 400_000)


def _log_of_tables(folder: Path) -> None:
    """What is left are the tables, made by the first transaction of all."""
    log = folder / f"{FILE}-wal"
    damage.cut(log, next(damage.commits_of(log.read_bytes())))


def _file_gone(folder: Path) -> None:
    (folder / FILE).unlink()


def _log_of_nothing(folder: Path) -> None:
    damage.cut(folder / FILE, 0)
    (folder / f"{FILE}.used").unlink()


def _index_entry_changed(folder: Path) -> None:
    """In the index of histories, event 9 of trade 9 is made one of trade 100, for which nobody asks."""
    path = folder / FILE
    with sqlite3.connect(path) as plain:
        (root,) = plain.execute("SELECT rootpage FROM sqlite_master WHERE name = 'events_of_trade'").fetchone()
    plain.close()
    data = bytearray(path.read_bytes())
    start = (root - 1) * 4096
    at = data.index(bytes([7, 4, 1, 1, 1, 9, 9, 9]), start, start + 4096)  # lengths, three kinds, trade, event, row
    data[at + 5] = 100
    path.write_bytes(data)


def _checked_nothing(row: Any, name: str) -> str:
    del name
    return str(row["digest"])


def _check_facts_only(raw: sqlite3.Connection, *, whole: bool) -> seal.Seal:
    del whole
    return seal.seal_of(seal.facts_in(raw))


def _nothing(*_: object) -> None:
    return None


OFF: dict[str, tuple[list[tuple[Any, str, Any]], Spoil, bool, Verdict]] = {
    "the digest of a row": (
        [(codec, "checked", _checked_nothing), (seal, "checked", _checked_nothing)],
        _body_changed,
        False,
        Verdict.UNSEEN,
    ),
    "the seal over the rows": ([(database, "check", _check_facts_only)], _settled_order_gone, False, Verdict.UNSEEN),
    "the seal over the facts": (
        [(seal, "facts_digest", lambda facts: seal._read(facts).facts)],
        _fact_changed,
        False,
        Verdict.UNSEEN,
    ),
    "the marker's last commit": ([(database, "_check_place", _nothing)], _log_cut, True, Verdict.EMPTY),
    "the marker of a missing file": ([(database, "read", _nothing)], _file_gone, False, Verdict.EMPTY),
    "the marker of a log without a commit": ([(database, "read", _nothing)], _log_of_tables, True, Verdict.EMPTY),
    "the look for a log without its file": (
        [(database, "_check_unused", _nothing)],
        _log_of_nothing,
        True,
        Verdict.EMPTY,
    ),
    "the search for each row in each index": (
        [(database, "SOUND", "PRAGMA quick_check(1)")],
        _index_entry_changed,
        False,
        Verdict.UNSEEN,
    ),
}


@pytest.mark.parametrize("name", OFF)
def test_each_protection_sees_what_nobody_else_does(
    sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    parts, spoil, killed, without = OFF[name]
    assert sample.judge(tmp_path / "work", spoil, killed=killed) in {Verdict.AT_START, Verdict.IN_USE}
    for module, part, stand_in in parts:
        monkeypatch.setattr(module, part, stand_in)
    assert sample.judge(tmp_path / "work", spoil, killed=killed) is without
