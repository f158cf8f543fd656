"""How late is the event loop? A beat that should come every tenth of a second, and by how much it came too late."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

BEAT_S = 0.1
WINDOW_S = 15.0
"""The largest delay of this window and of the one before it is shown: a look every 15 s misses none."""


class Beating(Protocol):
    """What is needed of an event loop."""

    def time(self) -> float:
        """Seconds, monotonic."""

    def call_later(self, delay: float, callback: Callable[[], None], /) -> object:
        """Call back after ``delay`` seconds."""


class LoopLag:
    """Beats for as long as the loop turns."""

    def __init__(self) -> None:
        self._largest = [0.0, 0.0]
        """In this window, and in the one before it."""

    def begin(self, loop: Beating) -> None:
        """Beat on ``loop`` from now on."""
        self._loop = loop
        self._window_ends = loop.time() + WINDOW_S
        self._next()

    def seconds(self) -> float:
        """The largest delay of the last 15 to 30 s."""
        return max(self._largest)

    def _next(self) -> None:
        self._due = self._loop.time() + BEAT_S
        self._loop.call_later(BEAT_S, self._beat)

    def _beat(self) -> None:
        now = self._loop.time()
        if now >= self._window_ends:
            self._largest = [0.0, self._largest[0]]
            self._window_ends = now + WINDOW_S
        self._largest[0] = max(self._largest[0], now - self._due)
        self._next()
