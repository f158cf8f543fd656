"""What only a socket shows."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import ssl
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator

import httpx
import pytest
from client_world import closed_port, listening, scripted

from dtms_client import AsyncDtmsClient, DtmsClient, NotDtms, Unreachable, http
from dtms_client.calls import Call, ready
from dtms_client.errors import BadSetting
from dtms_client.http import LoopPools, Target, asend, send
from dtms_client.testing import FakeDtms

Script = Callable[[socket.socket], None]


def drip(connection: socket.socket) -> None:
    """One byte at a time, for far longer than any deadline."""
    for byte in b"HTTP/1.1 200 OK\r\nX-Padding: " + b"x" * 200:
        connection.sendall(bytes([byte]))
        time.sleep(0.05)


def drip_body(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(100):
        connection.sendall(b" ")
        time.sleep(0.05)


def silence(connection: socket.socket) -> None:
    connection.recv(1)


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")


def truncated(connection: socket.socket) -> None:
    connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"trades"')


def garbage(connection: socket.socket) -> None:
    connection.sendall(b"\x00\xff SSH-2.0-OpenSSH_9.2\r\n" * 10)


def endless(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    with contextlib.suppress(OSError):
        while True:
            connection.sendall(b"100000\r\n" + b"x" * 0x100000 + b"\r\n")


@contextlib.contextmanager
def telling_twice(requests: list[list[bytes]]) -> Iterator[str]:
    """A server that repeats every answer of its first connection. What it was sent goes to ``requests``."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                requests.append([])
                with connection, contextlib.suppress(OSError):
                    while request := connection.recv(65536):
                        requests[-1].append(request)
                        own = next(line for line in request.split(b"\r\n") if line.startswith(b"x-request-id:"))
                        answer = b"HTTP/1.1 200 OK\r\n%s\r\ncontent-length: 14\r\n\r\n" % own + b'{"ticket": 17}'
                        connection.sendall(answer * (2 if len(requests) == 1 else 1))

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        http.close()


async def asking(kind: str, url: str, seconds: float) -> None:
    if kind == "sync":
        await asyncio.to_thread(DtmsClient(url, timeout=seconds, retries=1, spool="off").status)
        return
    async with AsyncDtmsClient(url, timeout=seconds, retries=1, spool="off") as client:
        await client.status()


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("script", [drip, drip_body, silence, reset, truncated, garbage, endless])
async def test_no_misbehaving_server_holds_a_call_beyond_its_total_time(kind: str, script: Script) -> None:
    """The old helper took 18 s when asked for 1 s. The bound below is generous for a busy machine, not for a bug."""
    with scripted(script) as (url, _):
        started = time.monotonic()
        with pytest.raises(Unreachable):
            await asking(kind, url, 0.5)
        assert time.monotonic() - started < 2.5


def test_a_dripping_body_is_bounded_through_any_transport_too() -> None:
    with scripted(drip_body) as (url, _), httpx.HTTPTransport(verify=False) as transport:
        started = time.monotonic()
        with pytest.raises(Unreachable, match="did not end in time"):
            DtmsClient(url, timeout=0.3, retries=1, spool="off", transport=transport).status()
        assert time.monotonic() - started < 2.5


def test_an_answer_beyond_all_measure_is_not_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "BODY_MAX", 1000)
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=b" " * 1001))
    with pytest.raises(Unreachable, match="longer than 1000"):
        DtmsClient("http://dtms.test", spool="off", transport=transport).status()


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_refused_connection_says_that_nothing_was_sent(kind: str) -> None:
    with pytest.raises(Unreachable) as caught:
        await asking(kind, f"http://127.0.0.1:{closed_port()}", 5.0)
    assert not caught.value.connected


def test_connections_are_kept_and_shared_by_all_clients_of_a_process(dtms: FakeDtms) -> None:
    with scripted(_keep_alive) as (url, accepted):
        for _ in range(5):
            with pytest.raises(NotDtms):
                DtmsClient(url, spool="off").status()
        assert len(accepted) == 1


