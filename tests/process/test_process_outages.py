"""What callers and start scripts see while the service is not there, not ready, or not DTMS at all."""

from __future__ import annotations

import http.server
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import scenario
from service import Service, free_port

from dtms_client import DtmsClient

pytestmark = pytest.mark.process

CLIENT = [sys.executable, "-m", "dtms_client.cli"]


def wait_ready(port: int, timeout: float) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DTMS_API_PORT": str(port)}
    command = [*CLIENT, "wait-ready", "--timeout", str(timeout)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@contextmanager
def stranger(body: bytes) -> Iterator[int]:
    """Another program on a port, which answers everything with 200 and ``body``."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_ready_is_503_with_reasons_until_the_engine_is_initialised(tmp_path: Path) -> None:
    service = Service(tmp_path / "state").start(wait=False)
    seen: list[tuple[int, tuple[str, ...]]] = []
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and (not seen or seen[-1][0] != 200):
        try:
            answer = httpx.get(f"{service.url}/health/ready", trust_env=False, timeout=2)
        except httpx.TransportError:
            continue
        seen.append((answer.status_code, tuple(reason["code"] for reason in answer.json()["reasons"])))
    assert service.stop() == 0
    assert seen[0][0] == 503, seen[:3]
    assert {"ledger_closed", "terminal_not_connected"} & set(seen[0][1])
    assert all(reasons for status, reasons in seen if status == 503)
    assert seen[-1] == (200, ())


def test_wait_ready_tells_ready_from_late_from_something_else(tmp_path: Path) -> None:
    late = wait_ready(free_port(), 1)
    assert late.returncode == 1
    assert "Try" in late.stderr + late.stdout
    for body in (b"hello", b'{"status": "ok"}', b'{"status": "ready", "service": "other"}'):
        with stranger(body) as port:
            started = time.monotonic()
            assert wait_ready(port, 30).returncode == 2
            assert time.monotonic() - started < 20, "it waited for a stranger to become DTMS"
    with Service(tmp_path / "state") as service:
        assert wait_ready(service.port, 30).returncode == 0


def test_a_trade_registered_while_the_service_is_down_is_protected_within_seconds_of_its_start(tmp_path: Path) -> None:
    service = Service(tmp_path / "state", {"DTMS_SIMULATOR__CLOCK": "live"}).start()
    tickets = [
        service.post("/simulator/positions", {"symbol": "BTCUSD", "side": side, "volume": 0.1})["ticket"]
        for side in ("BUY", "SELL", "BUY")
    ]
    service.kill()
    with scenario.caller_of(service):
        started = time.monotonic()
        with DtmsClient() as client:
            assert client.register(tickets[0]).outcome == "queued"
        assert time.monotonic() - started < 5, "the caller's deadline"
    dying = (
        "import os, signal, sys\n"
        "from dtms_client import auto_register_dtms\n"
        "sys.stdout.write(str(auto_register_dtms(int(sys.argv[1]), {})))\n"
        "sys.stdout.flush()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    for ticket in tickets[1:]:
        command = [sys.executable, "-c", dying, str(ticket)]
        dead = subprocess.run(command, env=service.environment, capture_output=True, text=True, check=False)
        assert (dead.stdout, dead.returncode) == ("True", -signal.SIGKILL), dead.stderr
    assert len(list((service.state_dir / "outbox" / "new").glob("*.json"))) >= 2
    service.start()
    ready = time.monotonic()
    while not all(trade["protected"] for trade in scenario.trades(service)) or len(scenario.trades(service)) < 3:
        assert time.monotonic() - ready < 5, scenario.trades(service)
        time.sleep(0.05)
    assert service.stop() == 0


def test_a_killed_terminal_process_is_replaced_and_nothing_is_lost(tmp_path: Path) -> None:
    with Service(tmp_path / "state") as service:
        ticket = service.post("/simulator/positions", {"symbol": "EURUSD", "side": "BUY", "volume": 0.1})["ticket"]
        service.ask("PUT", f"/dtms/trades/{ticket}", json={}, status=201)
        service.advance(seconds=60)
        assert service.process is not None
        children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children").read_text().split()
        for child in children:
            os.kill(int(child), signal.SIGKILL)
        for _ in range(100):
            answer = httpx.post(f"{service.url}/simulator/advance", json={"seconds": 120}, trust_env=False, timeout=30)
            if answer.status_code == 200:
                break
            time.sleep(0.05)
        service.wait_ready()
        assert service.get(f"/dtms/trades/{ticket}")["protected"] is True
