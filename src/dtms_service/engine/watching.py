"""How long a connected terminal has shown nothing of something: memory only, because a restart starts over, longer."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Watch:
    """Seconds and good reads of one watch. ``looked_at`` is None after the terminal was out of sight."""

    connected_s: float = 0.0
    good_reads: int = 0
    looked_at: float | None = None


class Watches:
    """Watches by number. Time counts between two good looks in a row, never across a failure (``engine.md`` D4)."""

    def __init__(self, most_s: float) -> None:
        """``most_s`` is what counts between two looks at most: a machine that slept in between saw nothing."""
        self._most_s = most_s
        self._watches: dict[int, Watch] = {}

    def look(self, number: int, now: float) -> Watch:
        """A good look at ``now`` (market time), the first one included."""
        before = self._watches.get(number, Watch())
        passed = 0.0 if before.looked_at is None else min(max(0.0, now - before.looked_at), self._most_s)
        self._watches[number] = Watch(before.connected_s + passed, before.good_reads + 1, now)
        return self._watches[number]

    def lose(self, number: int) -> None:
        """This one could not be looked at; what passes until the next look does not count."""
        if number in self._watches:
            self._watches[number] = replace(self._watches[number], looked_at=None)

    def lose_all(self) -> None:
        """The terminal is out of sight."""
        for number in self._watches:
            self.lose(number)

    def forget(self, number: int) -> None:
        """This one is decided."""
        self._watches.pop(number, None)

    def keep(self, numbers: Collection[int]) -> None:
        """Forget every watch but these."""
        self._watches = {number: watch for number, watch in self._watches.items() if number in numbers}
