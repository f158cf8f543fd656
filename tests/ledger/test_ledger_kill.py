from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from ledger_values import a_trade

from dtms_service.ledger.store import SqlLedger


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")
async def test_whatever_was_acknowledged_survives_twenty_kills(url: str) -> None:
    victim = Path(__file__).with_name("ledger_victim.py")
    done = subprocess.run([sys.executable, victim, url], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    acknowledged = {int(line) for line in done.stdout.split()}
    assert len(acknowledged) >= sum(1 + 3 * kill for kill in range(20))

    ledger = await SqlLedger.open(url, draw=lambda _: 2)
    recorded = await ledger.load()
    events = await ledger.events(limit=100_000)
    await ledger.close()
    stored = {trade.trade_id: trade for trade in recorded.trades}
    assert acknowledged <= set(stored)
    assert all(stored[number] == a_trade(number) for number in acknowledged)
    assert {event.trade_id for event in events} == set(stored)  # a batch is there whole or not at all
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
