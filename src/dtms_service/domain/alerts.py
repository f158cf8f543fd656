"""Alerts: one row per cause, however often it is seen, until a person acknowledges it. Pure.

An alert is made from the events of kind ``alert`` of the transaction that stores them. The same code about the same
trade, symbol or folder only counts up while nobody has acknowledged it. A *notice* is what is due to a receiver: the
first occurrence, a reminder, the end of the cause, its return. Only the newest one is owed, so a receiver that was
away for a day is told how things are, and not a thousand times how they were.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dtms_service.domain.runbook import Severity, entry
from dtms_service.domain.trade import Event

ALERT, OVER = "alert", "alert_over"
"""Kinds of events: something happened that somebody should look at; the cause of such an alert has passed.

Bodies: ``{code, detail}`` and, where no trade or ticket tells causes apart, ``about``.
"""
REMIND_S = 3600.0
"""Seconds after the last notice at which another occurrence of the same is told again, engine clock.

A critical one that is neither over nor acknowledged is told again without another occurrence: a stop that is missing
is missed once, and is still missing at four in the morning.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """The newest notice that a channel has taken, and when."""

    notice: int
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """Something that somebody should look at. Times are seconds since the epoch, UTC, engine clock."""

    alert_id: int
    code: str
    severity: Severity
    about: str
    """What tells this cause from others of its code: ``trade 7``, ``ticket 123``, a symbol, a folder, or nothing."""
    trade_id: int | None
    ticket: int | None
    detail: str
    """Of the newest occurrence; and how it ended, once it is over."""
    first_at: float
    last_at: float
    count: int = 1
    over_at: float | None = None
    """When its cause was seen to have passed; None again when it came back."""
    notice: int = 1
    """Number of the newest notice."""
    noticed_at: float
    delivered: Mapping[str, Delivery] = field(default_factory=dict)
    """By channel. Absent: it has taken none of this alert's notices."""
    acknowledged_at: float | None = None
    acknowledged_by: str | None = None
    acknowledgement: str | None = None
    """The reason that was given with it."""

    @property
    def open(self) -> bool:
        """True until somebody acknowledged it; over or not, because somebody should know that it happened."""
        return self.acknowledged_at is None

    def owed_to(self, channel: str) -> bool:
        """True while ``channel`` has not taken the newest notice. An acknowledged alert has reached a person."""
        taken = self.delivered.get(channel)
        return self.open and (taken is None or taken.notice < self.notice)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which alerts somebody asks for; None asks for any."""

    alert_id: int | None = None
    open: bool | None = None
    code: str | None = None
    ticket: int | None = None
    before: int | None = None
    """Only those with a lower id: the next page."""
    limit: int | None = 100


def raised(known: Mapping[int, Alert], events: Sequence[Event], last_id: int) -> tuple[Alert, ...]:
    """The alerts that ``events`` make or change. ``known``: the open ones by id; ``last_id``: the highest id so far."""
    by_cause = {(alert.code, alert.about): alert for alert in known.values()}
    changed: dict[tuple[str, str], Alert] = {}
    for event in events:
        if event.kind not in {ALERT, OVER}:
            continue
        code, about = str(event.body["code"]), about_of(event)
        ends = (code,) if event.kind == OVER else entry(code).ends
        for ended in ends:
            before = by_cause.get((ended, about))
            if before is not None and before.over_at is None:
                by_cause[ended, about] = changed[ended, about] = _ended(before, event)
        if not ends:
            before = by_cause.get((code, about))
            if before is None:
                last_id += 1
                after = _new(last_id, event)
            else:
                after = _again(before, event)
            by_cause[code, about] = changed[code, about] = after
    return tuple(changed.values())


def about_of(event: Event) -> str:
    """What tells the cause of this event from others of its code."""
    if event.trade_id is not None:
        return f"trade {event.trade_id}"
    return f"ticket {event.ticket}" if event.ticket is not None else str(event.body.get("about", ""))


def alert_event(now: float, code: str, detail: str, *, ticket: int | None = None, about: str = "") -> Event:
    """An alert that is not about a trade that is registered here."""
    return Event(time=now, kind=ALERT, trade_id=None, ticket=ticket, body=_body(code, detail, about))


def over_event(now: float, code: str, detail: str, *, ticket: int | None = None, about: str = "") -> Event:
    """The cause of such an alert has passed."""
    return Event(time=now, kind=OVER, trade_id=None, ticket=ticket, body=_body(code, detail, about))


def acknowledged(alert: Alert, now: float, by: str, reason: str) -> Alert:
    """The alert after somebody took it on."""
    return replace(alert, acknowledged_at=now, acknowledged_by=by, acknowledgement=reason)


def delivered(alert: Alert, channel: str, notice: int, now: float) -> Alert:
    """The alert after ``channel`` took its ``notice``."""
    return replace(alert, delivered={**alert.delivered, channel: Delivery(notice=notice, at=now)})


def reminders(known: Iterable[Alert], now: float) -> tuple[Alert, ...]:
    """The critical alerts that still stand `REMIND_S` after they were last told, with the notice that is due now."""
    standing = (a for a in known if a.open and a.over_at is None and a.severity is Severity.CRITICAL)
    return tuple(_noticed(alert, now) for alert in standing if now - alert.noticed_at >= REMIND_S)


def owed(known: Iterable[Alert], channel: str) -> tuple[Alert, ...]:
    """The alerts whose newest notice ``channel`` has not taken, the longest waiting first."""
    return tuple(sorted((a for a in known if a.owed_to(channel)), key=lambda a: (a.noticed_at, a.alert_id)))


def _new(alert_id: int, event: Event) -> Alert:
    code = str(event.body["code"])
    return Alert(
        alert_id=alert_id,
        code=code,
        severity=entry(code).severity,
        about=about_of(event),
        trade_id=event.trade_id,
        ticket=event.ticket,
        detail=str(event.body["detail"]),
        first_at=event.time,
        last_at=event.time,
        noticed_at=event.time,
    )


def _again(before: Alert, event: Event) -> Alert:
    after = replace(
        before,
        ticket=event.ticket,
        detail=str(event.body["detail"]),
        last_at=event.time,
        count=before.count + 1,
        over_at=None,
    )
    due = before.over_at is not None or event.time - before.noticed_at >= REMIND_S
    return _noticed(after, event.time) if due else after


def _ended(before: Alert, event: Event) -> Alert:
    detail = f"{before.detail}; over: {event.body['detail']}"
    return _noticed(replace(before, over_at=event.time, detail=detail), event.time)


def _noticed(alert: Alert, now: float) -> Alert:
    return replace(alert, notice=alert.notice + 1, noticed_at=now)


def _body(code: str, detail: str, about: str) -> Mapping[str, Any]:
    return {"code": code, "detail": detail, **({"about": about} if about else {})}
