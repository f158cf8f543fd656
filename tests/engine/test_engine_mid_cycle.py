"""What people and callers want while a cycle is busy with its orders: each of them may take twenty seconds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from engine_world import World, open_world
from test_engine_account import Ahead
from test_engine_defects import NERVOUS
from test_engine_operating import order, sends

from dtms_service.domain.control import Control, News, Verb
from dtms_service.domain.outcome import Outcome
from dtms_service.domain.record import Batch
from dtms_service.domain.trade import Owner
from dtms_service.terminal.link import Call, Reply

PROMPTLY_S = 1.0
"""Real seconds; nothing here waits for a disk or a broker."""


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    opened = await open_world(tmp_path, parameters=NERVOUS)
    await opened.advance(35)  # past the M5 bar that is closing: the next one closes in 270 s
    yield opened
    await opened.close()


def an_order(calls: Sequence[Call]) -> bool:
    return any(call.name == "order_send" for call in calls)


def one_quote(calls: Sequence[Call]) -> bool:
    """The look right before an order asks for one symbol; that of a cycle asks for those of all trades."""
    return [call.name for call in calls].count("symbol_info_tick") == 1


def during(
    world: World, meant: Callable[[Sequence[Call]], bool], does: Callable[[], Awaitable[object]]
) -> list[object]:
    """Let ``does`` run once, to its end, while the next such call is on its way; its result, once it has one."""
    ask, begun, ended = world.link.ask, [], []

    async def watched(calls: Sequence[Call], deadline: float, *, urgent: bool = False) -> Outcome[Reply]:
        if not begun and meant(calls):
            begun.append(True)
            ended.append(await asyncio.wait_for(does(), PROMPTLY_S))
        return await ask(calls, deadline, urgent=urgent)

    world.link.ask = watched  # type: ignore[method-assign]  # the double of one test
    return ended


@pytest.mark.parametrize(("verb", "control"), [(Verb.PAUSE, Control.PAUSED), (Verb.HALT, Control.HALTED)], ids=str)
async def test_who_stops_it_during_an_order_is_answered_at_once_and_no_further_order_leaves(
    world: World, verb: Verb, control: Control
) -> None:
    await world.protect(3, volume=0.4)
    specs = world.dtms._cycle._specs
    specs["EURUSD"] = replace(specs["EURUSD"], volume_max=0.05)  # so that half of one is four orders in a row
    world.forget_counts()
    answered = during(world, an_order, lambda: order(world, verb))
    await world.advance(301)
    assert len(answered) == 1, "the cycle held up the operator"
    assert (sends(world), world.dtms.standing.control) == (1, control)
    assert not world.dtms.book.intents, "the order that was on its way is settled like any other"
    await order(world, Verb.RESET)
    await world.advance(301)
    assert sends(world) == 12, "what was owed is only put off"


async def test_a_halt_during_the_look_right_before_an_order_stops_that_order(world: World) -> None:
    await world.protect(1)
    await world.protect(1, symbol="XAUUSD")
    world.forget_counts()
    world.dtms._cycle._actor._clock = Ahead(world)
    answered = during(world, one_quote, lambda: order(world, Verb.HALT))
    await world.advance(301)
    assert (len(answered), sends(world)) == (1, 0)


async def test_what_flatten_ordered_goes_on_when_a_halt_comes_between_its_orders(world: World) -> None:
    await world.protect(3)
    await order(world, Verb.FLATTEN)
    answered = during(world, an_order, lambda: order(world, Verb.HALT))
    await world.advance(30)
    assert len(answered) == 1
    assert (await world.simulator.view("positions"))["positions"] == []


async def test_news_announced_and_a_halt_ordered_at_one_moment_both_count(world: World) -> None:
    news = News(begins=1.0, ends=2.0, title="rates")
    commit = world.ledger.commit

    async def slowly(batch: Batch) -> int:
        await asyncio.sleep(0)
        return await commit(batch)

    world.ledger.commit = slowly  # type: ignore[method-assign]  # the double of one test
    await asyncio.gather(order(world, Verb.HALT), world.dtms.announce([news], by="anna"))
    assert (world.dtms.standing.control, world.dtms.standing.news) == (Control.HALTED, (news,))


async def test_a_trade_that_changes_its_owner_waits_for_the_cycle_and_other_registrations_do_not(world: World) -> None:
    (trade,) = await world.protect(1, symbol="XAUUSD")
    await world.protect(1)
    new = await world.open()
    moving: list[asyncio.Task[list[object]]] = []

    async def both() -> object:
        move = world.register(trade.ticket, managed_by=Owner.UNIVERSAL_MANAGER)
        moving.append(asyncio.create_task(move))
        for _ in range(20):
            await asyncio.sleep(0)
        return (await world.register(new))[0].outcome, moving[0].done()

    answered = during(world, an_order, both)
    await world.advance(301)
    assert answered == [("protected", False)]
    await moving[0]


async def test_an_owner_who_comes_with_a_new_ticket_stays_when_the_running_cycle_ends(tmp_path: Path) -> None:
    world = await open_world(tmp_path)
    (trade,) = await world.protect(1)
    await world.simulator.set_fault({"kind": "ticket_changed", "ticket": trade.ticket})
    await world.dtms._terminal.positions()
    ((new, *_),) = [[p["ticket"]] for p in (await world.simulator.view("positions"))["positions"]]
    assert (new != trade.ticket, world.dtms.book.find(new)) == (True, None)
    lock = world.dtms._record.lock
    await lock.acquire()  # as a cycle holds it
    moving = asyncio.create_task(world.register(new, managed_by=Owner.UNIVERSAL_MANAGER))
    for _ in range(20):
        await asyncio.sleep(0)
    assert world.trade(trade.ticket).owner is Owner.DTMS
    lock.release()
    await moving
    assert world.trade(trade.ticket).owner is Owner.UNIVERSAL_MANAGER
    await world.close()
