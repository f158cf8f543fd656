"""Hostile callers, as a program of its own, so that they take nothing from whoever measures: ``flooding.py PORT WHAT``.

Prints what came of it as JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import psutil
from hanging import Pulse
from service import Service

SOCKETS = 500
GIVE_UP_S = 40.0
BODY = 10 * 1024**3
RATE_S = 5.0
HEAD = b"PUT /dtms/trades/7 HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
HALF = (
    b"",
    b"G",
    HEAD,
    HEAD + b"Content-Length: 1000\r\n\r\n",
    HEAD + b"Content-Length: 1000\r\n\r\n{",
)
"""What a slow caller has sent when it goes quiet, or begins to drip."""

OURS = ("127.0.0.1:{port}", "localhost:{port}", "LOCALHOST", "127.0.0.1", "[::1]:{port}")
STRANGE = (
    *("evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "evil.example:{port}", "0.0.0.0:{port}"),
    *("192.168.1.5:{port}", "localhost@evil.example", "evil.example#localhost", "[::1", "localhost:99999", "", " "),
    *("127.0.0.1,evil.example", "127.0.0.1 evil.example", "169.254.169.254", "[::ffff:10.0.0.1]:{port}", "localhost/x"),
    *("%6c%6f%63alhost", "127.0.0.2", "2130706433"),
)
PAGES = (
    None,
    *("null", "", "http://evil.example", "https://evil.example", "http://127.0.0.1:1", "http://localhost.evil.example"),
    *("http://evil.example:{port}", "file://", "chrome-extension://x", "http://0.0.0.0:{port}", "HTTP://EVIL.EXAMPLE"),
    *("http://127.0.0.1:{port}.evil.example", "http://192.168.1.5:{port}", "data:text/html,x", "http://[::1", "*"),
    *("http://evil.example http://127.0.0.1:{port}", "moz-extension://y", "http://127.0.0.2:{port}"),
)
"""Origins of pages; none of them is ours and none is configured. None: no ``Origin`` at all."""
SITES = (None, "cross-site")


async def silent(port: int) -> dict[str, Any]:
    """Sockets that send nothing, or a part of a request, or drip; seconds until the last one was disconnected."""

    async def one(number: int) -> float:
        begun = time.perf_counter()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HALF[number % len(HALF)])
        ended = asyncio.ensure_future(reader.read())
        with contextlib.suppress(ConnectionError):
            while not ended.done() and time.perf_counter() - begun < GIVE_UP_S:
                if number % 2:
                    writer.write(b"X" if number % len(HALF) else b"\r")
                await asyncio.wait({ended}, timeout=0.5)
            ended.cancel() if not ended.done() else ended.exception()
        writer.close()
        return time.perf_counter() - begun

    took = await asyncio.gather(*(one(number) for number in range(SOCKETS)))
    return {"sockets": len(took), "longest_s": round(max(took), 1), "left": sum(each >= GIVE_UP_S for each in took)}


def endless(port: int, *, declared: bool) -> dict[str, Any]:
    """A body of 10 GiB, announced or in chunks: the answer, and what had been sent by then."""
    how = f"Content-Length: {BODY}\r\n\r\n" if declared else "Transfer-Encoding: chunked\r\n\r\n"
    piece = b" " * 65536 if declared else b"10000\r\n" + b" " * 65536 + b"\r\n"
    sent, answer = 0, b""
    with socket.create_connection(("127.0.0.1", port), timeout=GIVE_UP_S) as peer:
        peer.sendall(HEAD + how.encode())
        with contextlib.suppress(ConnectionError):
            while sent < BODY:
                sent += peer.send(piece)
        with contextlib.suppress(ConnectionError):
            answer = peer.recv(65536)
    return {"status": int(answer.split()[1]) if answer else 0, "sent_mib": round(sent / 1024**2, 1)}


async def bodies(port: int) -> dict[str, Any]:
    """Both kinds of endless bodies, one after the other."""
    return {
        "declared": await asyncio.to_thread(endless, port, declared=True),
        "chunked": await asyncio.to_thread(endless, port, declared=False),
    }


def combinations(port: int) -> list[tuple[str, str | None, str | None, int]]:
    """(Host, Origin, Sec-Fetch-Site, status): only our own hosts, asked by no page, are answered."""
    found = []
    for host, origin, site in itertools.product((*OURS, *STRANGE), PAGES, SITES):
        refused = 403 if origin is not None or site == "cross-site" else 200
        shown = None if origin is None else origin.format(port=port)
        found.append((host.format(port=port), shown, site, refused if host in OURS else 421))
    return found


async def strangers(port: int) -> dict[str, Any]:
    """Every combination of host, origin and fetch site; those that were not answered as they should be."""
    wrong: list[str] = []
    told: Counter[int] = Counter()
    wanted = combinations(port)
    for host, origin, site, status in wanted:
        lines = [
            f"Host: {host}",
            f"Origin: {origin}" if origin is not None else "",
            f"Sec-Fetch-Site: {site}" if site else "",
        ]
        request = "\r\n".join(["GET /dtms/status HTTP/1.1", *filter(None, lines), "Connection: close", "", ""])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request.encode())
        answer = await reader.read()
        writer.close()
        got = int(answer.split()[1])
        told[got] += 1
        head = answer.partition(b"\r\n\r\n")[0].lower()
        if got != status or b"access-control" in head:
            wrong.append(f"{host!r} {origin!r} {site!r}: {got}, not {status}")
    return {"combinations": len(wanted), "answers": dict(told), "wrong": wrong}


async def hurry(port: int) -> dict[str, Any]:
    """One caller as fast as it can on eight connections, another one beside it at ten requests a second."""
    statuses: Counter[int] = Counter()
    waits: set[str] = set()
    over = time.perf_counter() + RATE_S

    async def asks(token: str, pause: float, told: Counter[int]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        request = f"GET /dtms/status HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        while time.perf_counter() < over:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            fields = dict(line.split(": ", 1) for line in head.decode().lower().split("\r\n") if ": " in line)
            await reader.readexactly(int(fields["content-length"]))
            told[int(head.split()[1])] += 1
            if b" 429 " in head[:16]:
                waits.add(fields.get("retry-after", "missing"))
            if pause:
                await asyncio.sleep(pause)
        writer.close()

    beside: Counter[int] = Counter()
    await asyncio.gather(*(asks("hasty", 0.0, statuses) for _ in range(8)), asks("calm", 0.1, beside))
    return {"answers": dict(statuses), "retry_after": sorted(waits), "beside": dict(beside), "seconds": RATE_S}


@dataclass(frozen=True)
class Flood:
    """What a flood came to, and what was seen of the service meanwhile."""

    told: dict[str, Any]
    looks: int
    p99_ms: float
    largest_ms: float
    grown_mib: float
    """Largest growth of the service's own memory."""


