from __future__ import annotations

import logging
import os
import signal
import threading
from pathlib import Path

import pytest
from client_world import Turned, listening
from hypothesis import given
from hypothesis import strategies as st

from dtms_client import DtmsClient
from dtms_client.delivery import Outbox
from dtms_client.flusher import FLUSHER, Flusher, back_off
from dtms_client.http import Target
from dtms_client.spool import REJECTED, Spool, entries
from dtms_client.testing import FakeDtms
from dtms_client.wire import BatchItemIn

NEAR, FAR = "http://127.0.0.1:1", "http://dtms.example"


class World:
    """A flusher without its thread: each `step` is one pass, and time passes as it asks."""

    def __init__(self, time: Turned, dtms: FakeDtms, folder: Path, url: str = NEAR) -> None:
        self.time = time
        dtms.in_background = True
        self.outbox = Outbox(
            Spool(folder, time.clock()), Target(url, None, dtms), "always", named=False, clock=time.clock()
        )
        self.flusher = Flusher(time.clock())
        self.flusher.watch(self.outbox)

    def queue(self, ticket: int) -> None:
        self.outbox.spool.write({"ticket": ticket})

    def pass_time(self, seconds: float) -> None:
        until = self.time.now + seconds
        while self.time.now < until:
            pause = self.flusher.run_once()
            self.time.sleep(min(pause, until - self.time.now))


@pytest.mark.parametrize("outage", [1, 60, 8 * 3600])
def test_a_queued_trade_is_delivered_within_five_seconds_however_long_the_outage(
    time: Turned, dtms: FakeDtms, tmp_path: Path, outage: int
) -> None:
    world = World(time, dtms, tmp_path)
    dtms.reachable = False
    world.queue(1)
    world.pass_time(min(outage, 200))
    time.sleep(max(0, outage - 200))
    world.pass_time(30)
    dtms.reachable = True
    back = time.now
    while not dtms.trades:
        world.pass_time(0.1)
    assert time.now - back < 5.0
    assert entries(tmp_path) == []


def test_a_service_that_does_not_accept_yet_is_asked_as_it_wishes(time: Turned, dtms: FakeDtms, tmp_path: Path) -> None:
    world = World(time, dtms, tmp_path)
    dtms.accepting = False
    time.jitter = 0.0
    world.queue(1)
    world.pass_time(60)
    assert 25 <= len(dtms.requests) <= 31  # Retry-After says 2 s
    dtms.accepting = True
    world.pass_time(5)
    assert 1 in dtms.trades


def test_what_waits_travels_in_batches(time: Turned, dtms: FakeDtms, tmp_path: Path) -> None:
    world = World(time, dtms, tmp_path)
    for ticket in range(1, 103):
        world.queue(ticket)
    world.flusher.run_once()
    assert len(dtms.trades) == 102
    assert [request.url.path for request in dtms.requests] == ["/dtms/trades/batch"] * 2


def test_an_outage_is_probed_with_one_registration_however_many_wait(
    time: Turned, dtms: FakeDtms, tmp_path: Path
) -> None:
    world = World(time, dtms, tmp_path)
    dtms.accepting = False
    for ticket in range(1, 31):
        world.queue(ticket)
    world.pass_time(20)
    assert [request.method for request in dtms.requests[1:]] == ["PUT"] * (len(dtms.requests) - 1)
    dtms.accepting = True
    world.pass_time(5)
    assert len(dtms.trades) == 30


def test_nothing_is_given_up_and_nothing_expires(time: Turned, dtms: FakeDtms, tmp_path: Path) -> None:
    world = World(time, dtms, tmp_path)
    dtms.reachable = False
    world.queue(1)
    for _ in range(50):
        world.pass_time(1)
        time.wall += 86_400 * 30  # four years in all
    assert len(entries(tmp_path)) == 1


