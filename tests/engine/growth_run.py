"""Weeks of the real engine with its ledger and its API: what grows, and what must not.

Twenty positions are open at any time; each is closed after some hours, by DTMS, by its levels or by hand, and another
one is opened in its place. Programs ask the API all the while, and somebody reads the alerts every day.
"""

from __future__ import annotations

import gc
import random
import threading
import tracemalloc
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import engine_world
import httpx
import psutil
from engine_world import World, open_world

from dtms_service.api.app import make_app
from dtms_service.api.doors import Access
from dtms_service.domain.errors import Invalid
from dtms_service.terminal.process import ProcessLink

DAY = 86_400.0
POSITIONS, LIFE_S = 20, (1800.0, 10_800.0)
STEP_S, CYCLE_S = 600.0, 300.0
SYMBOLS = ("EURUSD", "XAUUSD", "BTCUSD")
BEGINS = "2025-01-06T00:00:00Z"
READS = (
    "/dtms/status",
    "/dtms/trades?include_closed=true",
    "/dtms/actions",
    "/dtms/alerts",
    "/health/ready",
    "/metrics",
    "/dtms/trades/{ticket}",
    "/dtms/trades/{ticket}/explain",
    "/dtms/trades/{ticket}/history",
)
FOREIGN = tuple(tracemalloc.Filter(False, name) for name in (__file__, engine_world.__file__, tracemalloc.__file__))
"""What this test remembers, and what the measuring takes."""
MB = 1024.0 * 1024.0


@dataclass(frozen=True)
class Size:
    """What the service takes: of memory that Python allocates, of handles, of the disk."""

    heap: float
    """MB."""
    files: int
    threads: int
    database: float
    """MB, with its log."""
    trades: int


class Apart(ProcessLink):
    """The simulated terminal in its own process, as in the service: what a broker remembers is not the service's."""

    def __init__(self, backend: str, options: Mapping[str, Any], **_: Any) -> None:
        super().__init__(backend, options)
        self.asked: list[list[str]] = []


class Month:
    """The world, its API, and hands that open and close."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self.folder = folder
        self.done: Counter[str] = Counter()
        self._chance = random.Random(1)
        self._closing: dict[int, float] = {}
        self._names = iter(f"r{number}" for number in range(10**9))
        app = make_app(
            world.dtms,
            simulator=None,
            version="0",
            instance_id="one",
            access=Access(new_id=self._names.__next__),
            lag=lambda: 0.0,
        )
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app, client=("127.0.0.1", 5000)), base_url="http://127.0.0.1:8001"
        )

    async def live(self, days: float) -> None:
        """Let so much time pass."""
        goal = self.world.clock.now() + days * DAY
        while self.world.clock.now() < goal:
            await self._trade()
            await self.world.advance(STEP_S)
            await self._read()
            if self.done["steps"] % int(DAY / STEP_S) == 0:
                await self._acknowledge()
            self.done["steps"] += 1

    async def _trade(self) -> None:
        rows = (await self.world.simulator.view("positions"))["positions"]
        now, held = self.world.clock.now(), {row["ticket"] for row in rows if row["magic"] == 7}
        for ticket in [t for t, due in self._closing.items() if due <= now and t in held]:
            try:
                await self.world.simulator.close_position(ticket, None)
                held.discard(ticket)
            except Invalid:  # its market is closed
                continue
        self._closing = {ticket: due for ticket, due in self._closing.items() if ticket in held}
        opened = []
        for number in range(POSITIONS - len(held)):
            try:
                ticket = await self.world.open(SYMBOLS[number % 3], self._chance.choice(("BUY", "SELL")))
            except Invalid:
                continue
            self._closing[ticket] = now + self._chance.uniform(*LIFE_S)
            opened.append(ticket)
        if opened:
            await self.world.register(*opened)
            self.world.opened.clear()
            self.done["trades"] += len(opened)

    async def _read(self) -> None:
        ticket = next(iter(self._closing), 0)
        for path in READS:
            answer = await self._client.get(path.format(ticket=ticket))
            assert answer.status_code in {200, 404, 503}, answer.text
            self.done["requests"] += 1

    async def _acknowledge(self) -> None:
        answer = await self._client.get("/dtms/alerts?open=true&limit=500")
        for alert in answer.json()["alerts"]:
            await self._client.post(f"/dtms/alerts/{alert['id']}/ack", json={"reason": "seen", "by": "a test"})
            self.done["alerts"] += 1

    def size(self) -> Size:
        """What it takes now."""
        self.world.forget_counts()
        gc.collect()
        process = psutil.Process()
        heap = 0.0
        if tracemalloc.is_tracing():
            heap = sum(s.size for s in tracemalloc.take_snapshot().filter_traces(FOREIGN).statistics("filename")) / MB
        files = [*self.folder.glob("dtms.db*")]
        return Size(
            heap=heap,
            files=process.num_handles() if hasattr(process, "num_handles") else process.num_fds(),
            threads=threading.active_count(),
            database=sum(file.stat().st_size for file in files) / MB,
            trades=len(self.world.dtms.book.trades),
        )

    async def close(self) -> None:
        """Everything."""
        await self._client.aclose()
        await self.world.close()


async def opened(folder: Path, **options: Any) -> Month:
    """Begin on a Monday."""
    settings: Mapping[str, Any] = {
        "account": {"balance": 1e7},
        "begins": BEGINS,
        "cycle_s": CYCLE_S,
        "link_type": Apart,
        **options,
    }
    return Month(await open_world(folder, **settings), folder)
