"""The trade server's wall clock, in which MetaTrader counts every time (C55)."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

DAY = 86_400
_HOUR = 3600
_SUNDAY = 6


@dataclass(frozen=True, slots=True)
class ServerClock:
    """``base`` seconds ahead of UTC; with ``summer`` one hour more while New York has summer time.

    Most retail brokers keep New York's midnight at 07:00 UTC and so change with it, not with Europe (mt5.md 2.6).
    """

    base: int
    summer: bool = False

    def ahead(self, utc: float) -> int:
        """Seconds ahead of UTC at the instant ``utc``."""
        if not self.summer:
            return self.base
        changes = _changes(datetime.fromtimestamp(utc, UTC).year)
        return self.base + _HOUR * (bisect_right(changes, utc) % 2)

    def server(self, utc: float) -> float:
        """What the server's clock shows at ``utc``, as epoch seconds."""
        return utc + self.ahead(utc)

    def utc(self, server: float) -> float:
        """The instant at which the server's clock shows ``server``; the earlier one of an hour that comes twice."""
        return server - max(self.ahead(server - self.base - _HOUR), self.ahead(server - self.base))

    def servers(self, utc: NDArray[np.int64]) -> NDArray[np.int64]:
        """As ``server``, for a column of ascending instants."""
        if len(utc) == 0:
            return utc
        first, last = self.ahead(float(utc[0])), self.ahead(float(utc[-1]))
        if first == last and utc[-1] - utc[0] < 90 * DAY:
            return utc + first
        return np.array([each + self.ahead(each) for each in utc.tolist()], dtype=np.int64)

    def midnight_after(self, utc: float) -> float:
        """The first instant after ``utc`` at which the server's date changes."""
        server = self.server(utc)
        return self.utc((server // DAY + 1) * DAY)

    def weekday_ending(self, midnight: float) -> int:
        """Day of the week that ends at ``midnight`` (UTC), as MetaTrader counts: 0 is Sunday."""
        return datetime.fromtimestamp(self.server(midnight) - 1, UTC).isoweekday() % 7


@lru_cache(maxsize=256)
def _changes(year: int) -> tuple[float, float]:
    """New York's summer time: from 2 o'clock on the second Sunday of March to 2 o'clock on November's first."""
    return _sunday(datetime(year, 3, 8, 7, tzinfo=UTC)), _sunday(datetime(year, 11, 1, 6, tzinfo=UTC))


def _sunday(earliest: datetime) -> float:
    return (earliest + timedelta(days=(_SUNDAY - earliest.weekday()) % 7)).timestamp()
