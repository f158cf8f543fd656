"""Alerts reach people: each channel has a task of its own, so that one that hangs holds up neither another nor a cycle.

What a channel has taken is in the ledger. What it has not taken is tried again, for ever, also by the next process.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from platform import node
from typing import Any

from dtms_service.api.alerts import alert_out
from dtms_service.api.convert import account_out
from dtms_service.app.build import Parts
from dtms_service.clock import SystemClock
from dtms_service.domain.errors import NotAccepting, StorageBusy
from dtms_service.engine.alerting import ALIVE_S, STARTS_S, Alerting
from dtms_service.notify.channels import Channel, LogLines, Webhook
from dtms_service.notify.posting import Door, NotTaken
from dtms_service.settings.tree import Settings

log = logging.getLogger(__name__)

LOOK_S = 1.0
"""Between two looks for something to deliver."""
REMIND_LOOK_S = 30.0
"""Between two looks for alerts that have to be told again."""
LOADED_LOOK_S = 0.05
"""Between two looks whether the ledger is open: a life that ends soon after is a start, too."""
AT_ONCE = 50
"""Alerts in one message: after a long outage a receiver gets a few messages, not thousands."""
RETRY_S = (1.0, 30.0)
"""Bounds of the pause after a failure: doubled from the first to the second, and drawn from its upper half."""
SILENT_S = 300.0
"""How long a receiver may fail before that is an alert of its own."""
UNDELIVERED = "alerts_undelivered"


@dataclass(frozen=True, slots=True)
class Pace:
    """Real time, which a test may make virtual. ``draw`` is from [0, 1)."""

    draw: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    monotonic: Callable[[], float] = time.monotonic

    async def pause(self, failures: int) -> None:
        """The wait after so many failures in a row."""
        first, longest = RETRY_S
        bound = min(longest, first * 2.0 ** min(failures - 1, 16))
        await self.sleep(bound * (1 + self.draw()) / 2)


async def deliver(alerting: Alerting, channel: Channel, pace: Pace) -> None:
    """Hand ``channel`` what it is owed, for ever. Raises ``StorageFailed``."""
    failures, since, told = 0, 0.0, False
    alerting.channels.setdefault(channel.name, None)
    while True:
        owed = alerting.owed_to(channel.name)[:AT_ONCE]
        if not owed:
            await pace.sleep(LOOK_S)
            continue
        try:
            await channel.take([alert_out(alert, alerting.notice_id(alert)) for alert in owed])
            await alerting.delivered(channel.name, owed)
        except (NotTaken, StorageBusy) as error:
            failures += 1
            since = pace.monotonic() if failures == 1 else since
            alerting.channels[channel.name] = str(error)
            if not failures & (failures - 1):  # 1, 2, 4, 8, …: a night's outage is a dozen lines
                facts = {"channel": channel.name, "owed": len(owed), "failures": failures, "why": str(error)}
                log.warning("alerts_not_taken", extra=facts)
            if not told and pace.monotonic() - since >= SILENT_S:
                told = await _told(alerting, channel.name, str(error))
            await pace.pause(failures)
            continue
        if failures:
            log.info("alerts_taken_again", extra={"channel": channel.name, "failures": failures})
        if alerting.standing(UNDELIVERED, channel.name):
            await _over(alerting, channel.name)
        failures, told = 0, False
        alerting.channels[channel.name] = None


async def _told(alerting: Alerting, channel: str, why: str) -> bool:
    try:
        await alerting.tell(UNDELIVERED, f"{channel} has taken nothing for five minutes: {why}", about=channel)
    except (StorageBusy, NotAccepting) as error:
        log.warning("alert_not_stored", extra={"code": UNDELIVERED, "why": error.detail})
        return False
    return True


async def _over(alerting: Alerting, channel: str) -> None:
    try:
        await alerting.tell_over(UNDELIVERED, f"{channel} takes alerts again", about=channel)
    except (StorageBusy, NotAccepting) as error:
        log.warning("alert_not_stored", extra={"code": UNDELIVERED, "why": error.detail})


async def note_start(alerting: Alerting, at: float, wall: Callable[[], float], pace: Pace) -> None:
    """Note the start of this process at ``at``, wall time, once the ledger takes it; and for ever that it runs.

    Raises ``StorageFailed``.
    """
    await _stored(lambda: alerting.started(at), pace)
    await pace.sleep(STARTS_S)
    await _stored(alerting.stayed, pace)
    while True:
        await _stored(lambda: alerting.alive(wall()), pace)
        await pace.sleep(ALIVE_S)


async def remind(alerting: Alerting, pace: Pace) -> None:
    """Have the critical alerts that still stand told again, for ever. Raises ``StorageFailed``."""
    while True:
        await pace.sleep(REMIND_LOOK_S)
        try:
            await alerting.remind()
        except (StorageBusy, NotAccepting) as error:
            log.warning("reminders_not_stored", extra={"why": error.detail})


async def _stored(write: Callable[[], Awaitable[None]], pace: Pace) -> None:
    busy = False
    while True:
        try:
            return await write()
        except NotAccepting:  # the ledger is being opened
            await pace.sleep(LOADED_LOOK_S)
        except StorageBusy as error:
            if not busy:
                log.warning("start_not_stored", extra={"why": error.detail})
            busy = True
            await pace.sleep(LOOK_S)


def side_tasks(parts: Parts, settings: Settings, pace: Pace) -> dict[str, Callable[[], Coroutine[Any, Any, None]]]:
    """What is to be kept up, by name; everything it needs is opened anew each time."""
    alerting, webhook, deadman = parts.engine.alerting, settings.alerts.webhook, settings.alerts.deadman
    wall = SystemClock().now

    def about() -> dict[str, Any]:
        account = account_out(parts.engine.report().account)
        return {"service": "dtms", "machine": node(), "terminal": settings.terminal.kind, "account": account}

    async def to_webhook(url: str, secret: str) -> None:
        async with Door(url) as door:
            await deliver(alerting, Webhook(door, secret, wall, about), pace)

    async def to_deadman(url: str) -> None:
        async with Door(url) as door:
            await ping(door, lambda: parts.engine.counts.cycles, deadman.period_s, pace)

    tasks: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
        "alerts to the log": lambda: deliver(alerting, LogLines(), pace),
        "reminders": partial(remind, alerting, pace),
        "starts": partial(note_start, alerting, wall(), wall, pace),
    }
    if webhook.url is not None and webhook.secret is not None:
        tasks["alerts to the webhook"] = partial(to_webhook, webhook.url, webhook.secret.get_secret_value())
    if deadman.url is not None:
        tasks["dead-man ping"] = partial(to_deadman, deadman.url)
    return tasks


async def ping(door: Door, cycles: Callable[[], int], period_s: float, pace: Pace) -> None:
    """Ask for the dead-man address after a completed cycle, at most once per period, for ever.

    Nothing is sent while no cycle completes: it is the silence that somebody outside hears.
    """
    pinged, at, failures = 0, float("-inf"), 0
    while True:
        seen, now = cycles(), pace.monotonic()
        if seen == pinged or now - at < period_s:
            await pace.sleep(LOOK_S)
            continue
        try:
            await door.get()
        except NotTaken as error:
            failures += 1
            if not failures & (failures - 1):
                log.warning("deadman_not_reached", extra={"failures": failures, "why": str(error)})
            await pace.pause(failures)
            continue
        pinged, at, failures = seen, now, 0
