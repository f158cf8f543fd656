from __future__ import annotations

import asyncio
import selectors
import threading
from typing import Any

import pytest
from ledger_values import INSTANCE, a_trade, an_event

from dtms_service.domain.record import Batch
from dtms_service.ledger.store import SqlLedger


class VirtualSelector(selectors.SelectSelector):
    """Time passes only when nothing is ready; waiting for another thread would be a deadlock, and is said to be one."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout is None:
            message = "deadlock in virtual time"
            raise RuntimeError(message)
        if not ready and timeout is not None:
            self.now += max(timeout, 0.0)
        return ready


def _virtual_loop() -> asyncio.AbstractEventLoop:
    selector = VirtualSelector()
    loop = asyncio.SelectorEventLoop(selector)
    loop.time = lambda: selector.now  # type: ignore[method-assign]
    return loop


async def _a_day(url: str, *, inline: bool) -> tuple[Any, ...]:
    ledger = await SqlLedger.open(url, draw=lambda _: INSTANCE, inline=inline)
    for hour in range(24):
        await asyncio.sleep(3600)
        await ledger.commit(Batch((an_event(hour),), (a_trade(score=float(hour)),)))
    answer = (await ledger.load(), await ledger.events(newest=True, limit=2), asyncio.get_running_loop().time())
    await ledger.close()
    return answer


def test_inline_it_lives_in_virtual_time_and_starts_no_thread(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: threading.Thread) -> None:
        message = f"thread {self.name} was started"
        raise AssertionError(message)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with asyncio.Runner(loop_factory=_virtual_loop) as runner:
        recorded, newest, now = runner.run(_a_day(url, inline=True))
    assert recorded.trades == (a_trade(score=23.0),)
    assert [event.sequence for event in newest] == [23, 24]
    assert now == 24 * 3600


def test_the_same_day_on_a_thread_is_the_same_record(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio, "sleep", lambda _: asyncio.wait_for(_nothing(), 1))
    threaded = asyncio.run(_a_day(url, inline=False))
    with asyncio.Runner(loop_factory=_virtual_loop) as runner:
        inline = runner.run(_a_day(url.replace("dtms", "other"), inline=True))
    assert threaded[:2] == inline[:2]


async def _nothing() -> None:
    return None
