"""What becomes of alerts after they were raised: looked up, acknowledged, delivered. And causes outside a cycle."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence

from dtms_service.domain import alerts
from dtms_service.domain.alerts import Alert, Wanted
from dtms_service.domain.errors import AlertNotFound, NotAccepting
from dtms_service.domain.trade import Event
from dtms_service.engine.ports import Clock
from dtms_service.engine.record import Record

log = logging.getLogger(__name__)

ACKNOWLEDGED = "alert_acknowledged"
STARTS = "starts"
"""Fact: the wall times of the newest starts of the service, JSON, oldest first."""
STARTS_TOLD, STARTS_S = 5, 300.0
"""So many starts within so many seconds are an alert."""
RESTARTING = "restarting"
ALIVE, ALIVE_S = "alive", 300.0
"""Fact: the wall time at which the service was last known to run; noted so often."""
AWAY, AWAY_S = "was_away", 900.0
"""So long without the service, while it had trades to defend, is told at its next start."""


class Alerting:
    """The alerts of one engine. What stores or asks raises ``NotAccepting``, ``StorageBusy``, ``StorageFailed``."""

    def __init__(self, record: Record, clock: Clock) -> None:
        self._record = record
        self._clock = clock
        self.channels: dict[str, str | None] = {}
        """By name: why a channel takes nothing now, None when it does. Kept by whoever delivers."""

    @property
    def open(self) -> Mapping[int, Alert]:
        """The alerts that nobody has acknowledged, by id."""
        return self._record.book.alerts

    def owed_to(self, channel: str) -> tuple[Alert, ...]:
        """The alerts whose newest notice ``channel`` has not taken, the longest waiting first."""
        return alerts.owed(self.open.values(), channel)

    def standing(self, code: str, about: str) -> bool:
        """True while there is an open alert of this cause that is not over."""
        return any((a.code, a.about, a.over_at) == (code, about, None) for a in self.open.values())

    def notice_id(self, alert: Alert) -> str:
        """Name of the alert's newest notice, by which a receiver knows one that comes twice."""
        return f"{self._record.instance:03d}-{alert.alert_id}-{alert.notice}"

    async def list(self, wanted: Wanted) -> tuple[Alert, ...]:
        """Alerts, newest first."""
        self._check_loaded()
        return await self._record.alerts(wanted)

    async def acknowledge(self, alert_id: int, *, by: str, reason: str) -> Alert:
        """Somebody takes it on. The first acknowledgement stays. Raises ``AlertNotFound``."""
        self._check_loaded()
        async with self._record.alerting:
            known = self.open.get(alert_id)
            if known is not None:
                now = self._clock.now()
                taken = alerts.acknowledged(known, now, by, reason)
                await self._record.write_alerts([taken], [_told(taken, now)])
                return taken
        for stored in await self._record.alerts(Wanted(alert_id=alert_id)):
            return stored
        message = f"there is no alert {alert_id}; GET /dtms/alerts lists what there is"
        raise AlertNotFound(message)

    async def delivered(self, channel: str, taken: Sequence[Alert]) -> None:
        """``channel`` has taken the newest notice of each of these, as they were when they were handed over."""
        async with self._record.alerting:
            now = self._clock.now()
            known = [self.open[alert.alert_id] for alert in taken if alert.alert_id in self.open]
            notices = {alert.alert_id: alert.notice for alert in taken}
            changed = [alerts.delivered(alert, channel, notices[alert.alert_id], now) for alert in known]
            if changed:
                await self._record.write_alerts(changed)

    async def remind(self) -> None:
        """Make the critical alerts due again that have stood for an hour since they were last told."""
        self._check_loaded()
        async with self._record.alerting:
            due = alerts.reminders(self.open.values(), self._clock.now())
            if due:
                await self._record.write_alerts(due)

    async def tell(self, code: str, detail: str, *, about: str = "") -> None:
        """Raise an alert about something that is no trade, outside a cycle."""
        self._check_loaded()
        await self._record.write(events=[alerts.alert_event(self._clock.now(), code, detail, about=about)])

    async def tell_over(self, code: str, detail: str, *, about: str = "") -> None:
        """The cause of such an alert has passed."""
        self._check_loaded()
        await self._record.write(events=[alerts.over_event(self._clock.now(), code, detail, about=about)])

    async def started(self, at: float) -> None:
        """Note a start at ``at``, wall time (the market's may stand still).

        Alert at the fifth in five minutes, and when trades were open while the service was away for long.
        """
        self._check_loaded()
        before = [float(time) for time in json.loads(self._record.facts.get(STARTS, "[]"))]
        if at in before:
            return
        starts = [*before, at][-STARTS_TOLD:]
        events = []
        if len(starts) == STARTS_TOLD and 0 <= at - starts[0] <= STARTS_S:
            detail = f"the service was started {STARTS_TOLD} times within {at - starts[0]:.0f} seconds"
            events.append(alerts.alert_event(self._clock.now(), RESTARTING, detail))
        away = at - float(self._record.facts.get(ALIVE, at)) - ALIVE_S
        trades = self._record.book.trades.values()
        left = sum(t.managed and t.verified_at is not None and not t.state.final for t in trades)
        if away >= AWAY_S and left:
            detail = (
                f"nothing ran on this ledger for {_span(away)}, or up to five minutes longer; "
                f"{left} trades had only their stops at the broker"
            )
            events.append(alerts.alert_event(self._clock.now(), AWAY, detail))
        await self._record.write(events=events, facts={STARTS: json.dumps(starts), ALIVE: str(at)})

    async def alive(self, at: float) -> None:
        """Note that the service runs at ``at``, wall time."""
        self._check_loaded()
        await self._record.write(facts={ALIVE: str(at)})

    async def stayed(self) -> None:
        """The service has run for longer than restarts in a row would let it."""
        if self.standing(RESTARTING, ""):
            await self.tell_over(RESTARTING, f"the service has been running for {STARTS_S:.0f} seconds")

    def _check_loaded(self) -> None:
        if not self._record.loaded:
            raise NotAccepting


def _span(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _told(alert: Alert, now: float) -> Event:
    body = {
        "alert_id": alert.alert_id,
        "code": alert.code,
        "by": alert.acknowledged_by,
        "reason": alert.acknowledgement,
    }
    return Event(time=now, kind=ACKNOWLEDGED, trade_id=alert.trade_id, ticket=alert.ticket, body=body)
