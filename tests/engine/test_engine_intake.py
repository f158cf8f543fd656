"""The service reads the callers' spool: what they announced, what they registered, and what waits too long there."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from engine_world import World, open_world

from dtms_client.spool import ANNOUNCED, NEW, REJECTED, Spool, entries
from dtms_service.app.announcing import KEPT_S, Folder
from dtms_service.app.ingest import OLD_S, Intake, take_in
from dtms_service.domain.errors import NotAccepting
from dtms_service.domain.trade import Owner

PORT = 8001


class Caller:
    """A caller's spool, and the service's looks at it."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self.folder = folder
        self.later_s = self.steady_s = 0.0
        self._spool = Spool(folder)
        self.starts_anew()

    def starts_anew(self, speed: float | None = None) -> None:
        """The service forgets what it has seen of the folder."""
        self._intake = Intake(self.world.dtms, Folder(self.folder), PORT, speed, steady=lambda: self.steady_s)

    def announce(self, symbol: str, magic: int, url: str | None = None, **fields: Any) -> None:
        body = {"symbol": symbol, "magic": magic, "process": 1, "unique": "1-1", **fields}
        self._spool.write(body, url, ANNOUNCED)

    def register(self, ticket: int) -> None:
        self._spool.write({"ticket": ticket})

    def now(self) -> float:
        (oldest,) = [*entries(self.folder), *entries(self.folder, ANNOUNCED)][:1]
        return oldest.created_wall + self.later_s

    async def look(self, wall: Callable[[], float] | None = None) -> None:
        self._intake.wall = wall or self.now
        await take_in(self.world.dtms, [self._intake])


@pytest.fixture
async def world(tmp_path: Path):
    opened = await open_world(tmp_path / "state")
    yield opened
    await opened.close()


@pytest.fixture
def caller(world: World, tmp_path: Path) -> Caller:
    return Caller(world, tmp_path / "outbox")


async def test_a_caller_that_dies_between_order_and_registration_loses_nothing(world: World, caller: Caller) -> None:
    caller.announce("EURUSD", 770, strategy_type="trend", source="bot")
    await caller.look()
    ticket = await world.open(magic=770)
    await world.advance(60)
    trade = world.trade(ticket)
    assert (trade.owner, trade.source) == (Owner.UNIVERSAL_MANAGER, "bot")
    await caller.look()
    assert entries(caller.folder, ANNOUNCED) == []


async def test_what_was_open_when_it_was_announced_stays_as_it_is(world: World, caller: Caller) -> None:
    old = await world.open(magic=770)
    await caller.look(lambda: 0.0)
    await world.advance(3600)
    await caller.look(lambda: 0.0)
    caller.announce("EURUSD", 770)
    await caller.look()
    await world.advance(60)
    assert world.dtms.book.find(old) is None
    new = await world.open(magic=770)
    await world.advance(60)
    assert world.dtms.book.find(new) is not None
    assert world.dtms.book.find(old) is None


async def test_what_opened_between_the_announcement_and_its_reading_came_of_it_however_far_the_date_moved(
    world: World, caller: Caller
) -> None:
    await caller.look(lambda: 0.0)
    caller.announce("EURUSD", 770)
    ticket = await world.open(magic=770)
    await world.advance(600)
    await caller.look()
    await world.advance(30)
    assert world.dtms.book.find(ticket) is not None


async def test_a_file_that_a_start_finds_is_dated_by_its_age_at_the_speed_of_the_engine_clock(
    world: World, caller: Caller
) -> None:
    caller.announce("EURUSD", 770)
    written = entries(caller.folder, ANNOUNCED)[0].load().created_wall
    dates = []
    for speed in (1.0, 60.0, None):
        caller.starts_anew(speed)
        await caller.look(lambda: written + 100)
        (said,) = world.dtms.unmanaged.announcements
        dates.append(round(world.dtms.now() - said.after))
    assert dates == [100, 6000, 0]  # of a stepped clock only its begin is known, and nobody has stepped it yet


