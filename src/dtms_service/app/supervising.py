"""Side tasks that must not end the service: one that fails is logged and begun again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from dtms_service.domain.errors import StorageFailed

log = logging.getLogger(__name__)

AGAIN_S = 5.0


async def kept_up(
    name: str, life: Callable[[], Coroutine[Any, Any, None]], sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> None:
    """Run ``life`` for ever: when it ends, for whatever reason, begin it again. Raises ``StorageFailed`` only."""
    while True:
        task = asyncio.create_task(life(), name=name)
        try:
            await asyncio.wait([task])
        finally:
            task.cancel()
            await asyncio.wait([task])
        failure = task.exception()
        if isinstance(failure, StorageFailed):
            raise failure
        log.error("side_task_failed", extra={"task": name}, exc_info=failure)
        await sleep(AGAIN_S)
