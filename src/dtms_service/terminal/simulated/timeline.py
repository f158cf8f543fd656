"""The simulator's clock: stepped by hand, or running at a factor from the last known instant (R35, R36)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

STEPPED = "stepped"
LIVE = "live"


def read_clock(value: Any) -> float | None:
    """``None`` for ``stepped``, else how many times faster than real time the market runs (``live`` is 1)."""
    if value == STEPPED:
        return None
    if value == LIVE:
        return 1.0
    try:
        factor = float(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else math.nan
    except ValueError:
        factor = math.nan
    if not (math.isfinite(factor) and factor > 0):
        message = f"simulator.clock is {value!r}; it must be 'live', 'stepped' or a speed factor above 0 such as 60"
        raise ValueError(message)
    return factor


class Timeline:
    """Where market time stands. ``played`` is the instant up to which everything due has happened."""

    def __init__(
        self, factor: float | None, wall: Callable[[], float] | None, played: float, real: float | None
    ) -> None:
        """``real`` is the real instant that belonged to ``played``; None when the clock stood still then."""
        if factor is not None and wall is None:
            message = "a simulator clock that is not stepped needs the real time, and none was handed in"
            raise ValueError(message)
        self.factor = factor
        self.played = played
        self._wall = wall
        self._anchor = played
        # A real clock that was set back while nobody was here starts anew from the stored instant.
        present = self.real()
        self._real = present if real is None or present is None else min(real, present)

    @property
    def stepped(self) -> bool:
        """True when time moves by ``advance`` only."""
        return self.factor is None

    def real(self) -> float | None:
        """The real time, UTC seconds; None when stepped, where it plays no part."""
        return None if self.factor is None or self._wall is None else self._wall()

    def now(self) -> float:
        """Market time. Never before what has been played, also when somebody sets the real clock back."""
        real = self.real()
        if self.factor is None or real is None or self._real is None:
            return self.played
        return max(self.played, self._anchor + (real - self._real) * self.factor)

    def real_of_played(self) -> float | None:
        """The real instant that belongs to ``played``, to be stored beside it; None when stepped."""
        if self.factor is None or self._real is None:
            return None
        return self._real + (self.played - self._anchor) / self.factor

    def describe(self) -> dict[str, Any]:
        """``{mode, now, factor}``."""
        return {"mode": STEPPED if self.stepped else LIVE, "now": self.now(), "factor": self.factor or 0.0}
