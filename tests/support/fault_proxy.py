"""A network that goes wrong, from one seed: a TCP proxy between callers and the service.

Every request that passes draws its lot. What TCP and checksums make impossible is not played: the bytes of a request
that arrive are those that were sent. ``GARBAGE`` therefore spoils answers, or speaks before a request; ``TWICE``
repeats whole requests (proxies do) and pieces of answers.

    CLEAN       pass on
    LATE        an answer later than most callers wait
    SLICES      three bytes at a time
    RESET       RST: before the request, in the middle of it, after it, or in the middle of the answer
    HALF_OPEN   the request or its answer vanishes; the connection stays open and silent
    TRUNCATED   the answer ends early, with FIN
    GARBAGE     other bytes in, before or instead of the answer, or before the request
    TWICE       the request is sent twice, or a piece of the answer, or all of it
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from random import Random
from types import TracebackType
from typing import Self

_RST = b"\x01\x00\x00\x00\x00\x00\x00\x00"
"""SO_LINGER on, 0 s."""
_CHUNK = 65536
_SILENT_S = 30.0


class Fault(Enum):
    CLEAN = "clean"
    LATE = "late"
    SLICES = "slices"
    RESET = "reset"
    HALF_OPEN = "half-open"
    TRUNCATED = "truncated"
    GARBAGE = "garbage"
    TWICE = "twice"


EVERYTHING: Mapping[Fault, float] = {
    Fault.CLEAN: 0.60,
    Fault.LATE: 0.03,
    Fault.SLICES: 0.08,
    Fault.RESET: 0.09,
    Fault.HALF_OPEN: 0.02,
    Fault.TRUNCATED: 0.06,
    Fault.GARBAGE: 0.06,
    Fault.TWICE: 0.06,
}
"""Share of each. Those that make a caller wait for its deadline are rare, because a proof has an end."""


class _Over(Exception):
    pass


@dataclass
class FaultProxy:
    """A context manager with a thread and a loop of its own. ``healed``: everything passes from now on."""

    upstream: int
    seed: int
    shares: Mapping[Fault, float] = field(default_factory=lambda: EVERYTHING)
    late_s: float = 1.0
    healed: bool = False
    played: Counter[Fault] = field(default_factory=Counter)
    """How often each fault came up."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = int(listener.getsockname()[1])
        self._chance = Random(self.seed)
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(listener),))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()
        self._loop.close()

    async def _serve(self, listener: socket.socket) -> None:
        talking: set[asyncio.Task[None]] = set()

        async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(self._converse(reader, writer))
            talking.add(task)
            task.add_done_callback(talking.discard)

        server = await asyncio.start_server(accepted, sock=listener)
        await self._over.wait()
        server.close()
        for task in list(talking):
            task.cancel()
        await asyncio.gather(*talking, return_exceptions=True)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, _Over):
            try:
                up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.upstream)
                try:
                    while True:
                        await self._exchange(_Peer(reader, writer), _Peer(up_reader, up_writer))
                finally:
                    up_writer.close()
            finally:
                writer.close()

    async def _exchange(self, caller: _Peer, service: _Peer) -> None:
        """One request and its answer."""
        request = await caller.message()
        fault = self._draw()
        chance = Random(self._chance.random())
        self.played[fault] += 1
        if fault is Fault.CLEAN:
            service.writer.write(request)
            await self._answered(caller, service)
        else:
            await _PLAY[fault](self, request, caller, service, chance)

    async def _answered(self, caller: _Peer, service: _Peer) -> None:
        answer = await service.message()
        caller.writer.write(answer)
        await caller.writer.drain()

    def _draw(self) -> Fault:
        if self.healed:
            return Fault.CLEAN
        return self._chance.choices(list(self.shares), list(self.shares.values()))[0]

    async def _late(self, request: bytes, caller: _Peer, service: _Peer, chance: Random) -> None:
        service.writer.write(request)
        answer = await service.message()
        await asyncio.sleep(chance.uniform(0.0, self.late_s))
        caller.writer.write(answer)

    async def _sliced(self, request: bytes, caller: _Peer, service: _Peer, chance: Random) -> None:
        await service.slices(request)
        answer = await service.message()
        sliced = chance.randrange(1, 400)
        await caller.slices(answer[:sliced])
        caller.writer.write(answer[sliced:])
        await caller.writer.drain()

    async def _reset(self, request: bytes, caller: _Peer, service: _Peer, chance: Random) -> None:
        when = chance.randrange(4)
        if when >= 1:
            service.writer.write(request[: chance.randrange(len(request))] if when == 1 else request)
            await service.writer.drain()
        if when == 3:
            answer = await service.message()
            caller.writer.write(answer[: chance.randrange(len(answer))])
            await caller.writer.drain()
        for peer in (caller, service):
            peer.reset()
        raise _Over

    async def _half_open(self, request: bytes, caller: _Peer, service: _Peer, chance: Random) -> None:
        if chance.random() < 0.7:
            service.writer.write(request)
            await service.message()
        await asyncio.wait_for(caller.reader.read(1), _SILENT_S)
        raise _Over

    async def _truncated(self, request: bytes, caller: _Peer, service: _Peer, chance: Random) -> None:
        service.writer.write(request)
        answer = await service.message()
        caller.writer.write(answer[: chance.randrange(len(answer))])
        raise _Over

    async def _garbage(self, request: bytes, caller: _Peer, service: _Peer, chance: Random) -> None:
        noise = chance.randbytes(chance.randrange(1, 60))
        where = chance.randrange(4)
        service.writer.write(noise + b"\r\n\r\n" + request if where == 0 else request)
        answer = await service.message()
        if where == 1:
            answer = noise
        elif where == 2:
            answer = noise + answer
        elif where == 3:
            place = chance.randrange(len(answer))
            answer = answer[:place] + noise + answer[place + len(noise) :]
        caller.writer.write(answer)
        await caller.writer.drain()
        raise _Over

    async def _twice(self, request: bytes, caller: _Peer, service: _Peer, chance: Random) -> None:
        what = chance.randrange(3)
        service.writer.write(request * 2 if what == 0 else request)
        answer = await service.message()
        if what == 0:
            answer += await service.message()
        elif what == 1:
            answer *= 2
        else:
            begins = chance.randrange(len(answer))
            ends = chance.randrange(begins, len(answer))
            answer = answer[:ends] + answer[begins:]
        caller.writer.write(answer)
        await caller.writer.drain()


_PLAY = {
    Fault.LATE: FaultProxy._late,
    Fault.SLICES: FaultProxy._sliced,
    Fault.RESET: FaultProxy._reset,
    Fault.HALF_OPEN: FaultProxy._half_open,
    Fault.TRUNCATED: FaultProxy._truncated,
    Fault.GARBAGE: FaultProxy._garbage,
    Fault.TWICE: FaultProxy._twice,
}


@dataclass
class _Peer:
    """One end of a connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def message(self) -> bytes:
        """One whole HTTP message. Raises ``IncompleteReadError`` when the peer goes away before its end."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.strip().lower() == b"content-length":
                length = int(value)
        return head + await self.reader.readexactly(length)

    async def slices(self, data: bytes) -> None:
        """Send three bytes at a time, each on its way before the next."""
        for start in range(0, len(data), 3):
            self.writer.write(data[start : start + 3])
            await self.writer.drain()
            await asyncio.sleep(0)

    def reset(self) -> None:
        """RST instead of FIN."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
        self.writer.transport.abort()
