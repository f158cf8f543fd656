"""Storage that fails under the real service: what callers see, how the process ends, what is there afterwards."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pages
import pytest
from service import ROOT, Service

from dtms_service.app import serve
from dtms_service.app.build import LateLedger
from dtms_service.app.leaving import Exit
from dtms_service.app.locks import ledger_lock
from dtms_service.domain.errors import StorageFailed
from dtms_service.ledger import copies
from dtms_service.ledger.store import SqlLedger
from dtms_service.settings.loading import load


@pytest.mark.process
def test_every_command_of_the_page_about_backups_answers_as_the_page_says(tmp_path: Path) -> None:
    assert pages.run(ROOT / "docs" / "howto" / "back-up-and-restore.md", tmp_path) > 15


class Storage:
    """A service on a disk that obeys, with three positions of which one is registered."""

    def __init__(self, folder: Path) -> None:
        self.order = folder / "order"
        state = folder / "state"
        settings = {"DISK_ORDER": str(self.order), "DTMS_SIMULATOR__CLOCK": "live", "DTMS_CADENCE__CYCLE_S": "1"}
        self.service = Service(state, settings, program=(str(Path(__file__).with_name("process_disk.py")),))
        (state / "logs").mkdir(parents=True)
        if sys.platform == "linux":
            (state / "logs" / "dtms.log").symlink_to("/dev/full")  # 17: the log has no space, and nobody minds
        self.service.start()
        self.tickets = [self._open() for _ in range(3)]
        self.register(0, status=201)

    def _open(self) -> int:
        position = self.service.post("/simulator/positions", {"symbol": "BTCUSD", "side": "BUY", "volume": 0.1})
        return int(position["ticket"])

    def register(self, number: int, status: int | None = None) -> Any:
        return self.service.ask("PUT", f"/dtms/trades/{self.tickets[number]}", json={}, status=status)

    def reasons(self) -> set[str]:
        answer = self.service.ask("GET", "/health/ready", status=None)
        return {reason["code"] for reason in answer["reasons"]} or {answer["status"]}

    def known(self) -> set[int]:
        return {trade["ticket"] for trade in self.service.get("/dtms/trades")["trades"]}

    def ended(self) -> int:
        """The exit code of a service that ends by itself."""
        assert self.service.process is not None
        return self.service.process.wait(15)


def until(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another process's exclusive transaction; a connection of ours is the same to SQLite."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


@contextmanager
def pulse(url: str) -> Iterator[list[float]]:
    """Latencies of ``/health/live`` meanwhile."""
    stop, latencies = threading.Event(), []

    def ask() -> None:
        with httpx.Client(trust_env=False, timeout=5) as client:
            while not stop.wait(0.02):
                begun = time.perf_counter()
                client.get(f"{url}/health/live").raise_for_status()
                latencies.append(time.perf_counter() - begun)

    thread = threading.Thread(target=ask)
    thread.start()
    yield latencies
    stop.set()
    thread.join()


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    begun = Storage(tmp_path)
    yield begun
    begun.service.stop()


@pytest.mark.process
def test_scenarios_11_12_13_and_17_in_one_life(storage: Storage, tmp_path: Path) -> None:
    service, ledger = storage.service, tmp_path / "state" / "dtms.db"
    marker = ledger.with_name("dtms.used")
    first, second, _ = storage.tickets

    # 11: nothing is stored while another process has it, in time, and the loop never waits
    with locked(ledger), pulse(service.url) as latencies:
        refused = storage.register(1)
        assert (refused["status"], refused["code"], refused["definite"]) == (503, "storage_busy", True)
        assert storage.reasons() >= {"storage_busy"}
        assert storage.known() == {first}
    assert max(latencies) < 0.5
    until(lambda: storage.reasons() == {"ready"})  # by itself
    storage.register(1, status=201)

    # 12: the same for a full disk, once the space set aside is used up
    assert ledger.with_name("dtms.db.reserve").exists()
    storage.order.write_text("full")
    assert storage.register(2)["code"] == "storage_busy"
    assert not ledger.with_name("dtms.db.reserve").exists()
    assert (storage.reasons() >= {"storage_busy"}, storage.known()) == (True, {first, second})
    storage.order.unlink()
    until(lambda: storage.reasons() == {"ready"})

    # 13: an error at the commit ends the process; what the disk says is true
    storage.order.write_text("eio")
    assert storage.register(2)["code"] == "storage_failed"
    assert storage.ended() == 75
    last = service.log().splitlines()[-1]
    assert "storage failed" in last
    assert "Try: dtms db verify" in last
    assert copies.verify(ledger, marker).trades == 3


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not delete an open file")
async def test_scenario_15_files_that_go_away_while_nothing_is_written_end_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "LOOK_S", 0.01)
    opened = await SqlLedger.open(f"sqlite:///{tmp_path}/dtms.db", draw=lambda _: 1)

    async def open_it() -> SqlLedger:
        return opened

    ledger = LateLedger(open_it)
    watching = asyncio.create_task(serve._watch_ledger(ledger.look))
    await ledger.load()
    await asyncio.sleep(0.05)
    assert not watching.done()
    opened.path.unlink()
    with pytest.raises(StorageFailed, match="gone"):
        await asyncio.wait_for(watching, 5)
    await ledger.close()


def test_two_state_folders_cannot_write_to_one_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DTMS_LEDGER_URL", f"sqlite:///{tmp_path}/dtms.db")
    monkeypatch.setenv("DTMS_TERMINAL", "simulated")
    held = ledger_lock(load({"state_dir": str(tmp_path / "one")}).settings)
    assert held is not None
    with held, pytest.raises(Exit, match=f"process {os.getpid()} already writes to") as refused:
        ledger_lock(load({"state_dir": str(tmp_path / "two")}).settings)
    assert refused.value.code == 73