def test_age_is_warned_about_once_and_then_alarmed_once(
    time: Turned, dtms: FakeDtms, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(time, dtms, tmp_path)
    heard: list[tuple[int, str]] = []
    world.outbox.on_unprotected = lambda ticket, reason: heard.append((ticket, reason))
    dtms.reachable = False
    world.queue(1)
    world.pass_time(29)
    assert caplog.records == []
    world.pass_time(5)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    world.pass_time(84)
    assert heard == []
    world.pass_time(10)
    assert [record.levelno for record in caplog.records] == [logging.WARNING, logging.CRITICAL]
    world.pass_time(600)
    assert [ticket for ticket, _ in heard] == [1]
    assert "not delivered" in heard[0][1]


def test_a_refused_registration_does_not_stop_the_others(time: Turned, dtms: FakeDtms, tmp_path: Path) -> None:
    world = World(time, dtms, tmp_path)
    dtms.refusals[2] = (409, "registration_conflict")
    for ticket in (1, 2, 3):
        world.queue(ticket)
    world.flusher.run_once()
    assert set(dtms.trades) == {1, 3}
    assert [entry.load().body["ticket"] for entry in entries(tmp_path, REJECTED)] == [2]


def test_an_outbox_that_cannot_be_read_is_said_once_and_does_not_end_the_thread(
    time: Turned, dtms: FakeDtms, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(time, dtms, tmp_path / "o")
    (tmp_path / "o").write_text("a file where a folder should be")
    world.pass_time(60)
    assert len(caplog.records) == 1
    (tmp_path / "o").unlink()
    world.queue(1)
    world.pass_time(5)
    assert 1 in dtms.trades


def test_a_callback_that_raises_does_not_end_the_thread(time: Turned, dtms: FakeDtms, tmp_path: Path) -> None:
    def broken(ticket: int, reason: str) -> None:
        raise RuntimeError

    world = World(time, dtms, tmp_path)
    world.outbox.on_unprotected = broken
    dtms.reachable = False
    world.queue(1)
    world.pass_time(200)
    dtms.reachable = True
    world.pass_time(5)
    assert 1 in dtms.trades


def test_a_file_that_a_call_is_sending_right_now_is_left_alone(time: Turned, dtms: FakeDtms, tmp_path: Path) -> None:
    world = World(time, dtms, tmp_path)
    with world.outbox.packed([BatchItemIn(ticket=5)]):
        world.flusher.run_once()
        assert dtms.requests == []
    world.pass_time(31)
    assert 5 in dtms.trades


def test_at_the_end_of_the_process_one_short_try_is_made_and_the_rest_is_named(
    time: Turned, dtms: FakeDtms, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(time, dtms, tmp_path)
    dtms.reachable = False
    world.queue(1)
    world.flusher.last_try()
    assert "1 registrations stay" in caplog.text
    dtms.reachable = True
    world.flusher.last_try()
    assert 1 in dtms.trades


@given(st.integers(1, 60), st.floats(0, 1e6), st.booleans(), st.floats(0, 1))
def test_the_wait_is_always_bounded(failures: int, age: float, near: bool, where: float) -> None:
    wait = back_off(failures, age, near=near, uniform=lambda low, high: low + (high - low) * where)
    assert 0.0 <= wait <= (2.0 if near or age < 120.0 else 30.0)


def test_a_remote_service_is_asked_less_often_once_registrations_are_old(
    time: Turned, dtms: FakeDtms, tmp_path: Path
) -> None:
    world = World(time, dtms, tmp_path, FAR)
    dtms.reachable = False
    world.queue(1)
    world.pass_time(200)
    before = time.now
    pauses = [world.flusher.run_once()]
    time.sleep(pauses[0])
    assert time.now - before > 2.0


def test_there_is_one_thread_however_many_clients_there_are(outbox_dir: Path) -> None:
    for ticket in range(1, 9):
        DtmsClient(NEAR).register(ticket)
    threads = [thread for thread in threading.enumerate() if thread.name == "dtms-client-flusher"]
    assert [thread for thread in threads if thread is FLUSHER._thread] == [FLUSHER._thread]
    assert FLUSHER._thread is not None
    assert FLUSHER._thread.daemon


def test_a_client_that_starts_delivers_what_an_earlier_program_left(
    dtms: FakeDtms, outbox_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Spool(outbox_dir).write({"ticket": 41})
    with listening(dtms) as url:
        monkeypatch.setenv("DTMS_API_URL", url)
        DtmsClient()
        for _ in range(500):
            if 41 in dtms.trades and not entries(outbox_dir):
                break
            threading.Event().wait(0.01)
    assert 41 in dtms.trades
    assert entries(outbox_dir) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
def test_a_lock_that_another_thread_held_during_a_fork_does_not_block_the_child(dtms: FakeDtms) -> None:
    dtms.in_background = True
    with FLUSHER._lock:
        child = os.fork()
        if child == 0:
            signal.alarm(5)
            DtmsClient("http://dtms.test", transport=dtms)
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("waiting", [False, True])
def test_a_thread_starts_when_something_waits_and_not_before(dtms: FakeDtms, outbox_dir: Path, waiting: bool) -> None:
    dtms.in_background = True
    if waiting:
        Spool(outbox_dir).write({"ticket": 41})
    DtmsClient("http://dtms.test", transport=dtms)
    assert (FLUSHER._thread is not None) is waiting


def test_with_the_fake_what_is_queued_waits_for_the_tests_own_flush(dtms: FakeDtms) -> None:
    dtms.reachable = False
    client = DtmsClient("http://dtms.test", transport=dtms, retries=1)
    assert client.register(1).outcome == "queued"
    assert FLUSHER._thread is None
    dtms.reachable = True
    assert client.flush() == 0
    assert list(dtms.trades) == [1]


def test_the_listener_of_a_later_client_is_heard(time: Turned, dtms: FakeDtms, tmp_path: Path) -> None:
    world = World(time, dtms, tmp_path)
    later = Outbox(world.outbox.spool, world.outbox.target, "always", named=False, clock=time.clock())
    heard: list[int] = []
    later.on_unprotected = lambda ticket, _: heard.append(ticket)
    world.flusher.watch(later)
    dtms.refusals[1] = (409, "registration_conflict")
    world.queue(1)
    world.flusher.run_once()
    assert heard == [1]
