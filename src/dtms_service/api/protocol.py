"""uvicorn's HTTP protocol with the limits it lacks: in time, for a peer that neither sends nor takes, and in size.

Without it 150 of 150 half-open sockets were alive after 65 s. The server takes it as ``uvicorn.Config(http=...)``.
"""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic_core import to_json
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

_PROBLEM = to_json(
    {
        "type": "urn:dtms:error:payload_too_large",
        "title": "The head of the request is too large",
        "status": 413,
        "detail": "request line and headers are longer than 65536 bytes together",
        "instance": "",
        "code": "payload_too_large",
        "request_id": "",
        "definite": True,
        "retryable": False,
    }
)
_HEAD_TOO_LARGE = (
    b"HTTP/1.1 413 Content Too Large\r\ncontent-type: application/problem+json\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%s" % (len(_PROBLEM), _PROBLEM)
)


class PatientProtocol(HttpToolsProtocol):
    """Waits ``deadline_s`` for the headers to be complete, and as long again for the body, however busily it drips.

    It waits as long for a peer to take what has piled up for it (64 KiB beside the system's own buffers), be that an
    event stream that nobody reads or a long answer. An idle connection between requests is the keep-alive timer's
    business, not this one's.
    """

    head_max = 64 * 1024
    """Bytes of request line and headers; without a limit they are all kept until the last one has come."""
    unasked_max = 64 * 1024
    """Bytes of a body that are thrown away after its request was answered; then the connection is."""
    deadline_s = 10.0
    parting_s = 0.5
    """The same for taking, once the service stops, and for an answer after which the connection is closed."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._deadline: asyncio.TimerHandle | None = None
        self._untaken: asyncio.TimerHandle | None = None
        self._in_head = True
        self._head = 0
        self._unasked = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn declares it
        """A peer connected: the headers are awaited."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """The peer is gone."""
        self._stop_waiting()
        self._taken()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        super().data_received(data)
        self._head = self._head + len(data) if self._in_head else 0
        if self._head > self.head_max and not self.transport.is_closing():
            self._refuse()

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        if self.cycle.response_complete:
            self._unasked += len(body)
            if self._unasked > self.unasked_max:
                self.transport.abort()
        super().on_body(body)

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._in_head, self._unasked = True, 0
        super().on_message_begin()
        self._wait()

    def on_headers_complete(self) -> None:
        """The headers are complete, the body is awaited."""
        self._in_head = False
        super().on_headers_complete()
        self._wait()

    def on_message_complete(self) -> None:
        """The request is complete."""
        self._stop_waiting()
        super().on_message_complete()

    def pause_writing(self) -> None:
        """The peer does not take what is sent."""
        super().pause_writing()
        self._taken()
        self._untaken = self.loop.call_later(self.deadline_s, self.transport.abort)

    def resume_writing(self) -> None:
        """It took most of it."""
        self._taken()
        super().resume_writing()

    def shutdown(self) -> None:
        """The service stops: an answer in flight may end, but nobody is waited for who does not take it."""
        super().shutdown()
        if self._untaken is not None:
            self._taken()
            self._untaken = self.loop.call_later(self.parting_s, self.transport.abort)

    def _refuse(self) -> None:
        """Answer and take nothing more. Closing at once would be a reset, before which the answer can get lost."""
        self._head = 0
        self._stop_waiting()
        self.flow.pause_reading()
        self.transport.write(_HEAD_TOO_LARGE)
        self.transport.write_eof()
        self.loop.call_later(self.parting_s, self.transport.abort)

    def _taken(self) -> None:
        if self._untaken is not None:
            self._untaken.cancel()
            self._untaken = None

    def _wait(self) -> None:
        self._stop_waiting()
        self._deadline = self.loop.call_later(self.deadline_s, self._give_up)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        if self.flow.read_paused:  # we stopped reading, so that the silence is ours
            self._wait()
        else:
            self.transport.abort()
