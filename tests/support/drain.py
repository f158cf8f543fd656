"""Registrations that queued up while the real service was down, and how long it takes until it has them all."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

from service import Service

from dtms_client import DtmsClient
from dtms_client.spool import Spool, any_waiting, entries

FIRST = 10**9
"""Tickets that no terminal shows: they cost the service the same, and the test no positions."""
LONGEST_S = 120.0


def drained_by_client(folder: Path, count: int) -> float:
    """Seconds from ready until the background thread of a waiting program has delivered ``count``."""
    service = Service(folder / "state")
    _queue(folder / "outbox", count)
    with _settings(DTMS_API_URL=service.url, DTMS_SPOOL_DIR=str(folder / "outbox")):
        DtmsClient()  # what waits is the business of its background thread from now on
        return _emptied(service, folder / "outbox", count)


def drained_by_service(folder: Path, count: int) -> float:
    """The same when the programs are dead, and the service finds their files."""
    service = Service(folder / "state")
    _queue(service.state_dir / "outbox", count)
    return _emptied(service, service.state_dir / "outbox", count)


def _queue(folder: Path, count: int) -> None:
    """As programs do; several at once, because each waits for the disk."""
    spool = Spool(folder)
    with ThreadPoolExecutor(8) as programs:
        bodies = ({"ticket": FIRST + number, "symbol": "EURUSD", "side": "BUY"} for number in range(count))
        for entry in programs.map(spool.write, bodies):
            assert entry.path.exists()


def _emptied(service: Service, outbox: Path, count: int) -> float:
    with service:
        ready = time.monotonic()
        while any_waiting(outbox):  # listing all of them would take a processor of its own
            assert time.monotonic() - ready < LONGEST_S, f"{len(entries(outbox))} still wait\n{service.log()}"
            time.sleep(0.02)
        seconds = time.monotonic() - ready
    with closing(sqlite3.connect(service.state_dir / "dtms.db")) as ledger:
        rows = ledger.execute("SELECT count(*), count(DISTINCT ticket) FROM trades").fetchone()
    assert rows == (count, count), f"{rows} in the ledger, {count} were queued"
    return seconds


@contextmanager
def _settings(**wanted: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
