"""uvicorn as we need it: serves sockets that are open already, tells when it serves, and leaves signals to us."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Callable, Iterator

import uvicorn
from starlette.types import ASGIApp

from dtms_service.api.protocol import PatientProtocol

KEEP_ALIVE_S = 75
"""Longer than the client keeps idle connections (30 s): with 5 s on both ends 2 % of calls met a closing connection."""
DRAIN_S = 3
"""Seconds that requests in flight may take when the service stops; long ones look at the stop flag themselves."""


class Server(uvicorn.Server):
    """One server on given sockets; ``serving`` is set once it answers."""

    def __init__(self, app: ASGIApp) -> None:
        config = uvicorn.Config(
            app,
            lifespan="off",  # uvicorn runs it before the sockets answer; starting is not its business
            log_config=None,
            log_level="warning",  # its steps are ours to tell
            access_log=False,
            server_header=False,
            ws="none",
            http=PatientProtocol,
            workers=1,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=DRAIN_S,
        )
        super().__init__(config)
        self.serving = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer."""
        await super().startup(sockets)
        self.serving.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do nothing: uvicorn would raise the signal again after its drain, and the process would not end with 0."""
        yield


def on_signals(act: Callable[[], None]) -> None:
    """Call ``act`` on the running loop when asked to end: SIGINT, SIGTERM, SIGHUP; on Windows Ctrl-C, Ctrl-Break.

    Closing the console window is a hard kill: it arrives as Ctrl-Break, but Windows ends the process as soon as the C
    handler returns, and the starter of a virtual environment, which dies with it, takes its child along.
    """
    loop = asyncio.get_running_loop()

    def asked(*_: object) -> None:
        if not loop.is_closed():  # a second Ctrl-C while the process leaves
            loop.call_soon_threadsafe(act)

    if sys.platform == "win32":  # no loop handlers there; the loop is woken by the signal's own byte
        for number in (signal.SIGINT, signal.SIGBREAK):
            signal.signal(number, asked)
    else:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, act)