async def test_a_withdrawn_announcement_counts_no_more(world: World, caller: Caller) -> None:
    caller.announce("EURUSD", 770)
    await caller.look()
    entries(caller.folder, ANNOUNCED)[0].remove()
    await caller.look(lambda: 0.0)
    ticket = await world.open(magic=770)
    await world.advance(60)
    assert world.dtms.book.find(ticket) is None


async def test_an_announcement_to_another_service_is_left_alone(world: World, caller: Caller) -> None:
    caller.announce("EURUSD", 770, url="http://127.0.0.1:9999")
    await caller.look()
    assert world.dtms.unmanaged.announcements == []
    assert len(entries(caller.folder, ANNOUNCED)) == 1


async def test_an_announcement_of_which_nothing_came_is_set_aside_after_a_week(world: World, caller: Caller) -> None:
    caller.announce("EURUSD", 770)
    caller.later_s = KEPT_S - 1
    await caller.look()
    assert len(world.dtms.unmanaged.announcements) == 1
    caller.later_s = KEPT_S + 1
    await caller.look()
    assert world.dtms.unmanaged.announcements == []
    (aside,) = entries(caller.folder, REJECTED)
    assert aside.reason()["code"] == "nothing_came_of_it"


async def test_a_damaged_announcement_is_set_aside_with_its_reason(world: World, caller: Caller) -> None:
    caller.announce("EURUSD", 770)
    path = entries(caller.folder, ANNOUNCED)[0].path
    path.write_text(path.read_text().replace("770", "771"))
    await caller.look(lambda: 0.0)
    assert world.dtms.unmanaged.announcements == []
    assert entries(caller.folder, REJECTED)[0].reason()["code"] == "damaged"


ODD: Mapping[str, Callable[[dict[str, Any]], object]] = {
    "a port that is none": lambda file: file.update(url="http://127.0.0.1:80010"),
    "an address that is none": lambda file: file.update(url="http://[::1"),
    "half a character": lambda file: file["body"].update(source="\ud800"),
    "a time of 400 digits": lambda file: file.update(created_wall=10**400),
    "a time that never comes": lambda file: file.update(created_wall=float("inf")),
}


@pytest.mark.parametrize("state", [NEW, ANNOUNCED])
@pytest.mark.parametrize("odd", ODD)
async def test_an_odd_file_is_set_aside_and_stops_nothing(world: World, caller: Caller, odd: str, state: str) -> None:
    ticket = await world.open()
    caller.announce("EURUSD", 770, source="bot")
    if state == NEW:
        entries(caller.folder, ANNOUNCED)[0].remove()
        caller.register(ticket + 1)
    path = entries(caller.folder, state)[0].path
    file = json.loads(path.read_text())
    ODD[odd](file)
    whole = json.dumps({"body": file["body"], "url": file["url"]}, sort_keys=True, separators=(",", ":"))
    path.write_text(json.dumps({**file, "digest": hashlib.sha256(whole.encode()).hexdigest()}))
    caller.register(ticket)
    await caller.look(time.time)
    assert world.dtms.book.find(ticket) is not None
    assert [entry.reason()["code"] for entry in entries(caller.folder, REJECTED)] == ["damaged"]


