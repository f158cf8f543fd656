"""When does trouble of the service itself last so long that people must hear of it? Thresholds of contract.md 5.43.

Everything here is about looks at the terminal as a whole; what is about one trade is told where it happens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from dtms_service.domain import alerts
from dtms_service.domain.alerts import Alert
from dtms_service.domain.reconcile import alert
from dtms_service.domain.trade import Event, Trade
from dtms_service.engine.acting import ALERT_AT_ATTEMPT
from dtms_service.engine.book import Book
from dtms_service.engine.record import Record

FAILURES = 3
"""Looks that failed in a row."""
NOT_WATCHING_S = 30.0
NOT_WATCHING_LONG_S = 300.0
"""Seconds since the first of them, engine clock."""
BUSY_S = 10.0
"""Seconds without a commit that are worth telling afterwards (``reliability.md`` 11)."""
OVERRUNS = 3
"""Cycles in a row that took longer than their period."""
OVERRUN = "cycle_overrun"
MISMATCH = "account_mismatch"
_LASTS: Mapping[str, Callable[[Trade], bool]] = {
    "unprotected_if_down": lambda trade: not trade.state.final and trade.stop_loss is None,
    "stop_removed": lambda trade: not trade.state.final and trade.stop_loss is None,
    "position_missing": lambda trade: trade.missing_since is not None,
    "hedge_missing": lambda trade: trade.hedge is not None and trade.hedge.missing_since is not None,
    "hedge_stop_removed": lambda trade: trade.hedge is not None and trade.hedge.stop_loss is None,
    "hedge_left_open": lambda trade: trade.hedge is not None,
    "obligation_failing": lambda trade: any(
        o.status.live and o.attempts - o.uncounted >= ALERT_AT_ATTEMPT for o in trade.obligations
    ),
}
"""Alerts about a trade whose cause can be seen, and what shows that it is still there.

One that is not over counts up in silence, and would hide the next.
"""
_ENDED_BY_A_LOOK = ("not_watching", "not_watching_long", MISMATCH, "monitor_failed")


class Troubles:
    """Remembers since when; writes alerts once per trouble. Its methods raise what the ledger raises."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._failures = 0
        self._since = 0.0
        self._told: set[str] = set()
        self._busy_since: float | None = None
        self._failed: frozenset[int] = frozenset()
        self._untold: Event | None = None
        self._overruns = 0

    async def unseen(self, now: float, code: str, detail: str, *, expected: bool = False) -> None:
        """A look at the terminal failed, or it could not be connected. ``expected``: it is no emergency."""
        self._failures += 1
        if self._failures == 1:
            self._since = now
        lasts = now - self._since
        due = {
            MISMATCH: code == MISMATCH,
            "not_watching": self._failures >= FAILURES or lasts > NOT_WATCHING_S,
            "not_watching_long": lasts >= NOT_WATCHING_LONG_S and not expected,
        }
        new = [name for name, true in due.items() if true and name not in self._told]
        await self._record.write(events=[alerts.alert_event(now, name, f"{code}: {detail}") for name in new])
        self._told.update(new)

    async def seen(self, now: float, failed: Sequence[int]) -> None:
        """Everything was looked at; ``failed`` are tickets whose trade raised an error of ours."""
        events = self._about_trades(now, frozenset(failed))
        known = {a.code for a in self._record.book.alerts.values() if a.over_at is None}
        if known.intersection(_ENDED_BY_A_LOOK):
            events.append(alerts.alert_event(now, "watching_again", "the terminal answers, and all trades are watched"))
        await self._record.write(events=events)
        self._failures, self._told, self._failed = 0, set(), frozenset(failed)

    def _about_trades(self, now: float, failed: frozenset[int]) -> list[Event]:
        book, events = self._record.book, []
        for ticket in sorted(failed - self._failed):
            trade = book.find(ticket)
            if trade is not None:
                events.append(alert(trade, now, "trade_failed", "an error of ours; the log has it under trade_failed"))
        here = [book.find(ticket) for ticket in failed]
        abouts = {f"trade {trade.trade_id}" for trade in here if trade is not None}
        events += [
            Event(time=now, kind=alerts.OVER, trade_id=a.trade_id, ticket=a.ticket, body=_over_body(a.code))
            for a in book.alerts.values()
            if a.code == "trade_failed" and a.over_at is None and a.about not in abouts
        ]
        for known in book.alerts.values():
            if known.over_at is None and not _stands(known, book):
                body = {"code": known.code, "detail": "its cause has passed"}
                events.append(
                    Event(time=now, kind=alerts.OVER, trade_id=known.trade_id, ticket=known.ticket, body=body)
                )
        return events

    async def took(self, now: float, seconds: float, period: float) -> None:
        """A cycle of ``seconds`` ended where one every ``period`` is due (``reliability.md`` 22)."""
        self._overruns = self._overruns + 1 if seconds > period else 0
        standing = any((a.code, a.over_at) == (OVERRUN, None) for a in self._record.book.alerts.values())
        if self._overruns == OVERRUNS:
            detail = (
                f"{OVERRUNS} cycles in a row took longer than the {period:g} s between two; the last {seconds:.0f} s"
            )
            await self._record.write(events=[alerts.alert_event(now, OVERRUN, detail)])
        elif not self._overruns and standing:
            await self._record.write(events=[alerts.over_event(now, OVERRUN, f"a cycle took {seconds:.0f} s")])

    def not_stored(self, now: float) -> None:
        """A commit was refused: locked, or no space."""
        if self._busy_since is None:
            self._busy_since = now

    async def stored(self, now: float) -> None:
        """Commits are taken; tell afterwards when they were not for long."""
        if self._busy_since is None:
            return
        lasted = now - self._busy_since
        if lasted >= BUSY_S:
            detail = f"nothing could be written for {lasted:.0f} s"
            await self._record.write(events=[alerts.alert_event(now, "storage_was_busy", detail)])
        self._busy_since = None

    def restarted(self, now: float, failures: int, failure: Exception) -> None:
        """The monitor raised and is started again; told by the next `tell`."""
        detail = f"the cycle failed {failures} times: {type(failure).__name__}: {failure}"
        self._untold = alerts.alert_event(now, "monitor_failed", detail)

    async def tell(self) -> None:
        """Write what could not be written when it happened."""
        if self._untold is not None:
            await self._record.write(events=[self._untold])
            self._untold = None


def _stands(known: Alert, book: Book) -> bool:
    """Whether the cause of an alert can still be there; True for those whose end cannot be seen."""
    trade = book.trades.get(known.trade_id or 0)
    if known.code == "unknown_own_position":
        return any(position.ticket == known.ticket for position in book.positions.values())
    if known.code == "position_reversed":  # until somebody registers the new side, or closes it
        identifier = trade.identifier or 0 if trade is not None else 0
        return identifier in book.positions and book.by_identifier.get(identifier) == known.trade_id
    lasts = _LASTS.get(known.code)
    return lasts is None or (trade is not None and lasts(trade))


def _over_body(code: str) -> dict[str, str]:
    return {"code": code, "detail": "it was looked at without an error"}
