"""Stored events for those who follow them: where the newest one is, the last few at hand, and a call when one comes.

Nothing is queued for anybody. A follower is a number, its position in the ledger; one that lags behind the events kept
here reads the ledger instead, so that a slow one costs no memory and misses nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from dtms_service.domain.trade import Event

KEPT = 1_000


class Feed:
    """Owned by the event loop; the record tells it what was committed."""

    def __init__(self) -> None:
        self.last = 0
        """Sequence of the newest stored event."""
        self.closed = False
        self._kept: deque[Event] = deque(maxlen=KEPT)
        self._changed = asyncio.Event()

    def begin(self, last: int) -> None:
        """The ledger holds events up to ``last``."""
        self.last = last
        self.wake()

    def publish(self, events: Sequence[Event]) -> None:
        """These were committed, in this order. Of two commits the later one may be told first: the ledger has both."""
        for event in events:
            number = event.sequence or 0
            if number <= self.last:
                continue
            if number != self.last + 1:
                self._kept.clear()
            self._kept.append(event)
            self.last = number
        if events:
            self.wake()

    def since(self, position: int) -> tuple[Event, ...] | None:
        """Every event after ``position``, oldest first; None when the ledger has to be asked."""
        if position >= self.last:
            return ()
        if not self._kept or (self._kept[0].sequence or 0) > position + 1:
            return None
        return tuple(event for event in self._kept if (event.sequence or 0) > position)

    async def wait(self, seconds: float) -> None:
        """Until something was stored or changed, at most ``seconds`` of real time."""
        changed = self._changed
        try:
            async with asyncio.timeout(seconds):
                await changed.wait()
        except TimeoutError:
            return

    def wake(self) -> None:
        """Let everybody who waits look again."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def close(self) -> None:
        """The service stops: followers take what there is and leave."""
        self.closed = True
        self.wake()
