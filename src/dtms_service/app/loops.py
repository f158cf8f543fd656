"""Which event loop? uvloop; on Windows the Proactor loop, the only one there with pipes to a child process.

The Windows half follows the documentation and the sources of Python, and has not been run there yet.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")

GONE = frozenset({64, 10053, 10054, 10057})
"""Windows codes that say of the caller, not of the listening socket, that it is no more."""
_BREATH_S = 0.01


async def accepted(accept: Callable[[], Awaitable[T]]) -> T:
    """The first caller of ``accept`` that is still there. Raises its other ``OSError``."""
    while True:
        try:
            return await accept()
        except OSError as error:
            if getattr(error, "winerror", None) not in GONE:
                raise
        await asyncio.sleep(_BREATH_S)


if sys.platform == "win32":

    class _Proactor(asyncio.IocpProactor):
        """One that outlives a caller who is killed while it is accepted.

        The standard one hands that error to the loop, which closes the listening socket for good: the service would
        watch on and never answer again (python/cpython issue 93821, open).
        """

        def accept(self, listener: socket.socket) -> asyncio.Future[Any]:
            once = super().accept
            return asyncio.ensure_future(accepted(lambda: once(listener)))

    def new_event_loop() -> asyncio.AbstractEventLoop:
        """A loop for ``asyncio.Runner``."""
        return asyncio.ProactorEventLoop(_Proactor())

else:
    import uvloop

    new_event_loop = uvloop.new_event_loop
