"""What becomes of alerts after they were raised: looked up, acknowledged, delivered. And causes outside a cycle."""

from __future__ import annotations

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

    async def tell(self, code: str, detail: str, *, about: str = "") -> None:
        """Raise an alert about something that is no trade, outside a cycle."""
        self._check_loaded()
        await self._record.write(events=[alerts.alert_event(self._clock.now(), code, detail, about=about)])

    async def tell_over(self, code: str, detail: str, *, about: str = "") -> None:
        """The cause of such an alert has passed."""
        self._check_loaded()
        await self._record.write(events=[alerts.over_event(self._clock.now(), code, detail, about=about)])

    def _check_loaded(self) -> None:
        if not self._record.loaded:
            raise NotAccepting


def _told(alert: Alert, now: float) -> Event:
    body = {
        "alert_id": alert.alert_id,
        "code": alert.code,
        "by": alert.acknowledged_by,
        "reason": alert.acknowledgement,
    }
    return Event(time=now, kind=ACKNOWLEDGED, trade_id=alert.trade_id, ticket=alert.ticket, body=body)