async def test_a_registration_that_waits_for_two_minutes_is_an_alert_until_it_is_taken_in(
    world: World, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def later(_: Sequence[object]) -> list[object]:
        raise NotAccepting

    ticket = await world.open()
    caller.register(ticket)
    with monkeypatch.context() as patch:
        patch.setattr(world.dtms, "register", later)
        caller.later_s = OLD_S
        await caller.look()
        assert world.dtms.alerting.open == {}
        caller.steady_s += 1
        for _ in range(3):
            await caller.look()
    (alert,) = world.dtms.alerting.open.values()
    assert (alert.code, alert.about, alert.count, alert.over_at) == ("spool_old", str(caller.folder), 1, None)
    await caller.look(lambda: 0.0)
    assert world.dtms.book.find(ticket) is not None
    (alert,) = world.dtms.alerting.open.values()
    assert alert.over_at is not None


async def test_a_folder_that_cannot_be_read_is_an_alert_after_two_minutes_until_it_can(
    world: World, caller: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    caller.folder.mkdir()
    new = caller.folder / NEW
    new.write_text("a file where the folder should be")
    for second in (0.0, 40.0, 80.0, OLD_S):
        caller.steady_s = second
        await caller.look(lambda: 0.0)
    assert world.dtms.alerting.open == {}
    for second in (OLD_S + 1, OLD_S + 3, OLD_S + 5):
        caller.steady_s = second
        await caller.look(lambda: 0.0)
    (alert,) = world.dtms.alerting.open.values()
    assert (alert.code, alert.count, alert.over_at) == ("spool_old", 1, None)
    assert "spool_unusable" in alert.detail
    failures = [record.__dict__["failures"] for record in caplog.records if record.message == "spool_unusable"]
    assert failures == [1, 2, 4]
    new.unlink()
    await caller.look(lambda: 0.0)
    (alert,) = world.dtms.alerting.open.values()
    assert alert.over_at is not None


@pytest.mark.parametrize("jump_s", [-8 * 86_400.0, -3600.0, 3600.0, 8 * 86_400.0])
async def test_a_jump_of_the_machines_clock_makes_no_registration_older_or_younger(
    world: World, caller: Caller, monkeypatch: pytest.MonkeyPatch, jump_s: float
) -> None:
    async def later(_: Sequence[object]) -> list[object]:
        raise NotAccepting

    monkeypatch.setattr(world.dtms, "register", later)
    caller.register(await world.open())
    await caller.look()
    caller.later_s, caller.steady_s = jump_s, OLD_S - 1
    await caller.look()
    assert world.dtms.alerting.open == {}
    caller.steady_s = OLD_S + 1
    await caller.look()
    assert [alert.code for alert in world.dtms.alerting.open.values()] == ["spool_old"]


async def test_the_service_dates_files_by_the_clock_that_clients_use() -> None:
    assert abs(Intake(None, None, PORT, 1.0).wall() - time.time()) < 60  # type: ignore[arg-type]  # no look


@pytest.mark.parametrize("error", [errno.EIO, errno.EMFILE, errno.EACCES])
async def test_a_registration_that_cannot_be_read_now_stays_and_the_others_are_taken_in(
    world: World, caller: Caller, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    unread, fine = await world.open(), await world.open()
    caller.register(unread)
    caller.register(fine)
    (first, _), opened = entries(caller.folder), os.open

    def failing(path: Any, *args: Any, **keywords: Any) -> int:
        if Path(path) == first.path:
            raise OSError(error, os.strerror(error))
        return opened(path, *args, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", failing)
        await caller.look()
        caller.steady_s = OLD_S + 1
        await caller.look()
    assert (world.dtms.book.find(unread), world.trade(fine).ticket) == (None, fine)
    assert [entry.path for entry in entries(caller.folder)] == [first.path]
    (alert,) = world.dtms.alerting.open.values()
    assert (alert.code, "spool_unusable" in alert.detail) == ("spool_old", True)
    await caller.look()
    assert world.trade(unread).ticket == unread


async def test_a_damaged_file_is_set_aside_and_told(world: World, caller: Caller) -> None:
    caller.register(await world.open())
    (entry,) = entries(caller.folder)
    entry.path.write_bytes(entry.path.read_bytes()[:-20])
    await caller.look(lambda: 0.0)
    assert [rejected.path.name for rejected in entries(caller.folder, REJECTED)] == [entry.path.name]
    (alert,) = world.dtms.alerting.open.values()
    assert (alert.code, alert.about, "is not JSON" in alert.detail) == ("spool_damaged", entry.path.name, True)
