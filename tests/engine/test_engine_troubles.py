"""Trouble of the service becomes an alert at the thresholds of contract.md 5.43, once, and says when it is over."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from engine_world import ACCOUNT, World, open_world
from storm_setting import RULES

from dtms_service.domain.alerts import Alert
from dtms_service.domain.errors import StorageBusy
from dtms_service.engine.cycle import Cycle, CycleResult
from dtms_service.engine.troubles import Troubles


@pytest.fixture
async def world(tmp_path: Path):
    opened = await open_world(tmp_path)
    yield opened
    await opened.close()


def alerts_of(world: World) -> dict[str, Alert]:
    return {alert.code: alert for alert in world.dtms.alerting.open.values()}


async def unread(world: World, count: int) -> None:
    await world.simulator.set_fault({"kind": "read_none", "count": count})


async def test_two_looks_that_fail_are_no_alarm_and_the_third_is(world: World) -> None:
    await world.simulator.set_fault({"kind": "disconnected", "seconds": 3600})
    await world.advance(60)
    assert alerts_of(world) == {}
    await world.advance(30)
    assert set(alerts_of(world)) == {"not_watching"}


async def test_after_five_minutes_it_is_critical_and_each_is_told_once(world: World) -> None:
    await world.simulator.set_fault({"kind": "disconnected", "seconds": 3600})
    await world.advance(330)
    assert set(alerts_of(world)) == {"not_watching", "not_watching_long"}
    await world.advance(1800)
    assert {alert.count for alert in alerts_of(world).values()} == {1}


async def test_a_look_that_succeeds_ends_it_and_the_next_trouble_is_told_anew(world: World) -> None:
    await world.simulator.set_fault({"kind": "disconnected", "seconds": 3600})
    await world.advance(120)
    await world.simulator.clear_faults()
    await world.advance(60)
    assert alerts_of(world)["not_watching"].over_at is not None
    await world.simulator.set_fault({"kind": "disconnected", "seconds": 3600})
    await world.advance(120)
    alert = alerts_of(world)["not_watching"]
    assert (alert.over_at, alert.count) == (None, 2)


async def test_another_account_is_an_alarm_at_once(tmp_path: Path) -> None:
    first = await open_world(tmp_path)
    await first.close()
    record = tmp_path / "dtms.db"
    other = tmp_path / "other"
    moved = await open_world(other, account={**ACCOUNT}, start=False)
    await moved.close()
    for name in ("dtms.db", "dtms.db.used"):
        (other / name).write_bytes(record.with_name(name).read_bytes())
    world = await open_world(other, start=False)

    def stop_after_one(attempts: list[int]) -> float:
        attempts.append(1)
        world.dtms.request_stop()
        return 0.0

    attempts: list[int] = []
    world.dtms._jitter = lambda: stop_after_one(attempts)
    await world.dtms.start()
    assert attempts == [1]
    alert = alerts_of(world)["account_mismatch"]
    assert "this state belongs to account" in alert.detail
    await world.close()


async def test_a_trade_that_raises_is_told_and_over_when_it_does_not(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    (trade,) = await world.protect()

    async def broken(*_: object) -> None:
        raise ValueError("a defect")

    with monkeypatch.context() as patch:
        patch.setattr(Cycle, "_look_at", broken)
        await world.advance(90)
    alert = alerts_of(world)["trade_failed"]
    assert (alert.ticket, alert.count, alert.over_at) == (trade.ticket, 1, None)
    await world.advance(30)
    assert alerts_of(world)["trade_failed"].over_at is not None


async def test_storage_that_was_busy_for_ten_seconds_is_told_afterwards(world: World) -> None:
    await world.protect()
    world.ledger.failing = StorageBusy()
    with pytest.raises(StorageBusy):
        await stop_moved(world)
    world.clock.move(world.clock.now() + 11)  # type: ignore[union-attr]
    world.ledger.failing = None
    await world.advance(30)
    assert "nothing could be written for" in alerts_of(world)["storage_was_busy"].detail


async def stop_moved(world: World) -> None:
    ticket = world.opened[-1]
    trade = world.trade(ticket)
    assert trade.stop_loss is not None
    await world.simulator.change_position(ticket, {"stop_loss": trade.stop_loss - 0.001})
    await world.advance(30)


async def test_a_monitor_that_was_started_again_is_told_by_its_next_cycle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await open_world(tmp_path, factor=3000.0)
    run, fails = Cycle.run, [ValueError("a defect")]

    async def once(self: Cycle) -> object:
        if fails:
            raise fails.pop()
        world.dtms.request_stop()
        return await run(self)

    monkeypatch.setattr(Cycle, "run", once)
    await world.dtms.run()
    assert "a defect" in alerts_of(world)["monitor_failed"].detail
    await world.close()


async def test_the_failure_that_ends_the_service_is_told_before_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await open_world(tmp_path, factor=3000.0)
    failed: list[None] = []

    async def always(_: Cycle) -> object:
        failed.append(None)
        message = f"defect {len(failed)}"
        raise ValueError(message)

    monkeypatch.setattr(Cycle, "run", always)
    with pytest.raises(ValueError, match="defect 3"):
        await world.dtms.run()
    assert "defect 3" in alerts_of(world)["monitor_failed"].detail
    await world.close()


def took(*seconds: float):
    """Cycles of so many seconds where one is due every thirty."""

    async def them(world: World) -> list[tuple[int, bool]]:
        troubles, told = Troubles(world.dtms._record), []
        for number, each in enumerate(seconds):
            await troubles.took(1000.0 + number, each, 30.0)
            found = alerts_of(world).get("cycle_overrun")
            told.append((found.count, found.over_at is None) if found else (0, False))
        return told

    return them


async def test_three_cycles_in_a_row_that_take_longer_than_their_period_are_an_alarm_until_one_does_not(
    world: World,
) -> None:
    none, stands, over = (0, False), (1, True), (1, False)
    assert await took(31, 31, 30, 31, 31, 31, 40, 31, 12, 31)(world) == [*[none] * 5, *[stands] * 3, over, over]


async def test_cycles_of_a_slow_terminal_are_measured_by_the_engine_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Cycle.run

    async def slowly(cycle: Cycle) -> CycleResult:
        await asyncio.sleep(0.02)  # a minute of the market
        return await run(cycle)

    world = await open_world(tmp_path, factor=3000.0)
    monkeypatch.setattr(Cycle, "run", slowly)
    running = asyncio.ensure_future(world.dtms.run())
    async with asyncio.timeout(20):
        while "cycle_overrun" not in alerts_of(world):
            await asyncio.sleep(0.01)
    world.dtms.request_stop()
    await running
    await world.close()


def stands(world: World, code: str) -> bool:
    return alerts_of(world)[code].over_at is None


async def test_a_missing_stop_is_over_once_there_is_one(world: World) -> None:
    (trade,) = await world.protect(stop_loss=None)
    assert stands(world, "unprotected_if_down")
    await world.simulator.change_position(trade.ticket, {"stop_loss": 1.0})
    await world.advance(60)
    assert not stands(world, "unprotected_if_down")


async def test_a_missing_stop_is_over_once_the_position_is_closed(world: World) -> None:
    (trade,) = await world.protect(stop_loss=None)
    await world.simulator.close_position(trade.ticket, None)
    await world.advance(60)
    assert not stands(world, "unprotected_if_down")


async def test_a_missing_position_is_over_once_it_is_seen_again(world: World) -> None:
    (trade,) = await world.protect()
    await world.simulator.set_fault({"kind": "read_omits_ticket", "ticket": trade.ticket, "count": 2})
    await world.advance(30)
    assert stands(world, "position_missing")
    await world.advance(90)
    assert not stands(world, "position_missing")


async def test_an_order_that_fails_is_over_once_it_is_done(tmp_path: Path) -> None:
    world = await open_world(tmp_path, parameters=RULES["stern"])
    tickets = [await world.open(symbol=s, side=d) for s in ("EURUSD", "XAUUSD", "BTCUSD") for d in ("BUY", "SELL")]
    await world.register(*tickets)
    await world.simulator.set_fault({"kind": "retcode", "retcode": 10006, "count": 1000})
    for _ in range(1000):
        await world.advance(30)
        if "obligation_failing" in alerts_of(world):
            break
    assert stands(world, "obligation_failing")
    assert "retcode 10006" in alerts_of(world)["obligation_failing"].detail
    await world.simulator.clear_faults()
    await world.advance(3600)
    assert not stands(world, "obligation_failing")
    await world.close()


@pytest.mark.parametrize("kind", ["autotrading_off", "stale_ticks"])
async def test_what_passed_while_the_service_was_stopped_is_over(tmp_path: Path, kind: str) -> None:
    code = {"autotrading_off": "trade_disabled", "stale_ticks": "feed_quiet"}[kind]
    world = await open_world(tmp_path)
    await world.protect()
    await world.simulator.set_fault({"kind": kind, "seconds": 7200})
    await world.advance(3600)
    assert stands(world, code)
    await world.simulator.clear_faults()
    await world.close()
    world = await open_world(tmp_path)
    await world.advance(600)
    assert not stands(world, code)
    await world.close()
