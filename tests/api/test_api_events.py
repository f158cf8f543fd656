from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from dtms_service.api import events
from dtms_service.api.security import Scope, Token, Tokens
from dtms_service.domain.trade import Event
from dtms_service.engine.feed import KEPT, Feed

T0 = 1_767_600_000.0


def event(sequence: int, kind: str = "transition", trade_id: int | None = 7) -> Event:
    return Event(time=T0, kind=kind, trade_id=trade_id, ticket=trade_id, body={"n": sequence}, sequence=sequence)


@dataclass
class Reader:
    """A follower that takes one piece whenever it is asked to, as a peer with a tiny window would."""

    app: Any
    headers: tuple[tuple[bytes, bytes], ...] = ()
    address: str = "127.0.0.1"
    status: int = 0
    told: dict[str, str] = field(default_factory=dict)
    leaves: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=1)
        self._asked = False

    async def _receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.leaves.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.told = {name.decode(): value.decode() for name, value in message["headers"]}
            return
        if message["body"]:
            await self._pieces.put(message["body"])
        if not message.get("more_body"):
            await self._pieces.put(None)

    async def run(self) -> None:
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "path": "/dtms/events",
            "raw_path": b"/dtms/events",
            "root_path": "",
            "scheme": "http",
            "query_string": b"",
            "headers": [(b"host", b"127.0.0.1"), *self.headers],
            "client": (self.address, 1),
            "server": ("127.0.0.1", 8001),
        }
        await self.app(scope, self._receive, self._send)

    async def piece(self) -> bytes | None:
        return await asyncio.wait_for(self._pieces.get(), 10)

    async def frames(self, count: int) -> list[dict[str, Any]]:
        """The next ``count`` events, comments and ``retry`` left out."""
        found: list[dict[str, Any]] = []
        while len(found) < count:
            piece = await self.piece()
            assert piece is not None, f"the stream ended after {found}"
            found += parsed(piece)
        assert len(found) == count, found
        return found


def parsed(piece: bytes) -> list[dict[str, Any]]:
    blocks = [block for block in piece.decode().split("\n\n") if block.startswith("id: ")]
    lines = [dict(line.split(": ", 1) for line in block.split("\n")) for block in blocks]
    return [{"id": int(each["id"]), "event": each["event"], "data": json.loads(each["data"])} for each in lines]


Follow = Callable[..., Any]


@pytest.fixture
def follow(world, authority) -> Follow:
    @asynccontextmanager
    async def begin(last: int | None = None, app: Any = None, address: str = "127.0.0.1") -> AsyncIterator[Reader]:
        headers = () if last is None else ((b"last-event-id", str(last).encode()),)
        reader = Reader(app or world[2], headers, address)
        running = asyncio.create_task(reader.run())
        try:
            yield reader
        finally:
            reader.leaves.set()
            await asyncio.wait_for(running, 10)

    return begin