def flooded(service: Service, name: str) -> Flood:
    """Let one flood loose on a running service while its pulse is taken. Raises ``AssertionError`` when it falters."""
    assert service.process is not None
    seen = psutil.Process(service.process.pid)
    before = grown = seen.memory_info().rss
    command = [sys.executable, __file__, str(service.port), name]
    with Pulse(service.url) as pulse, subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as flood:
        while flood.poll() is None:
            grown = max(grown, seen.memory_info().rss)
            time.sleep(0.01)
        told = json.loads(flood.communicate()[0])
    assert flood.returncode == 0, told
    assert not pulse.failed, pulse.failed
    mib = round((grown - before) / 1024**2, 1)
    return Flood(told, len(pulse.latencies), pulse.ms(0.99), pulse.ms(1.0), mib)


def stopped(service: Service, streams: int) -> tuple[int, float, float]:
    """Exit code, and seconds from the signal until the last open event stream had ended, and until the process had."""
    assert service.process is not None
    with ExitStack() as opened:
        followers = []
        for _ in range(streams):
            follower = opened.enter_context(socket.create_connection(("127.0.0.1", service.port), timeout=20))
            follower.sendall(b"GET /dtms/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert follower.recv(15) == b"HTTP/1.1 200 OK"
            followers.append(follower)
        begun = time.perf_counter()
        service.process.send_signal(signal.SIGTERM)
        for follower in followers:
            while follower.recv(65536):
                pass
        ended = time.perf_counter() - begun
        code = service.process.wait(20)
        return code, ended, time.perf_counter() - begun


FLOODS: dict[str, Callable[[int], Coroutine[None, None, dict[str, Any]]]] = {
    "silent": silent,
    "bodies": bodies,
    "strangers": strangers,
    "hurry": hurry,
}

if __name__ == "__main__":
    print(json.dumps(asyncio.run(FLOODS[sys.argv[2]](int(sys.argv[1])))))
