"""What happens, while it happens: every ledger event as a server-sent event, resumed without gap or duplicate.

``id`` is the ledger's sequence up to which the follower has seen everything. Nothing is queued for a follower: each
reads on from its own position, and one that does not read at all is disconnected (``protocol``).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Header
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from dtms_client.wire import EVENTS, TICKET_MAX
from dtms_service.api import convert, examples
from dtms_service.api.describe import operation
from dtms_service.api.errors import CALLER, RateLimited
from dtms_service.api.security import Scope
from dtms_service.domain.errors import Invalid, NotAccepting, StorageBusy, StorageFailed
from dtms_service.domain.trade import Event
from dtms_service.engine.authority import Authority

STREAMS_MAX = 100
"""Open streams at most; the next one is told to come back later."""
STREAMS_OF_ONE = 20
"""Open streams of one token or address at most, so that one program does not take the places of all others."""
HEARTBEAT_S = 10.0
"""Real seconds of silence after which a comment is sent, so that both ends notice a dead connection."""
PAGE = 500
"""Events read from the ledger at once by a follower that is behind."""
RETRY_MS = 2_000
"""Pause before a browser connects again."""
MEDIA = "text/event-stream"
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class Streams:
    """How many streams are open, by token or address."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()

    @property
    def open(self) -> int:
        """All of them."""
        return self._open.total()

    def enter(self, caller: str) -> None:
        """One more. Raises `RateLimited` when there are too many."""
        whose, limit = "", STREAMS_MAX
        if self._open[caller] >= STREAMS_OF_ONE:
            whose, limit = " of this token or address", STREAMS_OF_ONE
        elif self.open < STREAMS_MAX:
            self._open[caller] += 1
            return
        raise RateLimited(f"{limit} event streams{whose} are open already; close one, or share one", retry_after_s=5)

    def leave(self, caller: str) -> None:
        """One less."""
        self._open[caller] -= 1
        if not self._open[caller]:
            del self._open[caller]


class _Stream(StreamingResponse):
    """An answer without end, which gives its place back when it ends all the same."""

    def __init__(self, content: AsyncIterator[bytes], streams: Streams, caller: str) -> None:
        super().__init__(content, headers=_HEADERS, media_type=MEDIA)
        self._streams = streams
        self._caller = caller

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._streams.leave(self._caller)


def name_of(event: Event) -> str:
    """Which of the four kinds of INTERFACE 3.3 a ledger event is; what concerns no trade belongs to ``phase``."""
    if event.kind == "action":
        return "action"
    if event.kind.startswith("alert"):
        return "alert"
    return "phase" if event.trade_id is None else "trade"


def frame(name: str, number: int, data: Mapping[str, Any]) -> bytes:
    """One server-sent event; JSON holds no line break."""
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (number, name.encode(), to_json(data, inf_nan_mode="null"))


def _phase(authority: Authority) -> dict[str, Any]:
    report = authority.report()
    return {
        "phase": report.phase.value,
        "ready": report.ready,
        "accepting": report.accepting,
        "mode": authority.mode.value,
        "control": authority.standing.control.value,
        "reasons": convert.reasons_out(report),
    }


def _differs(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> bool:
    """Details of a reason may name an age, which is no news."""

    def facts(phase: Mapping[str, Any]) -> object:
        return {**phase, "reasons": [reason["code"] for reason in phase["reasons"]]}

    return before is None or facts(before) != facts(now)


def _frame_of(event: Event, phase: Mapping[str, Any]) -> bytes:
    name = name_of(event)
    shown = convert.action_out(event) if name == "action" else convert.event_out(event)
    data = {**phase, "event": shown} if name == "phase" else shown
    return frame(name, event.sequence or 0, data)


async def follow(authority: Authority, position: int) -> AsyncIterator[bytes]:
    """Frames from ``position`` on, until the service stops: where things stand first, then whatever comes."""
    feed, loop = authority.feed, asyncio.get_running_loop()
    said: Mapping[str, Any] | None = None
    yield b"retry: %d\n\n" % RETRY_MS
    silent_until = loop.time() + HEARTBEAT_S
    while True:
        ending, phase = feed.closed, _phase(authority)
        found = feed.since(position)
        if found is None:
            found = await authority.events_since(position, PAGE)
        chunk = b"".join(_frame_of(event, phase) for event in found)
        if found:
            position = found[-1].sequence or position
        if _differs(said, phase):
            said = phase
            chunk += frame("phase", position, {**phase, "event": None})
        if chunk:
            silent_until = loop.time() + HEARTBEAT_S
            yield chunk
        elif ending:
            return
        elif loop.time() >= silent_until:
            silent_until = loop.time() + HEARTBEAT_S
            yield b": still here\n\n"
        else:
            await feed.wait(silent_until - loop.time())


_EVENTS_DOC = operation(
    "Follow what happens",
    Scope.READ,
    examples.EVENTS,
    answers={200: "A stream of server-sent events that ends when the service stops"},
    media=MEDIA,
    raises=(Invalid, NotAccepting, StorageBusy, StorageFailed),
) | {"response_class": StreamingResponse}


def event_routes(authority: Authority, streams: Streams) -> APIRouter:
    """``GET /dtms/events``."""
    router = APIRouter(tags=["system"])

    @router.get(EVENTS, **_EVENTS_DOC)
    async def events(
        request: Request,
        last_event_id: Annotated[
            int | None,
            Header(ge=0, le=TICKET_MAX, description="Go on after this event; 0: from the first.", examples=[17]),
        ] = None,
    ) -> Response:
        """Begins with where things stand (``phase``), then sends each ledger event as it is stored.

        ``trade``, ``alert`` and ``action`` carry the event, ``phase`` the state of the service. Send the last ``id`` as
        ``Last-Event-ID`` to go on where the connection broke: nothing is missed and nothing comes twice. A comment
        every ten seconds shows that the stream lives.
        """
        feed, report = authority.feed, authority.report()
        if not report.accepting:
            raise NotAccepting("events can be followed once the ledger is open, and until the service stops")
        if last_event_id is not None and last_event_id > feed.last:
            detail = (
                f"the ledger ends at event {feed.last}: it was restored or is another one. Read the trades anew, "
                "then follow without Last-Event-ID"
            )
            expected = f"a whole number up to {feed.last}"
            raise Invalid(detail, errors=[{"field": "last-event-id", "expected": expected}])
        caller = str(request.scope.get(CALLER, ""))
        streams.enter(caller)
        return _Stream(follow(authority, feed.last if last_event_id is None else last_event_id), streams, caller)

    return router
