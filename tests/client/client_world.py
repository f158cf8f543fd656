"""Real sockets for what only a socket shows, and a clock that tests turn by hand."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

from dtms_client.clock import Clock
from dtms_client.testing import FakeDtms


@dataclass
class Turned:
    """Time that passes only when somebody waits."""

    now: float = 1_000.0
    wall: float = 1_780_000_000.0
    slept: list[float] = field(default_factory=list)
    jitter: float = 1.0
    """Where in its range every random wait falls: 1 = the longest."""

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        self.wall += seconds

    async def asleep(self, seconds: float) -> None:
        self.sleep(seconds)

    def clock(self) -> Clock:
        return Clock(
            wall_ns=lambda: int(self.wall * 1e9),
            monotonic=lambda: self.now,
            uniform=lambda low, high: low + (high - low) * self.jitter,
            sleep=self.sleep,
            asleep=self.asleep,
        )


def closed_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextlib.contextmanager
def scripted(script: Callable[[socket.socket], None]) -> Iterator[tuple[str, list[int]]]:
    """A server that reads one request per connection, then does what ``script`` says. Yields its URL and a counter."""
    accepted: list[int] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def converse(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(10)
            connection.recv(65536)
            script(connection)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                accepted.append(1)
                threading.Thread(target=converse, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", accepted
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: FakeDtms

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        request = httpx.Request(self.command, f"http://dtms{self.path}", headers=dict(self.headers), content=body)
        response = self.fake.handle_request(request)
        self.send_response(response.status_code)
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(response.read())

    do_GET = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815 - names the standard library looks for

    def log_message(self, *_: object) -> None:
        """Stay quiet."""


@contextlib.contextmanager
def listening(fake: FakeDtms, port: int = 0) -> Iterator[str]:
    """``fake`` behind a real port."""
    server = ThreadingHTTPServer(
        ("127.0.0.1", port), type("Handler", (_Handler,), {"fake": fake, "disable_nagle_algorithm": True})
    )
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
