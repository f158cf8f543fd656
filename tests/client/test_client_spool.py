from __future__ import annotations

import json
import os
import stat
import sys
import threading
from pathlib import Path

import pytest
from client_world import Turned
from hypothesis import given
from hypothesis import strategies as st

from dtms_client import spool as module
from dtms_client.errors import OutboxFull, OutboxUnavailable
from dtms_client.spool import NEW, REJECTED, Damaged, Entry, Spool, any_waiting, entries

BODY = {"ticket": 7, "symbol": "EURUSD"}
posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX file modes and links")


def test_what_is_written_is_read_back(tmp_path: Path, time: Turned) -> None:
    entry = Spool(tmp_path / "o", time.clock()).write(BODY, "http://a:1")
    item = entry.load()
    assert (dict(item.body), item.url, item.created_wall) == (BODY, "http://a:1", time.wall)
    assert entry.created_wall == pytest.approx(time.wall)
    assert entry.path.name.split("-")[1] == str(os.getpid())


@posix
def test_files_and_folders_are_for_the_owner_alone(tmp_path: Path) -> None:
    entry = Spool(tmp_path / "o").write(BODY)
    assert [path.stat().st_mode & 0o777 for path in (entry.path, entry.path.parent, tmp_path / "o")] == [
        0o600,
        0o700,
        0o700,
    ]


def test_entries_come_oldest_first_and_only_whole_files(tmp_path: Path, time: Turned) -> None:
    outbox = Spool(tmp_path, time.clock())
    first = outbox.write(BODY)
    time.sleep(1)
    second = outbox.write({**BODY, "ticket": 8})
    (tmp_path / NEW / "half.tmp").write_text("{")
    (tmp_path / NEW / "folder.json").mkdir()
    assert entries(tmp_path) == [first, second]


def test_a_folder_that_does_not_exist_is_empty(tmp_path: Path) -> None:
    assert entries(tmp_path / "none") == []
    assert Spool(tmp_path / "none").sweep() == 0


