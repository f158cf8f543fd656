"""Signs that another DTMS acts on this account: on another machine, or with a copy of this ledger.

Locks keep two apart on one machine. Of one elsewhere only its orders are seen: their magics are of our kind, of another
ledger or beyond the last number that this one has used, and they are younger than this process.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dtms_service.domain import alerts, magic
from dtms_service.domain.trade import Event, Trade
from dtms_service.domain.values import Position
from dtms_service.engine.record import Record

SPLIT_BRAIN = "split_brain"
CLOCKS_APART_S = 10.0
"""The broker's clock is measured to a second or so: what an earlier ledger did just before the start is no rival's."""


class Rivals:
    """Remembers which signs were told. What an earlier ledger left behind is older than ``begin``."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._begun = float("inf")
        self._told: set[int] = set()

    def begin(self, now: float) -> None:
        """This process has taken up its work."""
        self._begun = now

    def signs(
        self, positions: Iterable[Position], events: Sequence[Event], trades: Iterable[Trade], now: float
    ) -> tuple[Event, ...]:
        """An alert for each order of a rival seen for the first time, by its position or by its closing deal."""
        closed = {trade.trade_id: trade.closed_at or 0.0 for trade in trades}
        seen = [(p.magic, p.time, f"position {p.ticket} of {p.symbol} was opened") for p in positions]
        seen += [
            (int(e.body["magic"]), closed.get(e.trade_id or 0, 0.0), f"position {e.ticket} was closed")
            for e in events
            if e.kind == "closed"
        ]
        told = []
        for number, at, what in seen:
            if number not in self._told and self._is_rivals(number, at):
                self._told.add(number)
                detail = f"{what} by a DTMS that is not this one (magic {number})"
                told.append(alerts.alert_event(now, SPLIT_BRAIN, detail))
        return tuple(told)

    def _is_rivals(self, number: int, at: float) -> bool:
        return magic.ours(number) and at > self._begun + CLOCKS_APART_S and not self._record.issued(number)
