"""Killed at any moment, a program has lost no registration that it was told is safe (reliability 4E 36)."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from client_world import listening

from dtms_client.spool import NEW, Damaged, entries
from dtms_client.testing import FakeDtms

VICTIM = Path(__file__).with_name("client_victim.py")
KILLS = 30


@pytest.mark.process
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
@pytest.mark.parametrize("up", [True, False], ids=["service up", "service away"])
def test_every_acknowledged_registration_is_delivered_or_on_disk_and_none_is_torn(
    up: bool, dtms: FakeDtms, outbox_dir: Path
) -> None:
    chance = random.Random(7)
    acknowledged: set[int] = set()
    with listening(dtms) as address:
        env = {**os.environ, "DTMS_API_URL": address} if up else dict(os.environ)
        command = [sys.executable, str(VICTIM)]
        with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as nursery:
            assert nursery.stdin is not None
            assert nursery.stdout is not None
            for start in range(KILLS):
                nursery.stdin.write(f"{1 + start * 1_000_000}\n")
                nursery.stdin.flush()
                victim = int(nursery.stdout.readline().split()[1])
                for _ in range(chance.randrange(1, 13)):
                    acknowledged.add(int(nursery.stdout.readline()))
                threading.Event().wait(chance.random() * 0.003)
                os.kill(victim, signal.SIGKILL)
                while (said := nursery.stdout.readline()) != "dead\n":
                    acknowledged.add(int(said))
            nursery.stdin.close()
    stored: set[int] = set()
    for entry in entries(outbox_dir):
        try:
            stored.add(int(entry.load().body["ticket"]))
        except Damaged as torn:
            raise AssertionError(entry.path) from torn
    assert len(acknowledged) >= KILLS
    assert acknowledged <= stored | set(dtms.trades)
    assert up or acknowledged <= stored
    assert not (up and len(stored) > KILLS)  # what is left is at most what the kills interrupted
    assert all(path.suffix in {".json", ".tmp"} for path in (outbox_dir / NEW).iterdir())
