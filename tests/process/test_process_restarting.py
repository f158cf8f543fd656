"""A service that something kills again and again raises an alert at its fifth start, and watches all the same."""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from nursery import Nursery, Victim

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL"),
]

WAIT_S = 20.0


def test_ten_kills_in_a_row_are_an_alert_from_the_fifth_start_on_and_every_life_watches(tmp_path: Path) -> None:
    with Nursery() as nursery:
        victim = Victim(tmp_path / "state", nursery=nursery)
        ticket, noted = None, []
        for number in range(1, 11):
            victim.start()
            if ticket is None:
                body = {"symbol": "EURUSD", "side": "BUY", "volume": 0.1}
                ticket = victim.post("/simulator/positions", body)["ticket"]
                victim.ask("PUT", f"/dtms/trades/{ticket}", json={})
            assert victim.get(f"/dtms/trades/{ticket}")["state"] == "HEALTHY"
            assert victim.get("/health/ready")["status"] == "ready"
            noted = changed(victim, noted)
            assert told(victim) == max(0, number - 4)
            victim.kill()


def changed(victim: Victim, noted: list[float]) -> list[float]:
    """The starts in the ledger, once this one is among them: it is noted beside everything else."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        with closing(sqlite3.connect(victim.state_dir / "dtms.db")) as ledger:
            rows = ledger.execute("SELECT value FROM meta WHERE name = 'starts'").fetchall()
        if rows and json.loads(rows[0][0]) != noted:
            return list(json.loads(rows[0][0]))
        time.sleep(0.02)
    raise AssertionError(victim.log())


def told(victim: Victim) -> int:
    """How often the alert was raised so far."""
    return sum(alert["count"] for alert in victim.get("/dtms/alerts")["alerts"] if alert["code"] == "restarting")
