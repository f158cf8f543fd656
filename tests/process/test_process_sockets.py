from __future__ import annotations

import asyncio
import os
import socket

import pytest
from service import free_port

from dtms_service.app.leaving import Exit
from dtms_service.app.sockets import listening


async def test_answers_leave_at_once_on_the_plain_asyncio_loop_too() -> None:
    port = free_port()
    sockets = listening("127.0.0.1", port)
    delays: asyncio.Queue[int] = asyncio.Queue()

    def accepted(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        delays.put_nowait(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    for one in sockets:
        server = await asyncio.start_server(accepted, sock=one)
        async with server:
            _, writer = await asyncio.open_connection(*one.getsockname()[:2])
            assert await asyncio.wait_for(delays.get(), 5) != 0
            writer.close()
            await writer.wait_closed()


def test_sockets_listen_at_once_and_children_do_not_inherit_them() -> None:
    sockets = listening("localhost", free_port())
    try:
        assert sockets[0].getsockname()[0] == "127.0.0.1"
        for one in sockets:
            assert one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
            assert one.get_inheritable() is False
    finally:
        for one in sockets:
            one.close()


def test_a_port_that_only_the_other_loopback_holds_is_taken_too() -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    with socket.socket(socket.AF_INET6) as other:
        try:
            other.bind(("::1", 0))
        except OSError:
            pytest.skip("no ::1 here")
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(Exit) as caught:
            listening("127.0.0.1", port)
        assert caught.value.code == 74
    again = listening("127.0.0.1", port)
    assert len(again) == 2
    for one in again:
        one.close()


def test_an_address_that_is_not_ours_is_refused_with_a_remedy() -> None:
    with pytest.raises(Exit, match=r"cannot listen on 192\.0\.2\.1 .*Try: "):
        listening("192.0.2.1", free_port())


def test_a_taken_port_says_what_is_known_of_the_one_who_has_it() -> None:
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        known = (
            rf"is taken by another program, process {os.getpid()} \(.*\)\. Try: stop it, or choose another with --port"
        )
        with pytest.raises(Exit, match=known):
            listening("127.0.0.1", stranger.getsockname()[1])
