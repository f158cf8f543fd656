"""What time is it for the client, and what is left to chance: the only file of the client that asks.

Wall time only names files and ages them (UTC); deadlines and back-off use process time. Tests bring their own `Clock`.
"""

from __future__ import annotations

import asyncio
import random  # noqa: TID251 - spreads retries of many programs over time; nothing that decides about money reads it
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


def _wall_ns() -> int:
    return time.time_ns()  # noqa: TID251 - names spool files in order, across programs and restarts


@dataclass(frozen=True, slots=True)
class Clock:
    """Time, waiting and jitter."""

    wall_ns: Callable[[], int] = _wall_ns
    """UTC nanoseconds since 1970; may jump."""
    monotonic: Callable[[], float] = time.monotonic
    """Process seconds; never jumps."""
    uniform: Callable[[float, float], float] = random.uniform
    """A number between the two given ones."""
    sleep: Callable[[float], None] = time.sleep
    asleep: Callable[[float], Awaitable[None]] = asyncio.sleep


CLOCK = Clock()
"""The real one."""