def _keep_alive(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        if not connection.recv(65536):
            return


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_an_answer_that_came_twice_is_not_taken_for_the_next_one(kind: str) -> None:
    """TCP delivers bytes once; a proxy that repeats them must not settle a registration that never arrived."""
    requests: list[list[bytes]] = []
    call = Call("GET", "/x", lambda reply: reply.body)
    with telling_twice(requests) as url:
        pools, target = LoopPools(), Target(url)

        async def ask() -> bytes:
            if kind == "sync":
                return (await asyncio.to_thread(send, target, call, 2.0)).body
            return (await asend(target, pools, call, 2.0)).body

        assert await ask() == b'{"ticket": 17}'
        with pytest.raises(Unreachable, match="another request"):
            await ask()
        assert await ask() == b'{"ticket": 17}'
        await pools.aclose()
    assert [len(of_connection) for of_connection in requests] == [2, 1]  # the first connection was given up


def test_a_service_that_was_restarted_is_reached_over_a_new_connection(dtms: FakeDtms) -> None:
    client = None
    port = closed_port()
    for _ in range(3):
        with listening(dtms, port) as url:
            client = client or DtmsClient(url, spool="off")
            assert client.register(1).protected


def test_one_client_serves_one_loop_after_the_other_and_leaks_no_socket(dtms: FakeDtms) -> None:
    """The old helper kept connections of a dead loop: every second call failed with 'Event loop is closed'."""
    with warnings.catch_warnings(), listening(dtms) as url:
        warnings.simplefilter("error")
        client = AsyncDtmsClient(url, spool="off")
        for ticket in range(1, 6):
            assert asyncio.run(client.register(ticket)).protected
        gc.collect()


def test_loops_that_are_closed_by_hand_are_forgotten(dtms: FakeDtms) -> None:
    with listening(dtms) as url:
        client = AsyncDtmsClient(url, spool="off")

        async def job(ticket: int) -> bool:
            done = await client.register(ticket)
            await client.close()
            return done.protected

        for ticket in (1, 2, 3):
            loop = asyncio.new_event_loop()
            assert loop.run_until_complete(job(ticket))
            loop.close()
        assert len(client._pools._clients) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
def test_a_forked_child_opens_its_own_connection(dtms: FakeDtms) -> None:
    with listening(dtms) as url:
        client = DtmsClient(url, spool="off")
        client.register(1)
        mine = http._pooled(url)
        child = os.fork()
        if child == 0:
            code = 1
            with contextlib.suppress(BaseException):
                code = 0 if client.register(2).protected and http._pooled(url) is not mine else 2
            os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert client.register(3).protected
        assert set(dtms.trades) == {1, 2, 3}


def test_no_certificates_are_loaded_for_plain_http(monkeypatch: pytest.MonkeyPatch, dtms: FakeDtms) -> None:
    def load(*_: object, **__: object) -> None:
        raise AssertionError("21 ms for nothing")

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", load)
    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", load)
    with listening(dtms) as url:
        assert DtmsClient(url, spool="off").register(1).protected
        asyncio.run(asking("async", url, 5.0))


def test_https_is_verified() -> None:
    """A server that speaks TLS with nobody's certificate is not believed, and neither is one that speaks none."""
    with scripted(garbage) as (url, _), pytest.raises(Unreachable):
        send(Target(url.replace("http:", "https:")), ready(), 2.0)
    pool = http._client("https://127.0.0.1:1")._transport._pool
    assert pool._ssl_context.verify_mode is ssl.CERT_REQUIRED
    assert pool._ssl_context.check_hostname


def test_a_proxy_in_the_environment_does_not_take_loopback_calls(
    monkeypatch: pytest.MonkeyPatch, dtms: FakeDtms
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port()}")
    with listening(dtms) as url:
        assert DtmsClient(url, spool="off").register(1).protected
        asyncio.run(asking("async", url, 5.0))


def test_an_address_that_cannot_be_dialled_is_a_bad_setting() -> None:
    with pytest.raises(BadSetting):
        send(Target("http://☃..:1", transport=httpx.MockTransport(lambda _: httpx.Response(200))), ready(), 1.0)
    with pytest.raises(BadSetting):
        DtmsClient("http://[::1")


def test_a_transport_for_event_loops_is_refused_by_threads() -> None:
    class Loops(httpx.AsyncBaseTransport):
        pass

    with pytest.raises(Unreachable, match="AsyncDtmsClient"):
        send(Target("http://x", transport=Loops()), ready(), 1.0)


@pytest.mark.skipif(sys.platform != "linux", reason="reads the socket from /proc")
def test_closing_ends_the_pooled_connections(dtms: FakeDtms) -> None:
    with listening(dtms) as url:
        DtmsClient(url, spool="off").register(1)
        http.close()
        assert not any(key[1] == url for key in http._SYNC)
        assert DtmsClient(url, spool="off").register(2).protected
