"""Alerts in a real ledger, their delivery in virtual time, and a receiver that can be down, hang or lose its answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from dtms_service.app.notifying import Pace, deliver
from dtms_service.domain import alerts
from dtms_service.engine.alerting import Alerting
from dtms_service.engine.record import Record
from dtms_service.ledger.store import SqlLedger
from dtms_service.notify.channels import Webhook
from dtms_service.notify.posting import Door

SECRET = "a secret of both sides"  # noqa: S105 -- of a receiver that does not exist
URL = "https://receiver.example/hook?key=private"


@dataclass
class Time:
    """Virtual process time: a sleep moves it at once, and lets others run."""

    now: float = 0.0

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)

    def monotonic(self) -> float:
        return self.now

    @property
    def pace(self) -> Pace:
        return Pace(draw=lambda: 0.999, sleep=self.sleep, monotonic=self.monotonic)


@dataclass
class Receiver(httpx.AsyncBaseTransport):
    """``behave`` answers a request or raises; what was taken is kept whole."""

    taken: list[httpx.Request] = field(default_factory=list)
    asked: int = 0
    behave: Callable[[], Awaitable[int]] | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.asked += 1
        status = 204 if self.behave is None else await self.behave()
        if 200 <= status < 300:
            self.taken.append(request)
        return httpx.Response(status, request=request)

    @property
    def messages(self) -> list[dict[str, Any]]:
        return [message for request in self.taken for message in json.loads(request.content)["alerts"]]


async def refused() -> int:
    raise httpx.ConnectError("connection refused")


async def hanging() -> int:
    await asyncio.Event().wait()
    return 204


@dataclass
class EngineTime:
    now_s: float = 1_767_603_600.0

    def now(self) -> float:
        return self.now_s

    async def sleep_until(self, time: float) -> None:
        raise NotImplementedError


@dataclass
class Notified:
    """One life of a service, as far as alerts go."""

    ledger: SqlLedger
    record: Record
    alerting: Alerting
    receiver: Receiver
    time: Time
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def raise_alert(self, ticket: int, *, code: str = "unmanaged_position", at: float = 0.0) -> None:
        event = alerts.alert_event(1_767_600_000.0 + at, code, f"position {ticket}", ticket=ticket)
        await self.record.write(events=[event])

    def deliver_to_webhook(self) -> None:
        channel = Webhook(Door(URL, self.receiver), SECRET, lambda: 1_767_600_000.7, lambda: {"service": "dtms"})
        self.tasks.append(asyncio.create_task(deliver(self.alerting, channel, self.time.pace)))

    async def until(self, condition: Callable[[], bool], *, turns: int = 20_000) -> None:
        for _ in range(turns):
            if condition():
                return
            for task in self.tasks:
                if task.done():
                    task.result()
            await asyncio.sleep(0)
        message = f"it never came about; {self.receiver.asked} requests, virtual time {self.time.now:.0f} s"
        raise AssertionError(message)

    async def for_a_while(self, seconds: float) -> None:
        end = self.time.now + seconds
        await self.until(lambda: self.time.now >= end)

    async def settled(self) -> None:
        await self.until(lambda: not self.alerting.owed_to("webhook"))

    async def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.ledger.close()


async def begin(folder: Path, receiver: Receiver | None = None) -> Notified:
    """Open the ledger of ``folder``; after ``end`` a second call is a restart."""
    ledger = await SqlLedger.open(f"sqlite:///{folder / 'dtms.db'}", draw=lambda _: 417, inline=True)
    record = Record(ledger)
    await record.load()
    return Notified(ledger, record, Alerting(record, EngineTime()), receiver or Receiver(), Time())
