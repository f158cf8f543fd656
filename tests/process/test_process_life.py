"""Start, stop, lock, port and signals of the real process; behind the API a tiny stand-in for the engine."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from process_standin import CONFLICTING
from service import free_port

from dtms_client.spool import REJECTED, Spool, entries

pytestmark = pytest.mark.process

CANARY = "canary-5417-long-enough"
STANDIN = Path(__file__).with_name("process_standin.py")
PATIENCE_S = 30.0


class Process:
    """The service with the stand-in, as a process."""

    def __init__(self, state: Path, port: int, **settings: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DTMS_")}
        chosen = {"DTMS_STATE_DIR": str(state), "DTMS_API_PORT": str(port), "DTMS_TERMINAL": "simulated", **settings}
        self.state, self.port = state, port
        self.process = subprocess.Popen(
            [sys.executable, str(STANDIN)],
            env=kept | chosen,
            cwd=state.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ended(self, timeout: float = PATIENCE_S) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        out, err = self.process.communicate(timeout=timeout)
        return self.process.returncode, out, err

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        self.process.send_signal(number)
        return self.ended()

    def get(self, path: str, host: str = "127.0.0.1") -> tuple[int, Any]:
        connection = http.client.HTTPConnection(host, self.port, timeout=5)
        with contextlib.closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

    def until(self, status: int, path: str = "/health/ready") -> Any:
        """The body of ``path`` once it answers ``status``."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                got, body = self.get(path)
                if got == status:
                    return body
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.02)
        raise AssertionError(f"{path} never answered {status}")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    """Starts processes and ends those that are left."""
    begun: list[Process] = []

    def begin(state: str = "state", port: int | None = None, **settings: str) -> Process:
        begun.append(Process(tmp_path / state, port or free_port(), **settings))
        return begun[-1]

    yield begin
    for one in begun:
        if one.process.poll() is None:
            one.process.kill()
        one.process.communicate()


def test_it_is_live_and_not_ready_until_the_engine_is_ready_and_both_loopbacks_answer(start: Any) -> None:
    service = start(STANDIN_START_S="1.5")
    assert service.until(503)["reasons"]
    status, live = service.get("/health/live")
    assert (status, live["service"]) == (200, "dtms")
    assert service.until(200)["phase"] == "ready"
    if socket.has_ipv6:
        assert service.get("/health/live", "::1")[1]["instance_id"] == live["instance_id"]
    code, out, _ = service.stop()
    assert code == 0
    assert out.split("\n")[:3] == ["ready", "terminal closed", "ledger closed"]


def test_a_second_service_loses_by_folder_or_by_port_and_a_killed_one_is_replaced_at_once(start: Any) -> None:
    first = start()
    first.until(200)
    same_folder, same_port = start(), start("other", first.port)
    code, out, err = same_folder.ended()
    assert (code, out) == (73, "")
    assert f"process {first.process.pid} already serves" in err
    assert "Try: " in err
    code, out, err = same_port.ended()
    assert (code, out) == (74, "")
    assert f"port {first.port} on 127.0.0.1 is taken by another DTMS" in err
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", first.port)) as kept_open:
        kept_open.request("GET", "/health/live")
        kept_open.getresponse().read()
        first.process.kill()
        first.process.wait()
        second = start(port=first.port)
        second.until(200)
    assert second.stop(signal.SIGINT)[0] == 0


def test_a_stop_that_comes_before_ready_is_obeyed(start: Any) -> None:
    service = start(STANDIN_START_S="60")
    service.until(503)
    begun = time.monotonic()
    code, out, _ = service.stop()
    assert code == 0
    assert "ready" not in out
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize(
    ("settings", "code", "sentence"),
    [
        ({"STANDIN_FAILS": "storage"}, 75, "storage failed: the database is a folder"),
        ({"STANDIN_FAILS": "invalid"}, 78, "bars.csv holds no bars"),
        ({"STANDIN_FAILS": "crash"}, 1, "the third failure in a row"),
    ],
)
def test_every_failure_has_its_exit_code_and_its_sentence(
    start: Any, settings: Mapping[str, str], code: int, sentence: str
) -> None:
    got, out, err = start(**settings).ended()
    assert got == code
    assert sentence in err
    assert "ledger closed" in out


def test_registrations_left_on_disk_are_taken_in_and_refused_ones_set_aside(start: Any, tmp_path: Path) -> None:
    outbox = tmp_path / "state" / "outbox"
    port = free_port()
    spool = Spool(outbox)
    spool.write({"ticket": 101, "symbol": "EURUSD", "side": "BUY"})
    spool.write({"ticket": 102, "side": "SELL"}, url=f"http://127.0.0.1:{port}")
    spool.write({"ticket": 103, "side": "BUY"}, url="http://dtms.example:9")
    spool.write({"ticket": CONFLICTING, "side": "BUY"})
    spool.write({"ticket": 104, "side": "up"})
    (outbox / "new" / "20260101000000-1-torn.json").write_text('{"v": 1, "bo')
    service = start(port=port)
    service.until(200)
    deadline = time.monotonic() + PATIENCE_S
    while len(entries(outbox)) > 1 and time.monotonic() < deadline:
        time.sleep(0.05)
    (left,) = entries(outbox)
    assert left.load().body["ticket"] == 103
    assert {trade["ticket"] for trade in service.get("/dtms/trades")[1]["trades"]} == {101, 102}
    reasons = {entry.reason()["code"] for entry in entries(outbox, REJECTED)}
    assert reasons == {"registration_conflict", "validation_failed", "damaged"}
    assert service.stop()[0] == 0


def test_a_token_of_the_environment_closes_the_service_and_never_reaches_its_log(start: Any) -> None:
    service = start(DTMS_API_TOKEN=CANARY)
    service.until(200)
    assert service.get("/dtms/status")[0] == 401
    assert service.get(f"/dtms/status?token={CANARY}")[0] == 401
    code, out, err = service.stop()
    assert code == 0
    log = (service.state / "logs" / "dtms.log").read_text()
    assert '"event": "ready"' in log or '"event": "started"' in log
    assert CANARY not in out + err + log
