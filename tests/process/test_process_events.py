"""Followers of the real process: they see everything once, over its death too, and never hold up its end."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from service import Service

pytestmark = pytest.mark.process


class Follower:
    """One open ``GET /dtms/events``."""

    def __init__(self, service: Service, last: int | None = None) -> None:
        self._socket = socket.create_connection(("127.0.0.1", service.port), timeout=20)
        resume = f"Last-Event-ID: {last}\r\n" if last is not None else ""
        self._socket.sendall(f"GET /dtms/events HTTP/1.1\r\nHost: 127.0.0.1\r\n{resume}\r\n".encode())
        self.got = b""

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def until(self, text: str) -> bytes:
        """Read on until ``text`` has come."""
        while text.encode() not in self.got:
            piece = self._socket.recv(65536)
            assert piece, f"ended before {text!r} came: {self.got[-300:]!r}"
            self.got += piece
        return self.got

    def to_the_end(self) -> bytes:
        """Everything, until the other side ends it."""
        while piece := self._socket.recv(65536):
            self.got += piece
        return self.got

    def frames(self) -> list[tuple[int, str, dict[str, Any]]]:
        """(id, event, data) of all that came."""
        blocks = [block.splitlines() for block in self.got.decode().split("\n\n")]
        found = []
        for block in blocks:
            lines = dict(line.split(": ", 1) for line in block if ": " in line)
            if "data" in lines:
                found.append((int(lines["id"]), lines["event"], json.loads(lines["data"])))
        return found


def register(service: Service) -> int:
    opened = service.post("/simulator/positions", {"symbol": "EURUSD", "side": "BUY", "volume": 0.1})
    service.ask("PUT", f"/dtms/trades/{opened['ticket']}", status=201)
    return int(opened["ticket"])


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("events") / "state") as running:
        yield running


def test_a_follower_of_a_killed_service_goes_on_where_it_was(service: Service) -> None:
    with Follower(service, last=0) as follower:
        follower.until("event: phase")
        first = register(service)
        follower.until(f'"ticket":{first}')
        before = [number for number, name, _ in follower.frames() if name != "phase"]
        service.kill()
    service.start()
    second = register(service)
    service.advance(seconds=0)
    with Follower(service, last=before[-1]) as again:
        again.until(f'"ticket":{second}')
        seen = before + [number for number, name, _ in again.frames() if name != "phase"]
    histories = [service.get(f"/dtms/trades/{ticket}/history")["events"] for ticket in (first, second)]
    stored = {event["sequence"] for events in histories for event in events}
    assert seen == sorted(set(seen))
    assert set(seen) == {number for number in stored if number <= seen[-1]}


def test_the_running_service_counts_what_it_did_since_it_was_started_again(service: Service) -> None:
    with Follower(service) as follower:
        follower.until("event: phase")
        text = httpx.get(f"{service.url}/metrics", trust_env=False).text
    counted = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert counted['dtms_registrations_total{outcome="protected"}'] == "1"
    assert (counted["dtms_ready"], counted["dtms_event_streams"], counted["dtms_protected_trades"]) == ("1", "1", "2")
    assert int(counted["dtms_cycle_seconds_count"]) >= 2
    assert 0 <= float(counted["dtms_event_loop_lag_seconds"]) < 30


def test_twenty_open_streams_end_cleanly_and_do_not_hold_up_the_stop(service: Service) -> None:
    with ExitStack() as streams:
        followers = [streams.enter_context(Follower(service)) for _ in range(20)]
        for follower in followers:
            follower.until("event: phase")
        assert service.process is not None
        service.process.send_signal(signal.SIGTERM)
        ends = [follower.to_the_end() for follower in followers]
        assert service.process.wait(20) == 0
    # One that does not end by itself is cut off after the drain, without this last chunk.
    assert all(end.endswith(b"0\r\n\r\n") for end in ends)
    assert [follower.frames()[-1][2]["phase"] for follower in followers] == ["stopping"] * 20
