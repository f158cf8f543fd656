"""What the engine counts while it runs; plain numbers, since the start of the process. ``GET /metrics`` shows them."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence

from dtms_service.domain.trade import Event

CYCLE_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the classes of cycles: a quiet one takes milliseconds, an order up to 20 s (R19)."""


class Histogram:
    """How many values fell into each class, and their sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        """One per bound, and one for what is above all of them."""
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Count one value; a bound belongs to the class that it ends."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Meters:
    """Owned by the event loop. Every key comes from a closed set of ours, never from a caller."""

    def __init__(self) -> None:
        self.cycles = Histogram(CYCLE_BOUNDS_S)
        """Real seconds of completed cycles."""
        self.cycles_failed = 0
        """Cycles in which the terminal could not be read."""
        self.registrations: Counter[str] = Counter()
        """Answers to registrations by outcome, or by error code."""
        self.actions: Counter[tuple[str, str]] = Counter()
        """Recorded actions by (kind, outcome)."""

    def registered(self, outcomes: Iterable[str]) -> None:
        """Registrations were answered with these outcomes or error codes."""
        self.registrations.update(outcomes)

    def acted(self, actions: Sequence[Event]) -> None:
        """Events of kind ``action`` were stored."""
        self.actions.update((str(event.body.get("action_type")), str(event.body.get("outcome"))) for event in actions)
