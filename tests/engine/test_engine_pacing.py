"""Too many orders: the whole account slows down, no obligation is given up for it, and nothing of it is noise."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from engine_world import World, open_world

from dtms_service.domain.outcome import Outcome
from dtms_service.domain.trade import ObligationKind, ObligationStatus
from dtms_service.terminal.link import Call, Reply

DAY = 86_400
TRADES = 12


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    opened = await open_world(tmp_path)
    yield opened
    await opened.close()


def send_times(world: World) -> list[float]:
    """Engine times of all orders from now on."""
    times: list[float] = []
    ask = world.link.ask

    async def asked(calls: Sequence[Call], deadline: float, *, urgent: bool = False) -> Outcome[Reply]:
        times.extend(world.clock.now() for call in calls if call.name == "order_send")
        return await ask(calls, deadline, urgent=urgent)

    world.link.ask = asked  # type: ignore[method-assign]  # the ear of this test
    return times


async def until_first_order(world: World, times: list[float]) -> None:
    for _ in range(DAY // 30):
        if times:
            return
        await world.advance(30)
    pytest.fail("no order within a day")


def owed(world: World, tickets: list[int]) -> list[ObligationStatus]:
    return [o.status for t in tickets for o in world.trade(t).obligations if o.kind is ObligationKind.TIGHTEN_STOP]


async def test_stops_of_many_trades_go_out_five_a_second_and_all_within_seconds(world: World) -> None:
    tickets = [await world.open() for _ in range(TRADES)]
    await world.register(*tickets)
    times = send_times(world)
    await until_first_order(world, times)
    await world.advance(5)
    first = [time for time in times if time < times[0] + 10]
    assert list(Counter(time - times[0] for time in first).values()) == [5, 5, 2]
    assert first[-1] - first[0] == pytest.approx(2, abs=0.01)
    assert owed(world, tickets) == [ObligationStatus.DONE] * TRADES
    actions = await world.dtms.actions(ticket=None, since=0, limit=100)
    assert {event.body["outcome"] for event in actions} == {"done"}
    assert {o.attempts for t in tickets for o in world.trade(t).obligations} == {1}


async def test_after_a_10024_one_order_at_a_time_asks_and_none_is_sent_meanwhile(world: World) -> None:
    tickets = [await world.open() for _ in range(TRADES)]
    await world.register(*tickets)
    await world.simulator.set_fault({"kind": "retcode", "retcode": 10024, "count": 5})
    times = send_times(world)
    await until_first_order(world, times)
    await world.advance(60)
    asking = [time - times[0] for time in times[:6]]
    assert asking == pytest.approx([0, 1, 3, 7, 15, 23], abs=0.05)
    assert owed(world, tickets) == [ObligationStatus.DONE] * TRADES
    assert times[5 + TRADES - 1] - times[0] < 30
    actions = [event.body for event in await world.dtms.actions(ticket=None, since=0, limit=100)]
    assert Counter((body["outcome"], body["retcode"]) for body in actions) == {
        ("refused", 10024): 5,
        ("done", 10009): TRADES,
    }


async def test_a_10024_is_neither_a_failure_that_alerts_nor_one_that_slows_the_obligation_down(world: World) -> None:
    (ticket,) = [await world.open()]
    await world.register(ticket)
    await world.simulator.set_fault({"kind": "retcode", "retcode": 10024, "count": 6})
    times = send_times(world)
    await until_first_order(world, times)
    await world.simulator.set_fault({"kind": "retcode", "retcode": 10018, "count": 2})
    await world.advance(300)
    trade = world.trade(ticket)
    done = next(o for o in trade.obligations if o.status is ObligationStatus.DONE)
    assert (done.attempts, done.uncounted) == (9, 6)
    alerts = [event.body["code"] for event in await world.dtms.history(trade) if event.kind == "alert"]
    assert alerts == ["obligation_failing"]  # at the second refusal that was one
    asking = [time - times[0] for time in times]
    # pauses of the account, then the obligation's own first waits: 5 s and 15 s
    assert asking == pytest.approx([0, 1, 3, 7, 15, 23, 31, 36, 51], abs=0.1)


async def test_a_10024_after_one_refusal_is_not_the_second(world: World) -> None:
    ticket = await world.open()
    await world.register(ticket)
    for retcode, count in ((10018, 1), (10024, 2)):
        await world.simulator.set_fault({"kind": "retcode", "retcode": retcode, "count": count})
    await until_first_order(world, send_times(world))
    await world.advance(60)
    trade = world.trade(ticket)
    assert [(o.status, o.attempts, o.uncounted) for o in trade.obligations] == [(ObligationStatus.DONE, 4, 2)]
    assert "alert" not in await world.kinds(trade)


async def test_a_restart_while_orders_wait_sends_the_rest_and_nothing_twice(tmp_path: Path) -> None:
    begun: list[float] = []
    for folder in ("undisturbed", "restarted"):
        world = await open_world(tmp_path / folder)
        tickets = [await world.open() for _ in range(TRADES)]
        await world.register(*tickets)
        times = send_times(world)
        if folder == "undisturbed":
            await until_first_order(world, times)
            begun = times[:1]
        else:
            await world.dtms.advance(seconds=None, until=begun[0] + 0.5)
            assert times == begun * 5
        await world.close()
    again = await open_world(tmp_path / "restarted")
    await again.advance(10)
    assert owed(again, tickets) == [ObligationStatus.DONE] * TRADES
    actions = await again.dtms.actions(ticket=None, since=0, limit=100)
    assert Counter(event.ticket for event in actions) == dict.fromkeys(tickets, 1)
    await again.close()