def test_whether_anything_waits_is_known_without_listing_all(tmp_path: Path) -> None:
    assert not any_waiting(tmp_path / "nowhere")
    spool = Spool(tmp_path)
    entry = spool.write(BODY)
    assert any_waiting(tmp_path)
    entry.reject({"code": "no"})
    (tmp_path / NEW / "half.tmp").write_text("")
    assert not any_waiting(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        any_waiting(tmp_path / "file")


def test_the_same_registration_waits_once(tmp_path: Path, time: Turned) -> None:
    """A poller that registers all positions every 30 s through an outage of hours must not fill the outbox."""
    outbox = Spool(tmp_path, time.clock())
    kept = outbox.write(BODY)
    for _ in range(50):
        time.sleep(30)
        assert Spool(tmp_path, time.clock()).write(dict(BODY)) == kept
    assert outbox.write(BODY, "http://elsewhere:1") != kept
    assert len(entries(tmp_path)) == 2


def test_threads_that_write_at_one_instant_lose_nothing(tmp_path: Path, time: Turned) -> None:
    outbox = Spool(tmp_path, time.clock())
    threads = [threading.Thread(target=outbox.write, args=({"ticket": 1 + number % 4},)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {entry.load().body["ticket"] for entry in entries(tmp_path)} == {1, 2, 3, 4}
    assert not list((tmp_path / NEW).glob("*.tmp"))


def test_a_file_is_synced_before_it_gets_its_name_and_the_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = Spool(tmp_path)
    outbox.write({"ticket": 1})
    calls: list[str] = []
    real_sync, real_replace = os.fsync, Path.replace

    def sync(handle: int) -> None:
        calls.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        real_sync(handle)

    def replace(self: Path, target: Path) -> Path:
        calls.append("rename")
        return real_replace(self, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", replace)
    outbox.write({"ticket": 2})
    assert calls == (["file", "rename", "folder"] if sys.platform == "linux" else calls)


def test_rejecting_keeps_the_file_beside_its_reason_and_retry_brings_it_back(tmp_path: Path) -> None:
    entry = Spool(tmp_path).write(BODY)
    entry.reject({"code": "registration_conflict", "detail": "BUY against SELL"})
    assert entries(tmp_path) == []
    (rejected,) = entries(tmp_path, REJECTED)
    assert dict(rejected.load().body) == BODY
    assert rejected.reason()["detail"] == "BUY against SELL"
    rejected.retry()
    assert entries(tmp_path) == [entry]
    assert list((tmp_path / REJECTED).iterdir()) == []


def test_another_drainer_may_always_be_faster(tmp_path: Path) -> None:
    entry = Spool(tmp_path).write(BODY)
    entry.remove()
    entry.remove()
    assert entry.reject({}) is None
    assert list((tmp_path / REJECTED).glob("*")) == []
    with pytest.raises(FileNotFoundError):
        entry.load()


def test_drainers_that_refuse_the_same_file_at_once_leave_one_whole_reason(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    long, short = {"detail": "x" * 20_000}, {"detail": "y"}

    def reject(entry: Entry, problem: dict[str, str]) -> None:
        together.wait()
        entry.reject(problem)

    for ticket in range(30):
        entry = spool.write({"ticket": ticket})
        together = threading.Barrier(4)
        threads = [threading.Thread(target=reject, args=(entry, problem)) for problem in (long, short, long, short)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (kept,) = [each for each in entries(tmp_path, REJECTED) if each.path.name == entry.path.name]
        assert kept.reason() in (long, short)


def test_a_missing_reason_is_no_error(tmp_path: Path) -> None:
    assert Spool(tmp_path).write(BODY).reason() == {}


@posix
def test_symbolic_links_are_not_followed(tmp_path: Path) -> None:
    secret = Spool(tmp_path / "another").write(BODY).path
    outbox = Spool(tmp_path / "o")
    outbox.write(BODY).remove()
    link = tmp_path / "o" / NEW / "00000000000000000001-1-a.json"
    link.symlink_to(secret)
    assert entries(tmp_path / "o") == []
    with pytest.raises(Damaged):
        Entry(link).load()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / NEW).symlink_to(elsewhere)
    with pytest.raises(OutboxUnavailable, match="not a folder"):
        Spool(tmp_path / "p").write(BODY)
    assert list(elsewhere.iterdir()) == []


@posix
def test_a_pipe_in_the_outbox_blocks_nobody(tmp_path: Path) -> None:
    Spool(tmp_path).write(BODY).remove()
    pipe = tmp_path / NEW / "00000000000000000001-1-a.json"
    os.mkfifo(pipe)
    with pytest.raises(Damaged):
        Entry(pipe).load()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[1]",
        b"\xff",
        b'{"v": 2}',
        b'{"v": 1}',
        b'{"v": 1, "body": [], "url": null, "created_wall": 1}',
        b'{"v": 1, "body": {"ticket": NaN}, "url": null, "created_wall": 1, "digest": "x"}',
        b"[" * 60_000,
        b" " * 70_000,
    ],
)
def test_a_damaged_file_says_why(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "00000000000000000001-1-a.json"
    path.write_bytes(content)
    with pytest.raises(Damaged):
        Entry(path).load()


@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_flipped_bit_is_noticed_or_changes_nothing_that_counts(
    tmp_path_factory: pytest.TempPathFactory, at: int, bit: int
) -> None:
    folder = tmp_path_factory.mktemp("flip")
    entry = Spool(folder).write({"ticket": 12345, "symbol": "XAUUSD", "stop_loss": 1900.5})
    raw = bytearray(entry.path.read_bytes())
    raw[at % len(raw)] ^= 1 << bit
    entry.path.write_bytes(raw)
    try:
        item = entry.load()
    except Damaged:
        return
    assert (dict(item.body), item.url) == ({"ticket": 12345, "symbol": "XAUUSD", "stop_loss": 1900.5}, None)


@given(
    st.dictionaries(st.text(max_size=10), st.none() | st.integers() | st.text(max_size=20) | st.booleans(), max_size=5)
)
def test_any_body_survives_the_disk(tmp_path_factory: pytest.TempPathFactory, body: dict[str, object]) -> None:
    assert dict(Spool(tmp_path_factory.mktemp("any")).write(body).load().body) == body


def test_a_full_outbox_says_so_and_drops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FILES_MAX", 3)
    outbox = Spool(tmp_path)
    for ticket in (1, 2, 3):
        outbox.write({"ticket": ticket})
    with pytest.raises(OutboxFull):
        outbox.write({"ticket": 4})
    assert len(entries(tmp_path)) == 3
    assert outbox.write({"ticket": 2}) in entries(tmp_path)


def test_the_bound_in_bytes_holds_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BYTES_MAX", 1000)
    outbox = Spool(tmp_path)
    outbox.write({"ticket": 1, "symbol": "x" * 400})
    with pytest.raises(OutboxFull):
        outbox.write({"ticket": 2, "symbol": "x" * 400})


def test_a_file_is_measured_once_however_many_are_written_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[str] = []

    def measured(path: Path) -> int:
        looked_at.append(path.name)
        return path.stat().st_size

    monkeypatch.setattr(module, "_size", measured)
    monkeypatch.setattr(module, "BYTES_MAX", 2 * module.FILE_MAX)
    spool = Spool(tmp_path)
    for ticket in range(20):
        spool.write({"ticket": ticket})
    assert len(looked_at) == len(set(looked_at)) == 19  # all but the last


def test_a_registration_that_is_too_long_is_not_stored(tmp_path: Path) -> None:
    with pytest.raises(OutboxUnavailable, match="65536"):
        Spool(tmp_path).write({"ticket": 1, "symbol": "x" * 70_000})


def test_a_folder_that_cannot_be_made_is_outbox_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutboxUnavailable, match="file"):
        Spool(tmp_path / "file" / "o").write(BODY)


def test_a_write_that_fails_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    outbox = Spool(tmp_path)
    outbox.write({"ticket": 1})
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutboxUnavailable, match="No space"):
        outbox.write({"ticket": 2})
    assert [path.suffix for path in (tmp_path / NEW).iterdir()] == [".json"]


def test_half_files_of_dead_writers_are_swept_after_a_minute(tmp_path: Path, time: Turned) -> None:
    outbox = Spool(tmp_path, time.clock())
    outbox.write(BODY)
    half = tmp_path / NEW / "1-1-a.tmp"
    half.write_text("{")
    os.utime(half, (time.wall, time.wall))
    time.sleep(59)
    assert outbox.sweep() == 0
    time.sleep(2)
    assert outbox.sweep() == 1
    assert len(entries(tmp_path)) == 1


def test_a_scanner_that_holds_a_file_is_waited_for_on_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Played on any platform: ten tries of 20 ms outlast an antivirus scanner."""
    naps: list[float] = []
    tries = iter([True, True, False])

    def act() -> None:
        if next(tries):
            raise PermissionError

    monkeypatch.setattr(module.sys, "platform", "win32")
    monkeypatch.setattr(module.time, "sleep", naps.append)
    module._patiently(act)
    assert naps == [0.02, 0.02]


def test_the_file_is_readable_for_people(tmp_path: Path) -> None:
    found = json.loads(Spool(tmp_path).write(BODY).path.read_text())
    assert (found["v"], found["body"]["ticket"]) == (1, 7)


@posix
@pytest.mark.parametrize("state", [NEW, REJECTED])
def test_a_linked_folder_is_refused_by_every_reader_and_what_lies_there_is_left_alone(
    tmp_path: Path, state: str
) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "theirs.json").write_text("{}")
    stale = foreign / "stale.tmp"
    stale.write_text("theirs")
    os.utime(stale, (0, 0))
    outbox = tmp_path / "o"
    outbox.mkdir()
    (outbox / state).symlink_to(foreign)
    with pytest.raises(NotADirectoryError, match="not followed"):
        entries(outbox, state)
    with pytest.raises(NotADirectoryError, match="not followed"):
        Spool(outbox).sweep()
    with pytest.raises(NotADirectoryError, match="not followed"):
        Entry(outbox / state / "theirs.json").reject({"code": "damaged"})
    assert sorted(path.name for path in foreign.iterdir()) == ["stale.tmp", "theirs.json"]


@posix
def test_whether_anything_waits_behind_a_link_is_not_looked_at(tmp_path: Path) -> None:
    (tmp_path / NEW).symlink_to(tmp_path)
    with pytest.raises(NotADirectoryError, match="not followed"):
        any_waiting(tmp_path)
