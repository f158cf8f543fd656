"""What time is it, and what is left to chance? The only file of the service that asks the machine either question.

Three clocks satisfy ``engine.ports.Clock``. The simulated two show the simulator's date (R35): until the simulator told
it through ``move``, they show the machine's. Process time (deadlines, drain) is ``time.monotonic`` where it is needed.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random  # noqa: TID251 - the one source of chance; everybody else is handed a generator or a name
import time
import uuid
from collections.abc import Callable
from functools import partial

_WALL: Callable[[], float] = time.time  # noqa: TID251 - the one place that reads the wall clock
NAP_S = 60.0
"""Longest sleep before the wall clock is read again, so that a suspended machine or a corrected clock is noticed."""
STEP_S = 2.0
"""What the machine's clock may be corrected by between two readings without being called a jump."""
SLEWED_S, SLEW = 60.0, 0.01
"""A jump up to the first is taken over in small steps, the second part of each second: a clock that was a little wrong
at the start becomes right, and no timer notices."""

log = logging.getLogger(__name__)


def wall_clock() -> float:
    """Seconds since the epoch by the machine's clock as it is, jumps and all: what other programs date files by."""
    return _WALL()


def _steady() -> Callable[[], float]:
    """The clock that nobody sets and that counts a sleep of the machine; Windows' monotonic one does."""
    read = getattr(time, "clock_gettime", None)
    names = [name for name in ("CLOCK_BOOTTIME", "CLOCK_MONOTONIC") if read is not None and hasattr(time, name)]
    return partial(read, getattr(time, names[0])) if read is not None and names else time.monotonic


class SystemClock:
    """UTC seconds by the machine's clock, without its jumps: what is being timed must not end with one.

    Used with a real terminal. The machine's clock is followed while it runs like the steady one, which no correction
    sets and which counts a sleep of the machine. A jump is logged and left out until ``renew``; a small
    one is taken over little by little.
    """

    def __init__(self, *, wall: Callable[[], float] = _WALL, steady: Callable[[], float] | None = None) -> None:
        """``wall``: seconds since the epoch, UTC; ``steady``: seconds since any instant."""
        self._wall = wall
        self._steady = steady or _steady()
        self._left_out = 0.0
        self._read = (wall(), self._steady())

    def now(self) -> float:
        """Seconds since the epoch, UTC; never less than before."""
        before, since = self._read
        steady = self._steady()
        jump = self._wall() - self._left_out - (before + steady - since)
        if abs(jump) > STEP_S:
            self._left_out += jump
            log.warning("clock_jumped", extra={"seconds": round(jump, 1), "left_out": round(self._left_out, 1)})
        if abs(self._left_out) <= SLEWED_S:
            slewed = min(abs(self._left_out), SLEW * (steady - since))
            self._left_out -= math.copysign(slewed, self._left_out)
        self._read = (max(before, self._wall() - self._left_out), steady)
        return self._read[0]

    def renew(self) -> None:
        """Show what the machine's clock shows, jumps and all."""
        if self._left_out:
            self._left_out, self._read = 0.0, (self._wall(), self._steady())

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

    def renew(self) -> None:
        """Nothing to do: it shows the simulator's date, which does not jump."""

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

    def renew(self) -> None:
        """Nothing to do: it shows the simulator's date, which does not jump."""

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
