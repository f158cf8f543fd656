"""How often orders may go out, for the whole account: a cap of our own, and a pause after the server's complaint.

The cap is a window over the newest sends, because a bucket of five tokens lets nine orders through within a second.
Closes are exempt from the cap and never from the pause (R9). Times are on the engine clock, UTC seconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

PER_SECOND = 5
"""Orders in any second (mt5.md 6.8)."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 8.0
"""Pause after the first 10024, and the most that doubling makes of it."""
TOO_MANY_REQUESTS = 10024


class Pacing:
    """Memory of one account's sends; nothing of it needs to survive a restart, which takes longer than a pause."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._sends: deque[float] = deque(maxlen=PER_SECOND)
        self._paused_at = 0.0
        self._pause = 0.0

    def wait(self, *, closing: bool) -> float:
        """Seconds until an order may go out; 0.0 when it may now. ``closing``: it closes volume."""
        now = self._now()
        waits = [_left(self._paused_at, self._pause, now)]
        if not closing and len(self._sends) == PER_SECOND:
            waits.append(_left(self._sends[0], 1.0, now))
        return max(waits)

    def sent(self) -> None:
        """An order goes out now."""
        self._sends.append(self._now())

    def complained(self) -> float:
        """The server said 10024: the pause that begins, in seconds, twice as long as the one before."""
        self._pause = min(LONGEST_PAUSE_S, 2 * self._pause or FIRST_PAUSE_S)
        self._paused_at = self._now()
        return self._pause

    def done(self) -> None:
        """An order was done, which ends the doubling; a refusal for another reason is no sign of patience."""
        self._pause = 0.0


def _left(since: float, length: float, now: float) -> float:
    """What is left of ``length`` seconds; nothing when the clock was set back to before they began."""
    return max(0.0, since + length - now) if now >= since else 0.0
