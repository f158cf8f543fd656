"""A program that dies between its order and its registration: the service finds the position it had announced."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from service import Service

pytestmark = pytest.mark.process

PROGRAM = """
import json, os, sys, urllib.request
from dtms_client import DtmsClient

url, magic, announces = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "announced"

def order_send():
    body = {"symbol": "EURUSD", "side": "BUY", "volume": 0.1, "magic": magic}
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url + "/simulator/positions", json.dumps(body).encode(), headers)
    print(json.load(urllib.request.urlopen(request))["ticket"], flush=True)
    os._exit(9)  # the position is open, and nobody has been told

if announces:
    with DtmsClient().protecting("EURUSD", magic=magic, source="dead"):
        order_send()
order_send()
"""
LONGEST_S = 20.0


def dead_program(service: Service, magic: int, *, announces: bool) -> int:
    """The ticket of the position that it opened before it died."""
    command = [sys.executable, "-c", PROGRAM, service.url, str(magic), "announced" if announces else "silent"]
    environment = {**os.environ, **service.environment}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 9, ran.stderr
    return int(ran.stdout)


def test_what_was_announced_is_protected_although_its_program_died_and_what_was_not_is_told(tmp_path: Path) -> None:
    with Service(tmp_path / "state") as service:
        announced = dead_program(service, 770, announces=True)
        silent = dead_program(service, 771, announces=False)
        deadline = time.monotonic() + LONGEST_S
        while not (trades := service.get("/dtms/trades")["trades"]):
            assert time.monotonic() < deadline, service.log()
            time.sleep(0.25)  # the service looks into the outbox every 2 s of real time
            service.advance(seconds=30.0)
        assert [(t["ticket"], t["source"], t["protected"]) for t in trades] == [(announced, "dead", True)]
        assert [p["ticket"] for p in service.get("/dtms/unmanaged")["positions"]] == [silent]
        while list((service.state_dir / "outbox" / "announced").iterdir()):
            assert time.monotonic() < deadline, "the announcement is settled and stays"
            time.sleep(0.05)
