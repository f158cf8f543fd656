"""Two services begun at the same instant on one state folder: one of them watches, the other says who does."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
from nursery import Nursery, Victim
from service import READY_S, free_port

LOCKED = 73


def double_start(nursery: Nursery, folder: Path, *, one_port: bool, without: str | None = None) -> None:
    """Raises ``AssertionError`` unless exactly one became ready and the other left with 73 at the lock, naming it.

    ``without`` a protection.
    """
    first = Victim(folder, nursery=nursery, without=without)
    second = Victim(folder, nursery=nursery, port=first.port if one_port else free_port(), without=without)
    (folder / "service.log").unlink(missing_ok=True)
    for each in (first, second):
        each.start(wait=False)
    try:
        deadline = time.monotonic() + READY_S
        while (codes := [each.process.poll() for each in (first, second)]) == [None, None]:
            assert time.monotonic() < deadline, "both go on"
            time.sleep(0.005)
        lives, left = (first, second) if codes[0] is None else (second, first)
        assert left.process.wait() == LOCKED, first.log()
        lives.wait_ready()
        assert lives.process.poll() is None, first.log()
        said = first.log()
        assert str(lives.process.pid) in [word.strip(".,;:()") for word in said.split()], said
        assert "already serves" in said, said  # the lock of the ledger comes later, when it has a port already
        held = httpx.get(f"{lives.url}/health/ready", trust_env=False, timeout=5).json()
        assert held["status"] == "ready", held
    finally:
        for each in (first, second):
            each.process.kill()
            each.process.wait()
