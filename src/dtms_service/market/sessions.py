"""Where on the market's day a bar lies: trading session, VWAP anchor, holes in the record. By bar time alone.

Local clocks come from the zone database, so summer time moves sessions and anchors by itself. ``engine.md`` B1, B2.6,
B2.7.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from dtms_service.domain.view import Session

_DAY, _HOUR = 86_400, 3_600
_LONDON, _NEW_YORK, _TOKYO = ZoneInfo("Europe/London"), ZoneInfo("America/New_York"), ZoneInfo("Asia/Tokyo")
_CRYPTO = re.compile(r"(BTC|ETH|LTC|XRP|BCH|ADA|SOL|DOT|DOGE|BNB|AVAX|LINK|XLM|TRX|XBT)(USD|EUR|GBP|JPY)")
_ROLLOVER = 17 * _HOUR
_SHORTEST_HOLE, _LONGEST_HOLE = 1_800, 40 * _HOUR
_LONGEST_BREAK = 2 * _HOUR


def is_crypto(symbol: str) -> bool:
    """True for a coin against money, whatever a broker writes around it: it trades through nights and weekends."""
    return _CRYPTO.search(symbol.upper()) is not None


def session(time: int) -> Session:
    """The session of a bar that opens at ``time``: 08-16 London, 08-16 New York, 09-17 Tokyo, half-open; else OFF."""
    london = 8 <= _local_hour(time, _LONDON) < 16
    new_york = 8 <= _local_hour(time, _NEW_YORK) < 16
    if london and new_york:
        return Session.OVERLAP
    if london:
        return Session.LONDON
    if new_york:
        return Session.NEW_YORK
    return Session.ASIAN if 9 <= _local_hour(time, _TOKYO) < 17 else Session.OFF


def anchor(symbol: str, time: int) -> int:
    """Opening of the VWAP session of a bar at ``time``: 00:00 UTC for crypto, else the last 17:00 in New York."""
    if is_crypto(symbol):
        return time // _DAY * _DAY
    offset = _offset(time // _HOUR, _NEW_YORK)
    start = (time + offset - _ROLLOVER) // _DAY * _DAY + _ROLLOVER - offset
    # Clocks change at 02:00 on a Sunday: an anchor on the other side of it lies on the other offset.
    return start + offset - _offset(start // _HOUR, _NEW_YORK)


def bars_since_hole(symbol: str, times: NDArray[np.int64], seconds: int, newest: int) -> int | None:
    """Bars since the latest hole among the ``newest`` bars, None when there is none.

    A hole is longer than two M15 bars and shorter than a weekend (40 h), while the market was open. Markets with a
    rollover close at 17:00 in New York for at most two hours (metals and indices for one); coins never close.
    """
    tail = times[-newest - 1 :]
    for row in range(len(tail) - 1, 0, -1):
        start, end = int(tail[row - 1]) + seconds, int(tail[row])
        if not _SHORTEST_HOLE < end - start < _LONGEST_HOLE:
            continue
        over_rollover = end - start <= _LONGEST_BREAK and anchor(symbol, end) >= start
        if is_crypto(symbol) or not over_rollover:
            return len(tail) - row
    return None


def _local_hour(time: int, zone: ZoneInfo) -> int:
    return (time + _offset(time // _HOUR, zone)) % _DAY // _HOUR


@lru_cache(maxsize=8_192)
def _offset(hour: int, zone: ZoneInfo) -> int:
    """Seconds east of UTC during an hour of the epoch; all three zones change on whole hours of UTC."""
    offset = datetime.fromtimestamp(hour * _HOUR, UTC).astimezone(zone).utcoffset()
    if offset is None:
        message = f"{zone} gives no offset"
        raise ValueError(message)
    return int(offset.total_seconds())
