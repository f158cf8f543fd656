from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
import uvicorn
from uvicorn.server import ServerState

from dtms_client.wire import Problem
from dtms_service.api.protocol import PatientProtocol
from dtms_service.domain.trade import Event

HEAD = b"PUT /dtms/trades/7 HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"


class Impatient(PatientProtocol):
    deadline_s = 0.05
    parting_s = 0.05


@pytest.fixture
async def serving(world, authority) -> AsyncIterator[tuple[int, ServerState]]:
    config = uvicorn.Config(world[2], lifespan="off", ws="none", log_config=None)
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Impatient(config, state, {}), "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1], state
    server.close()
    for connection in list(state.connections):
        connection.transport.abort()
    await server.wait_closed()
    await asyncio.gather(*state.tasks)


@pytest.fixture
def port(serving) -> int:
    return serving[0]


async def read_to_end(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""


@pytest.mark.parametrize(
    "sent",
    [b"", b"G", HEAD, HEAD + b"Content-Length: 10\r\n\r\n", HEAD + b"Content-Length: 10\r\n\r\n{"],
    ids=["nothing", "one byte", "half the headers", "no body", "half a body"],
)
async def test_a_request_that_is_never_finished_is_disconnected(port, sent):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    assert await asyncio.wait_for(read_to_end(reader), 10) == b""
    writer.close()


async def test_dripping_does_not_buy_time(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(HEAD)
    ended = asyncio.ensure_future(read_to_end(reader))
    while not ended.done():
        writer.write(b"X-A: b\r\n")
        await asyncio.sleep(0.01)
    assert ended.result() == b""
    writer.close()


async def test_finished_requests_on_one_connection_are_answered(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(3):
        writer.write(HEAD + b"Content-Length: 2\r\n\r\n{}")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith((b"HTTP/1.1 202", b"HTTP/1.1 200"))
        length = next(
            int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
        )
        await reader.readexactly(length)
    writer.close()
    await writer.wait_closed()


async def test_a_request_in_two_pieces_is_answered(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(HEAD)
    await writer.drain()
    writer.write(b"Content-Length: 2\r\nConnection: close\r\n\r\n{}")
    assert (await read_to_end(reader)).startswith(b"HTTP/1.1 202")
    writer.close()


async def test_an_answer_that_takes_longer_than_the_deadline_still_arrives(port, authority, monkeypatch):
    slow = authority.register

    async def register(wishes):
        await asyncio.sleep(0.2)
        return await slow(wishes)

    monkeypatch.setattr(authority, "register", register)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(HEAD + b"Content-Length: 2\r\nConnection: close\r\n\r\n{}")
    assert (await read_to_end(reader)).startswith(b"HTTP/1.1 202")
    writer.close()


async def test_too_large_a_body_is_refused_and_the_connection_ended(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(HEAD + b"Content-Length: 99999999\r\n\r\n{")
    answer = await read_to_end(reader)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"connection: close" in answer.lower()
    writer.close()


async def reader_that_takes_nothing(port: int, authority) -> socket.socket:
    """Asks for 20 MB of events, more than all buffers between here and there hold, and takes none of it."""
    body = {"text": "x" * 10_000}
    authority.happens(*(Event(time=0.0, kind="x", trade_id=1, ticket=1, body=body, sequence=n) for n in range(1, 2001)))
    peer = socket.socket()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    peer.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(peer, ("127.0.0.1", port))
    await loop.sock_sendall(peer, b"GET /dtms/events HTTP/1.1\r\nHost: 127.0.0.1\r\nLast-Event-ID: 0\r\n\r\n")
    assert (await loop.sock_recv(peer, 15)) == b"HTTP/1.1 200 OK"
    return peer


async def until_gone(state: ServerState) -> None:
    async with asyncio.timeout(10):
        while state.connections or state.tasks:
            await asyncio.sleep(0.01)


async def test_a_reader_that_takes_nothing_is_disconnected(serving, authority):
    port, state = serving
    with await reader_that_takes_nothing(port, authority):
        await until_gone(state)


async def test_a_service_that_stops_does_not_wait_for_one_who_takes_nothing(serving, authority, monkeypatch):
    monkeypatch.setattr(Impatient, "deadline_s", 3600.0)
    port, state = serving
    with await reader_that_takes_nothing(port, authority):
        (connection,) = state.connections
        while not connection.flow.write_paused:
            await asyncio.sleep(0.01)
        connection.shutdown()
        await until_gone(state)


async def test_a_reader_that_goes_on_reading_is_served_to_the_end(serving, authority, monkeypatch):
    monkeypatch.setattr(Impatient, "deadline_s", 2.0)
    port, state = serving
    with await reader_that_takes_nothing(port, authority) as peer:
        loop, taken = asyncio.get_running_loop(), 0
        while taken < 20_000_000:
            piece = await loop.sock_recv(peer, 1 << 20)
            assert piece, taken
            taken += len(piece)
        assert len(state.connections) == 1


async def test_a_head_without_end_is_refused_at_64_kib(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(HEAD + (b"X-A: " + b"b" * 1017 + b"\r\n") * 1024)
    answer = await read_to_end(reader)
    assert answer.startswith(b"HTTP/1.1 413 ")
    told = Problem.model_validate_json(answer.partition(b"\r\n\r\n")[2])
    assert (told.status, told.code, told.retryable) == (413, "payload_too_large", False)
    writer.close()


async def test_an_address_without_end_is_refused_too(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /dtms/trades?" + b"x" * (1 << 20))
    assert (await read_to_end(reader)).startswith(b"HTTP/1.1 413 ")
    writer.close()


async def test_a_long_head_that_ends_is_answered(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: " + b"b" * 40_000 + b"\r\n\r\n")
    assert (await reader.readline()) == b"HTTP/1.1 200 OK\r\n"
    writer.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "evil.example"])
async def test_a_body_that_goes_on_after_its_answer_is_cut_off(serving, host, monkeypatch):
    monkeypatch.setattr(Impatient, "deadline_s", 3600.0)
    port, state = serving
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /health/live HTTP/1.1\r\nHost: {host}\r\nContent-Length: {10**10}\r\n\r\n".encode())
    assert (await reader.readline()).split()[1] in {b"200", b"421"}
    async with asyncio.timeout(10):
        while state.connections:
            writer.write(b"x" * 4096)
            await asyncio.sleep(0)
    writer.close()
