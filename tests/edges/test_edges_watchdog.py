"""A loop that stands still is told with its place, and a dead one ends the process (scenario 53)."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
import time

import pytest

from dtms_service.app.watchdog import Watchdog


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "dtms_service.app.watchdog"]


async def blocked(seconds: float) -> None:
    time.sleep(seconds)


async def test_a_standstill_is_told_with_the_line_that_causes_it(caplog: pytest.LogCaptureFixture) -> None:
    ended = threading.Event()
    with caplog.at_level(logging.WARNING), Watchdog(end=ended.set):
        await blocked(0.6)
        await asyncio.sleep(0.3)
    assert told(caplog) == ["loop_stands_still", "loop_goes_on"]
    place = caplog.records[0].__dict__["at"]
    assert place[-1].endswith(" blocked")
    assert "test_edges_watchdog.py" in place[-1]
    assert not ended.is_set()


async def test_a_loop_that_turns_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    with Watchdog(end=lambda: pytest.fail("it turns")):
        for _ in range(20):
            await blocked(0.01)
            await asyncio.sleep(0.01)
    assert told(caplog) == []


async def test_a_dead_loop_ends_the_process(caplog: pytest.LogCaptureFixture) -> None:
    ended = threading.Event()
    with Watchdog(end=ended.set, dead_s=0.5):
        await blocked(1.2)
    assert ended.is_set()
    assert "loop_is_dead" in told(caplog)


def test_the_process_ends_with_exit_code_1_and_says_why() -> None:
    script = (
        "import asyncio, logging, time\n"
        "from dtms_service.app.watchdog import Watchdog, leave_at_once\n"
        "async def main():\n"
        "    with Watchdog(end=leave_at_once, dead_s=0.3):\n"
        "        time.sleep(60)\n"
        "logging.basicConfig()\n"
        "asyncio.run(main())\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 1
    assert "loop_is_dead" in ended.stderr


def test_a_console_that_takes_nothing_stops_the_loop_and_not_the_watchdog() -> None:
    script = (
        "import asyncio, logging, sys\n"
        "from dtms_service.app.watchdog import Watchdog, leave_at_once\n"
        "async def main():\n"
        "    with Watchdog(end=leave_at_once, dead_s=0.3):\n"
        "        while True:\n"
        "            logging.warning('x' * 10_000)\n"
        "logging.basicConfig()\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE) as service:  # nobody reads
        assert service.wait(timeout=30) == 1
