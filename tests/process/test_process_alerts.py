"""The real service and a receiver on a real socket: signed posts, a death in between, a receiver that never answers."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from service import Service

pytestmark = pytest.mark.process

SECRET = "0123456789abcdef0123"  # noqa: S105 -- of a receiver that lives for one test
WAIT_S = 20.0


class Receiver:
    """Takes posts on a port of its own; ``hanging`` until told otherwise it answers nobody."""

    def __init__(self) -> None:
        self.posts: list[tuple[dict[str, str], bytes]] = []
        self.pings = self.asked = 0
        self.hanging = threading.Event()
        self.go_on = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.asked += 1
                if outer.hanging.is_set():
                    outer.go_on.wait(WAIT_S)
                    return
                outer.posts.append((dict(self.headers.items()), body))
                self.send_response(204)
                self.end_headers()

            def do_GET(self) -> None:
                outer.pings += 1
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self.go_on.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(WAIT_S)

    @property
    def alerts(self) -> list[dict[str, object]]:
        return [alert for _, body in self.posts for alert in json.loads(body)["alerts"]]

    def wait(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + WAIT_S
        while not condition():
            assert time.monotonic() < deadline, self.posts
            time.sleep(0.02)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


def service_of(folder: Path, receiver: Receiver) -> Service:
    settings = {
        "DTMS_ALERTS__WEBHOOK__URL": f"{receiver.url}/hook",
        "DTMS_ALERTS__WEBHOOK__SECRET": SECRET,
        "DTMS_ALERTS__DEADMAN__URL": f"{receiver.url}/ping",
        "DTMS_ALERTS__DEADMAN__PERIOD_S": "10",
    }
    return Service(folder / "state", settings)


def test_alerts_are_posted_and_signed_also_across_a_death(tmp_path: Path, receiver: Receiver) -> None:
    service = service_of(tmp_path, receiver).start()
    try:
        receiver.wait(lambda: receiver.pings == 1)
        receiver.hanging.set()
        service.post("/dtms/control/pause", {"reason": "servers change", "by": "anna"})
        receiver.wait(lambda: receiver.asked == 1)
        began = time.monotonic()
        service.advance(seconds=300)
        assert service.get("/health/ready")["status"] == "ready"
        assert time.monotonic() - began < 5, "a receiver that hangs held up the cycles"
        assert receiver.alerts == []
        service.kill()
        receiver.hanging.clear()
        receiver.go_on.set()

        service.start()
        receiver.wait(lambda: bool(receiver.alerts))
        headers, body = receiver.posts[0]
        told = headers["X-DTMS-Timestamp"].encode() + b"." + body
        expected = hmac.new(SECRET.encode(), told, hashlib.sha256).hexdigest()
        assert headers["X-DTMS-Signature"] == f"v1={expected}"
        assert abs(int(headers["X-DTMS-Timestamp"]) - time.time()) < 60
        (alert,) = receiver.alerts
        assert (alert["code"], alert["open"]) == ("control_paused", True)
        (listed,) = service.get("/dtms/alerts?open=true")["alerts"]
        receiver.wait(lambda: "webhook" in service.get("/dtms/alerts")["alerts"][0]["delivered"])
        assert listed["notice"]["id"] == headers["X-DTMS-Delivery"]
        assert SECRET not in service.log()
    finally:
        service.stop()


def test_a_post_to_a_receiver_that_hangs_does_not_hold_up_the_end(tmp_path: Path, receiver: Receiver) -> None:
    receiver.hanging.set()
    with service_of(tmp_path, receiver) as service:
        service.post("/dtms/control/pause", {"reason": "servers change", "by": "anna"})
        receiver.wait(lambda: receiver.asked == 1)
        began = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() - began < 3
