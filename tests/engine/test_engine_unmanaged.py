"""Positions that nobody registered (R49), and orders that were announced before they went out."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from engine_world import World, open_world

from dtms_service.domain import magic
from dtms_service.domain.admission import Registration
from dtms_service.domain.alerts import Alert
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import Owner
from dtms_service.domain.unmanaged import APART_S, GRACE_S, Announcement, Policy


def codes(world: World, ticket: int) -> list[str]:
    return [a.code for a in world.dtms.alerting.open.values() if a.ticket == ticket]


def only(world: World, code: str) -> Alert:
    (found,) = [alert for alert in world.dtms.alerting.open.values() if alert.code == code]
    return found


@pytest.fixture
async def world(tmp_path: Path):
    opened = await open_world(tmp_path)
    yield opened
    await opened.close()


async def test_a_position_that_nobody_registers_is_told_within_a_minute_and_once(world: World) -> None:
    await world.advance(30)
    ticket = await world.open(magic=0)
    await world.advance(60)
    alert = only(world, "unmanaged_position")
    assert (alert.ticket, alert.count) == (ticket, 1)
    assert "EURUSD" in alert.detail
    await world.advance(600)
    assert only(world, "unmanaged_position").count == 1


async def test_looking_for_them_asks_the_terminal_nothing_and_a_quiet_cycle_stores_nothing(world: World) -> None:
    await world.open(magic=0)
    await world.advance(90)
    world.forget_counts()
    await world.advance(30)
    assert world.link.asked == [["simulator_advance"], ["account_info", "terminal_info", "positions_get"]]
    assert world.ledger.batches == []


async def test_one_that_is_registered_in_time_is_not_told(world: World) -> None:
    ticket = await world.open(magic=0)
    await world.advance(GRACE_S - 1)
    await world.register(ticket)
    await world.advance(120)
    assert codes(world, ticket) == []


async def test_the_alert_is_over_when_it_is_registered_or_closed(world: World) -> None:
    first, second = await world.open(magic=0), await world.open(magic=0)
    await world.advance(60)
    assert codes(world, first) == codes(world, second) == ["unmanaged_position"]
    await world.register(first)
    await world.simulator.close_position(second, None)
    await world.advance(60)
    assert all(a.over_at is not None for a in world.dtms.alerting.open.values())


async def test_one_that_a_person_has_acknowledged_is_not_told_again_by_the_next_process(tmp_path: Path) -> None:
    world = await open_world(tmp_path)
    await world.open(magic=0)
    await world.advance(60)
    await world.dtms.alerting.acknowledge(only(world, "unmanaged_position").alert_id, by="anna", reason="mine")
    await world.close()
    world = await open_world(tmp_path)
    await world.advance(120)
    assert world.dtms.alerting.open == {}
    await world.close()


@pytest.mark.parametrize(("policy", "owner"), [(Policy.OBSERVE, Owner.MANUAL), (Policy.ADOPT, Owner.DTMS)])
async def test_the_policy_registers_it_for_nobody_or_for_protection(
    tmp_path: Path, policy: Policy, owner: Owner
) -> None:
    world = await open_world(tmp_path, unmanaged=policy)
    ticket = await world.open(magic=0)
    asked = len(world.link.asked)
    await world.advance(60)
    trade = world.trade(ticket)
    assert (trade.owner, trade.state, trade.source) == (owner, TradeState.HEALTHY, "unmanaged")
    assert world.dtms.protected(trade) is (policy is Policy.ADOPT)
    assert codes(world, ticket) == ["unmanaged_adopted"]
    reads = [calls for calls in world.link.asked[asked:] if "positions_get" in calls]
    assert all(calls[:2] == ["account_info", "terminal_info"] for calls in reads), "no read but those of the cycles"
    await world.close()


async def test_our_own_orphan_is_never_adopted(tmp_path: Path) -> None:
    world = await open_world(tmp_path, unmanaged=Policy.ADOPT)
    ticket = await world.open(magic=magic.make(5, 1), comment="DTH0")
    await world.advance(120)
    assert world.dtms.book.find(ticket) is None
    assert codes(world, ticket) == ["unknown_own_position"]
    (told,) = [a.alert_id for a in world.dtms.alerting.open.values() if a.code == "unknown_own_position"]
    assert world.dtms.alerting.open[told].over_at is None
    await world.simulator.close_position(ticket, None)
    await world.advance(60)
    assert world.dtms.alerting.open[told].over_at is not None
    await world.close()


async def test_a_rejected_ticket_that_appears_later_is_unmanaged_and_can_be_adopted(tmp_path: Path) -> None:
    world = await open_world(tmp_path, unmanaged=Policy.ADOPT)
    known = await world.open(magic=0)
    await world.register(known + 2)
    await world.advance(300)
    assert world.trade(known + 2).state is TradeState.REJECTED
    ticket = await world.open(magic=0)
    assert ticket == known + 2
    await world.advance(60)
    assert world.trade(ticket).state is TradeState.HEALTHY
    await world.close()


def said(world: World, symbol: str = "EURUSD", magic_number: int = 770, name: str = "a", **wanted: Any) -> Announcement:
    """Announced now."""
    return Announcement(name=name, symbol=symbol, magic=magic_number, after=world.dtms.now(), **wanted)


async def test_an_announced_order_whose_caller_died_is_registered_as_the_caller_wanted(world: World) -> None:
    world.dtms.unmanaged.announcements = (said(world, strategy_type="trend", source="bot"),)
    ticket, other = await world.open(magic=770), await world.open(magic=771)
    await world.advance(60)
    trade = world.trade(ticket)
    assert (trade.owner, trade.strategy_type, trade.source) == (Owner.UNIVERSAL_MANAGER, "trend", "bot")
    assert world.dtms.unmanaged.used == ("a",)
    assert codes(world, ticket) == ["unmanaged_adopted"]
    assert codes(world, other) == ["unmanaged_position"]


async def test_an_announcement_stands_for_one_position_of_its_symbol(world: World) -> None:
    world.dtms.unmanaged.announcements = (said(world, "XAUUSD"),)
    wrong = await world.open("EURUSD", magic=770)
    first = await world.open("XAUUSD", magic=770)
    second = await world.open("XAUUSD", magic=770)
    await world.advance(60)
    assert world.dtms.book.find(first) is not None
    assert [world.dtms.book.find(ticket) for ticket in (wrong, second)] == [None, None]


async def test_an_announcement_is_never_of_a_position_that_was_open_before_it(world: World) -> None:
    old = await world.open(magic=770)
    await world.advance(3 * 86_400)
    world.dtms.unmanaged.announcements = (said(world),)
    await world.advance(60)
    assert world.dtms.book.find(old) is None
    new = await world.open(magic=770)
    await world.advance(60)
    assert world.dtms.book.find(old) is None
    assert world.trade(new).source == "announced"


async def test_one_that_was_open_before_a_restart_is_told_from_the_announced_one_by_its_time(tmp_path: Path) -> None:
    world = await open_world(tmp_path)
    old = await world.open(magic=770)
    await world.advance(3600)
    announced = said(world)
    await world.close()
    world = await open_world(tmp_path)
    world.dtms.unmanaged.announcements = (announced,)
    await world.advance(60)
    assert world.dtms.book.find(old) is None
    new = await world.open(magic=770)
    await world.advance(60)
    assert world.trade(new).source == "announced"
    await world.close()


async def test_one_that_was_seen_before_the_announcement_is_never_meant_however_young(world: World) -> None:
    old = await world.open(magic=770)
    await world.advance(APART_S * 3 / 4)
    world.dtms.unmanaged.announcements = (said(world),)
    await world.advance(60)
    assert world.dtms.book.find(old) is None


async def test_of_two_that_a_clock_a_little_wrong_allows_the_one_opened_after_it_is_meant(tmp_path: Path) -> None:
    world = await open_world(tmp_path)
    old = await world.open(magic=770)
    await world.advance(APART_S - 1)
    announced = said(world)
    new = await world.open(magic=770)
    await world.close()
    world = await open_world(tmp_path)
    world.dtms.unmanaged.announcements = (announced,)
    await world.advance(60)
    assert (world.dtms.book.find(old), world.trade(new).source) == (None, "announced")
    await world.close()


async def test_an_announcement_that_was_used_is_used_in_the_next_life_too(tmp_path: Path) -> None:
    world = await open_world(tmp_path)
    announced = said(world)
    world.dtms.unmanaged.announcements = (announced,)
    await world.open(magic=770)
    await world.advance(60)
    await world.close()
    world = await open_world(tmp_path)
    world.dtms.unmanaged.announcements = (announced,)  # its file was not removed
    second = await world.open(magic=770)
    await world.advance(60)
    assert world.dtms.book.find(second) is None
    assert world.dtms.unmanaged.used == ("a",)
    await world.close()


async def test_a_caller_that_lives_registers_its_own_position(world: World) -> None:
    world.dtms.unmanaged.announcements = (said(world),)
    ticket = await world.open(magic=770)
    await world.advance(10)
    await world.register(ticket, source="bot")
    await world.advance(60)
    assert world.trade(ticket).source == "bot"
    assert codes(world, ticket) == []


async def test_one_that_was_seen_before_its_registration_came_is_not_told(world: World) -> None:
    ticket = await world.open(magic=0)
    await world.advance(30)
    assert world.dtms.book.positions[ticket].ticket == ticket
    assert world.dtms.alerting.open == {}
    await world.register(ticket)
    await world.advance(120)
    assert codes(world, ticket) == []


async def test_what_somebody_registered_meanwhile_is_not_adopted_over(world: World) -> None:
    (trade,) = await world.protect()
    announced = Registration(ticket=trade.ticket, strategy_type="trend", source="late")
    await world.dtms._registrar.adopt([announced, Registration(ticket=999)], {})
    assert world.trade(trade.ticket) == trade
    assert codes(world, trade.ticket) == []


@pytest.mark.parametrize(
    ("claims", "owner"),
    [
        ({"strategy_type": "micro_scalp", "source": "bot"}, Owner.DTMS),
        ({"managed_by": Owner.INTELLIGENT_EXITS, "source": "bot"}, Owner.INTELLIGENT_EXITS),
    ],
)
async def test_the_first_registration_of_one_that_was_observed_says_whose_it_is(
    tmp_path: Path, claims: dict[str, Any], owner: Owner
) -> None:
    world = await open_world(tmp_path, unmanaged=Policy.OBSERVE)
    ticket = await world.open(magic=0)
    await world.advance(60)
    (answer,) = await world.register(ticket, **claims)
    trade = world.trade(ticket)
    assert (trade.owner, trade.source, answer.protected) == (owner, "bot", owner is Owner.DTMS)
    assert (await world.kinds(trade)).count("owner_changed") == 1
    await world.register(ticket, managed_by=Owner.MANUAL)
    assert world.trade(ticket).owner is owner, "the second one moves nothing"
    await world.close()


async def test_the_owner_of_one_that_was_observed_does_not_change_in_the_middle_of_a_cycle(tmp_path: Path) -> None:
    world = await open_world(tmp_path, unmanaged=Policy.OBSERVE)
    ticket = await world.open(magic=0)
    await world.advance(60)
    async with world.dtms._record.lock:
        registering = asyncio.create_task(world.register(ticket))
        await asyncio.wait([registering], timeout=0.2)
        assert world.trade(ticket).owner is Owner.MANUAL
    await registering
    assert world.trade(ticket).owner is Owner.DTMS
    await world.close()


async def test_one_that_a_person_took_or_released_is_moved_by_no_registration(tmp_path: Path) -> None:
    world = await open_world(tmp_path, unmanaged=Policy.OBSERVE)
    taken, released = await world.open(magic=0), await world.open(magic=0)
    await world.advance(60)
    await world.dtms.hand_over(world.trade(taken), Owner.INTELLIGENT_EXITS, reason="mine", by="anna")
    await world.dtms.release(world.trade(released), reason="mine", by="anna")
    await world.register(taken, released)
    assert world.trade(taken).owner is Owner.INTELLIGENT_EXITS
    assert (world.trade(released).owner, world.trade(released).managed) == (Owner.MANUAL, False)
    await world.close()
