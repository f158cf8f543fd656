"""What time is it, and what is left to chance? The only file of the service that asks the machine either question.

Three clocks satisfy ``engine.ports.Clock``. The simulated two show the simulator's date (R35): until the simulator told
it through ``move``, they show the machine's. Process time (deadlines, drain) is ``time.monotonic`` where it is needed.
"""

from __future__ import annotations

import asyncio
import random  # noqa: TID251 - the one source of chance; everybody else is handed a generator or a name
import time
import uuid
from collections.abc import Callable

_WALL: Callable[[], float] = time.time  # noqa: TID251 - the one place that reads the wall clock
NAP_S = 60.0
"""Longest sleep before the wall clock is read again, so that a suspended machine or a corrected clock is noticed."""


class SystemClock:
    """The machine's clock: UTC seconds. Used with a real terminal."""

    def now(self) -> float:
        """Seconds since the epoch, UTC."""
        return _WALL()

    async def sleep_until(self, time: float) -> None:
        """Return when ``now() >= time``."""
        while (left := time - self.now()) > 0:  # noqa: ASYNC110 - time itself is what is waited for
            await asyncio.sleep(min(left, NAP_S))


class FactorClock:
    """The simulator's date, running ``factor`` times as fast as real time; 1.0 is ``live``."""

    stepped = False

    def __init__(
        self, factor: float, *, origin: float | None = None, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """``origin``: the date to start from, UTC seconds."""
        self._factor = factor
        self._monotonic = monotonic
        self._origin = _WALL() if origin is None else origin
        self._since = monotonic()

    def now(self) -> float:
        """Seconds since the epoch, UTC, on the simulator's calendar."""
        return self._origin + (self._monotonic() - self._since) * self._factor

    def move(self, now: float) -> None:
        """The market is at ``now``; run on from there."""
        self._origin, self._since = now, self._monotonic()

    async def sleep_until(self, time: float) -> None:
        """Return when ``now() >= time``."""
        while (left := time - self.now()) > 0:  # noqa: ASYNC110 - time itself is what is waited for
            await asyncio.sleep(min(left / self._factor, NAP_S))


class SteppedClock:
    """The simulator's date, which stands still until it is moved."""

    stepped = True

    def __init__(self, *, origin: float | None = None) -> None:
        """``origin``: the date to start from, UTC seconds."""
        self._now = _WALL() if origin is None else origin
        self._moved = asyncio.Event()

    def now(self) -> float:
        """Seconds since the epoch, UTC, on the simulator's calendar."""
        return self._now

    def move(self, now: float) -> None:
        """The market is at ``now``."""
        self._now = now
        self._moved.set()
        self._moved = asyncio.Event()

    async def sleep_until(self, time: float) -> None:
        """Return when the clock was moved to ``time`` or past it."""
        while self._now < time:
            await self._moved.wait()


def chance() -> random.Random:
    """Return a generator for jitter: differs between processes, decides nothing about money."""
    return random.Random()  # noqa: S311 - spreads retries over time, guards nothing


def new_id() -> str:
    """Return a name nobody else has: 12 hex digits, for a process or a request."""
    return uuid.uuid4().hex[:12]