async def test_a_stream_begins_with_where_things_stand_and_goes_on_with_what_happens(follow, authority):
    authority.feed.begin(16)
    async with follow() as reader:
        (first,) = await reader.frames(1)
        assert (reader.status, reader.told["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert (first["id"], first["event"], first["data"]["phase"]) == (16, "phase", "ready")
        authority.happens(event(17), event(18, "action"), event(19, "alert", None))
        came = await reader.frames(3)
    assert [(each["id"], each["event"]) for each in came] == [(17, "trade"), (18, "action"), (19, "alert")]
    assert came[0]["data"]["body"] == {"n": 17}
    assert came[1]["data"]["sequence"] == 18
    assert came[2]["data"]["kind"] == "alert"


async def test_what_concerns_no_trade_comes_with_the_state_of_the_service(follow, authority):
    async with follow() as reader:
        await reader.frames(1)
        authority.happens(event(1, "control", None))
        (came,) = await reader.frames(1)
    assert (came["id"], came["event"], came["data"]["event"]["kind"]) == (1, "phase", "control")
    assert came["data"]["control"] == "running"


async def test_a_change_of_phase_is_told_once_and_keeps_the_position(follow, authority, down):
    authority.feed.begin(4)
    async with follow() as reader:
        await reader.frames(1)
        authority.readiness = down
        authority.feed.wake()
        (came,) = await reader.frames(1)
        assert (came["id"], came["data"]["phase"], came["data"]["ready"]) == (4, "connecting", False)
        aged = replace(down.reasons[0], detail="another age of the same thing")
        authority.readiness = replace(down, reasons=(aged,))
        authority.happens(event(5))
        assert [each["event"] for each in await reader.frames(1)] == ["trade"]


@pytest.mark.parametrize("stored", [3, KEPT, KEPT + 1, 3 * KEPT + 7])
async def test_a_follower_that_comes_back_misses_nothing_and_gets_nothing_twice(follow, authority, stored):
    authority.happens(*(event(number) for number in range(1, stored + 1)))
    async with follow(last=1) as reader:
        seen: list[int] = []
        while not seen or seen[-1] < stored:
            seen += [each["id"] for each in parsed(await reader.piece() or b"")]
        authority.happens(event(stored + 1))
        seen += [each["id"] for each in await reader.frames(1)]
    told = [number for number, before in zip(seen, [0, *seen], strict=False) if number != before]  # without the phase
    assert told == list(range(2, stored + 2))


async def test_events_that_were_told_out_of_order_come_in_order(follow, authority):
    # Two commits in one transaction: whoever is answered first publishes first; the ledger has both by then.
    async with follow() as reader:
        await reader.frames(1)
        authority.events += [event(1), event(2), event(3)]
        authority.feed.publish([event(2), event(3)])
        authority.feed.publish([event(1)])
        assert [each["id"] for each in await reader.frames(3)] == [1, 2, 3]


async def test_a_reader_that_does_not_read_makes_nothing_pile_up(follow, authority):
    async with follow() as reader:
        await reader.frames(1)
        for number in range(1, 5 * KEPT):
            authority.happens(event(number))
            await asyncio.sleep(0)
        assert reader._pieces.qsize() <= 1
        assert len(authority.feed._kept) == KEPT
        seen: list[int] = []
        while len(seen) < 5 * KEPT - 1:
            seen += [each["id"] for each in parsed(await reader.piece() or b"")]
    assert seen == list(range(1, 5 * KEPT))


async def test_a_silent_stream_says_that_it_lives(follow, authority, monkeypatch):
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.01)
    async with follow() as reader:
        await reader.frames(1)
        assert await reader.piece() == b": still here\n\n"


async def test_a_position_past_the_end_of_the_ledger_is_refused(http, authority):
    authority.feed.begin(500)
    answer = await http.get("/dtms/events", headers={"Last-Event-ID": "900"})
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")
    assert "500" in answer.json()["detail"]


@pytest.mark.parametrize("sent", ["abc", "-1", "9223372036854775808"])
async def test_a_position_that_is_no_number_is_refused(http, sent):
    answer = await http.get("/dtms/events", headers={"Last-Event-ID": sent})
    assert answer.status_code == 422
    assert "last-event-id" in answer.json()["detail"]


async def test_before_the_ledger_is_open_nothing_can_be_followed(http, authority, down):
    authority.readiness = down
    answer = await http.get("/dtms/events")
    assert (answer.status_code, answer.json()["code"]) == (503, "not_accepting")
    assert answer.headers["retry-after"]


async def test_there_is_a_limit_and_a_stream_that_ends_gives_its_place_back(follow, http, authority, monkeypatch):
    monkeypatch.setattr(events, "STREAMS_MAX", 1)
    async with follow() as reader:
        await reader.frames(1)
        answer = await http.get("/dtms/events")
        assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
        assert answer.headers["retry-after"] == "5"
    async with follow() as again:
        await again.frames(1)


async def test_one_caller_cannot_take_the_places_of_all_others(follow, authority, monkeypatch):
    monkeypatch.setattr(events, "STREAMS_OF_ONE", 2)
    async with follow() as one, follow() as two:
        await one.frames(1)
        await two.frames(1)
        async with follow() as refused:
            assert "2 event streams of this token or address" in str(await refused.piece())
            assert refused.status == 429
        async with follow(address="192.0.2.7") as other:
            await other.frames(1)
            assert other.status == 200
    async with follow() as again:
        await again.frames(1)


async def test_every_stream_ends_when_the_service_stops_and_with_what_came_last(follow, authority, down):
    async with follow() as one, follow() as two:
        await one.frames(1)
        await two.frames(1)
        authority.readiness = down
        authority.happens(event(1))
        authority.feed.close()
        for reader in (one, two):
            assert [each["event"] for each in await reader.frames(2)] == ["trade", "phase"]
            assert await reader.piece() is None


async def test_a_stream_needs_a_token_that_may_read(connect, world):
    token = Token("a" * 64, frozenset({Scope.READ}))
    async with connect(tokens=Tokens((token,))) as http:
        assert (await http.get("/dtms/events")).status_code == 401


def test_a_feed_knows_what_it_does_not_have():
    feed = Feed()
    assert feed.since(0) == ()
    feed.begin(10)
    assert feed.since(9) is None
    feed.publish([event(11)])
    assert feed.since(10) == (event(11),)
    assert feed.since(9) is None
    feed.publish([event(14)])
    assert feed.since(11) is None
    assert feed.since(13) == (event(14),)
    assert feed.since(99) == ()
