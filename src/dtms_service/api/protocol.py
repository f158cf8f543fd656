"""uvicorn's HTTP protocol with the deadlines it lacks: a peer that neither sends nor takes is disconnected.

Without it 150 of 150 half-open sockets were alive after 65 s. The server takes it as ``uvicorn.Config(http=...)``.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState


class PatientProtocol(HttpToolsProtocol):
    """Waits ``deadline_s`` for the headers to be complete, and as long again for the body, however busily it drips.

    It waits as long for a peer to take what has piled up for it (64 KiB beside the system's own buffers), be that an
    event stream that nobody reads or a long answer. An idle connection between requests is the keep-alive timer's
    business, not this one's.
    """

    deadline_s = 10.0
    parting_s = 0.5
    """The same for taking, once the service stops."""

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

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn declares it
        """A peer connected: the headers are awaited."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """The peer is gone."""
        self._stop_waiting()
        self._taken()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._wait()

    def on_headers_complete(self) -> None:
        """The headers are complete, the body is awaited."""
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
