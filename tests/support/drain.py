"""Registrations that queued up while the real service was down, and how long it takes until it has them all."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from service import Service

from dtms_client import DtmsClient
from dtms_client.spool import Spool, entries

FIRST = 10**9
"""Tickets that no terminal shows: they cost the service the same, and the test no positions."""
LONGEST_S = 120.0


def drained_by_client(folder: Path, count: int) -> float:
    """Seconds from ready until the background thread of a waiting program has delivered ``count``."""
    service = Service(folder / "state")
    with _settings(DTMS_API_URL=service.url, DTMS_SPOOL_DIR=str(folder / "outbox")):
        client = DtmsClient()
        for ticket in range(FIRST, FIRST + count):
            assert client.enqueue(ticket, symbol="EURUSD", side="buy").outcome == "queued"
        return _emptied(service, folder / "outbox", count)


def drained_by_service(folder: Path, count: int) -> float:
    """The same when the programs are dead, and the service finds their files."""
    service = Service(folder / "state")
    spool = Spool(service.state_dir / "outbox")
    for ticket in range(FIRST, FIRST + count):
        spool.write({"ticket": ticket, "symbol": "EURUSD", "side": "BUY"})
    return _emptied(service, spool.folder, count)


def _emptied(service: Service, outbox: Path, count: int) -> float:
    with service:
        ready = time.monotonic()
        while entries(outbox):
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
