"""A service that is started again and again says so, goes on, and says when it lasts."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from notify_world import begin

from dtms_service.app.notifying import note_start
from dtms_service.domain.admission import Registration, new_trade
from dtms_service.domain.errors import StorageBusy
from dtms_service.domain.trade import Owner
from dtms_service.engine.alerting import AWAY, RESTARTING

NOON = 1_767_614_400.0


async def life(folder: Path, at: float, *, lasts: float = 1.0) -> list[str]:
    """One life of ``lasts`` seconds, begun at ``at``; the codes of its alerts that are open and not over."""
    world = await begin(folder)

    left = [lasts]

    async def sleep(seconds: float) -> None:
        left.append(left[-1] - seconds)
        if left[-1] < 0:
            await asyncio.Event().wait()

    world.tasks.append(
        asyncio.create_task(note_start(world.alerting, at, lambda: at + lasts, replace(world.time.pace, sleep=sleep)))
    )
    for _ in range(100):
        await asyncio.sleep(0)
    standing = [alert.code for alert in world.alerting.open.values() if alert.over_at is None]
    await world.end()
    return standing


@pytest.mark.parametrize(
    ("starts", "told"),
    [
        ((0, 60, 120, 180, 240), True),
        ((0, 75, 150, 225, 300), True),
        ((0, 76, 151, 226, 301), False),
        ((0, 60, 120, 180), False),
        ((0, 400, 460, 520, 580, 640), True),
        ((0, 60, 120, 180, -3600), False),
    ],
    ids=["five in four", "five in exactly five", "five in a second more", "four", "the last five", "a clock set back"],
)
async def test_the_fifth_start_within_five_minutes_is_an_alert(
    starts: tuple[float, ...], told: bool, tmp_path: Path
) -> None:
    *earlier, last = starts
    for at in earlier:
        assert await life(tmp_path, NOON + at) == []
    assert await life(tmp_path, NOON + last) == [RESTARTING] * told


async def test_it_is_over_once_a_life_has_lasted_for_five_minutes(tmp_path: Path) -> None:
    for at in (0, 60, 120, 180):
        await life(tmp_path, NOON + at)
    assert await life(tmp_path, NOON + 240) == [RESTARTING]
    assert await life(tmp_path, NOON + 600, lasts=299.0) == [RESTARTING]
    assert await life(tmp_path, NOON + 1200, lasts=301.0) == []


async def test_a_start_is_noted_once_however_often_the_task_is_begun_again(tmp_path: Path) -> None:
    world = await begin(tmp_path)
    for _ in range(5):
        await world.alerting.started(NOON)
    assert dict(world.alerting.open) == {}
    await world.end()


@pytest.mark.parametrize(
    ("trades", "lasted", "away", "told"),
    [
        (2, 1.0, 4500.0, "1 h 10 min"),
        (2, 1.0, 1200.0, "15 min"),
        (2, 1.0, 1199.0, None),
        (0, 1.0, 4500.0, None),
        (2, 299.0, 1320.0, "17 min"),
        (2, 301.0, 1320.0, None),
        (2, 1.0, -4500.0, None),
    ],
    ids=["away", "for a quarter", "for less", "without trades", "a short life", "a longer one", "a clock set back"],
)
async def test_a_start_tells_how_long_nobody_watched_the_open_trades(
    trades: int, lasted: float, away: float, told: str | None, tmp_path: Path
) -> None:
    world = await begin(tmp_path)
    pending = [new_trade(Registration(ticket=n), n, Owner.DTMS, None, NOON) for n in range(1, trades + 2)]
    await world.record.write(trades=[pending[0], *(replace(trade, verified_at=NOON) for trade in pending[1:])])
    await world.end()
    await life(tmp_path, NOON, lasts=lasted)
    world = await begin(tmp_path)
    await world.alerting.started(NOON + away)
    details = [alert.detail for alert in world.alerting.open.values() if alert.code == AWAY]
    words = f"nothing ran on this ledger for {told}, or up to five minutes longer; 2 trades had only their stops"
    assert details == ([] if told is None else [f"{words} at the broker"])
    await world.end()


async def test_a_busy_ledger_gets_it_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = await begin(tmp_path)
    stored, commit, tried = [], world.ledger.commit, []

    async def busy_twice(batch):
        tried.append(batch)
        if len(tried) <= 2:
            raise StorageBusy("held by another program")
        stored.append(batch.facts)
        return await commit(batch)

    monkeypatch.setattr(world.ledger, "commit", busy_twice)
    world.tasks.append(asyncio.create_task(note_start(world.alerting, NOON, lambda: NOON, world.time.pace)))
    await world.until(lambda: bool(stored))
    assert stored == [{"starts": f"[{NOON}]", "alive": f"{NOON}"}]
    await world.end()
