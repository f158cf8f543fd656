"""Pause, halt, flatten, news, hand-over and release, in the real engine: what still happens, and what does not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from engine_world import World, open_world
from test_engine_hedging import NERVOUS, hedge_of, hedged, in_state, ours, positions, until

from dtms_service.domain.control import Control, News, Verb
from dtms_service.domain.errors import NotAccepting, NotInThisMode, RegistrationConflict
from dtms_service.domain.policy import owe
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import Mode, ObligationKind, Owner

DAY = 86_400
QUARTER = DAY / 4


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    opened = await open_world(tmp_path, parameters=NERVOUS)
    yield opened
    await opened.close()


async def order(world: World, verb: Verb, **more: Any) -> Any:
    return await world.dtms.order(verb, reason="for a test", by="anna", **more)


def sends(world: World) -> int:
    return sum(names.count("order_send") for names in world.link.asked)


async def registered(world: World, **body: Any) -> list[int]:
    tickets = [await world.open(side=side, **body) for side in ("BUY", "SELL")]
    await world.register(*tickets)
    return tickets


@pytest.mark.parametrize("verb", [Verb.PAUSE, Verb.HALT])
async def test_while_paused_or_halted_trades_are_scored_and_nothing_is_sent(world: World, verb: Verb) -> None:
    tickets = await registered(world)
    await order(world, verb)
    await world.advance(QUARTER)
    assert sends(world) == 0
    assert {world.trade(t).state for t in tickets if not world.trade(t).state.final} <= {TradeState.HEALTHY}
    assert all(world.trade(t).score_at is not None for t in tickets)
    await order(world, Verb.RESET)
    await until(world, lambda: sends(world) > 0)


async def test_a_halted_service_protects_nothing_and_a_paused_one_still_answers_for_it(world: World) -> None:
    (trade,) = await world.protect(1)
    await order(world, Verb.PAUSE)
    assert world.dtms.protected(trade)
    await order(world, Verb.HALT)
    assert not world.dtms.protected(trade)
    assert (await world.register(await world.open()))[0].protected is False


async def test_the_standing_survives_a_restart_and_a_halt_ends_by_reset_only(tmp_path: Path) -> None:
    world = await open_world(tmp_path)
    news = News(begins=1.0, ends=2.0, title="rates", symbols=("EURUSD",))
    await world.dtms.announce([news], by="anna")
    await order(world, Verb.HALT)
    await world.close()
    world = await open_world(tmp_path)
    assert (world.dtms.standing.control, world.dtms.standing.by, world.dtms.standing.news) == (
        Control.HALTED,
        "anna",
        (news,),
    )
    with pytest.raises(NotInThisMode, match="reset"):
        await order(world, Verb.RESUME)
    assert (await order(world, Verb.RESET)).standing.control is Control.RUNNING
    await world.close()


async def test_before_the_ledger_is_open_nothing_is_ordered(tmp_path: Path) -> None:
    world = await open_world(tmp_path, start=False)
    with pytest.raises(NotAccepting):
        await order(world, Verb.PAUSE)
    await world.close()


@pytest.mark.parametrize("verb", [None, Verb.PAUSE, Verb.HALT])
async def test_flatten_closes_what_is_ours_and_only_that_also_while_held_back(world: World, verb: Verb | None) -> None:
    mine = await registered(world)
    foreign = await world.open()
    theirs = await world.open()
    await world.register(theirs, managed_by=Owner.UNIVERSAL_MANAGER)
    if verb is not None:
        await order(world, verb)
    done = await order(world, Verb.FLATTEN)
    assert sorted(done.tickets) == sorted(mine)
    await world.advance(30)
    assert set(await positions(world)) == {foreign, theirs}
    await world.advance(30)
    assert [world.trade(t).closed_reason for t in mine] == ["DTMS", "DTMS"]
    actions = await world.dtms.actions(ticket=mine[0], since=None, limit=5)
    assert (actions[-1].body["action_type"], actions[-1].body["reason"]) == ("close_all", "flatten")


async def test_flatten_closes_what_was_to_be_closed_anyway_and_had_to_wait_for_the_end_of_a_halt(world: World) -> None:
    (trade,) = await world.protect(1)
    owed = owe(trade, ObligationKind.CLOSE_ALL, "recovery_over", world.dtms.now(), Mode.PROTECT, NERVOUS)
    await order(world, Verb.HALT)
    await world.dtms._record.write(trades=[replace(trade, obligations=(owed,))])
    await world.advance(60)
    assert not world.trade(trade.ticket).state.final
    assert (await order(world, Verb.FLATTEN)).tickets == (trade.ticket,)
    await world.advance(60)
    assert world.trade(trade.ticket).state is TradeState.CLOSED


async def test_flatten_in_observe_mode_is_refused(tmp_path: Path) -> None:
    world = await open_world(tmp_path, mode=Mode.OBSERVE)
    await world.protect(1)
    with pytest.raises(NotInThisMode):
        await order(world, Verb.FLATTEN)
    await world.close()


async def test_a_shared_net_position_is_flattened_by_force_only_and_only_our_part_of_it(tmp_path: Path) -> None:
    world = await open_world(tmp_path, account={"margin_mode": "netting"})
    (trade,) = await world.protect(1, volume=0.4)
    await world.open(volume=0.3)  # others add to it
    await world.advance(30)
    assert "shared_net_position" in world.trade(trade.ticket).flags
    refused = await order(world, Verb.FLATTEN)
    assert (refused.tickets, [ticket for ticket, _ in refused.refused]) == ((), [trade.ticket])
    assert (await order(world, Verb.FLATTEN, force=True)).tickets == (trade.ticket,)
    await world.advance(30)
    (left,) = (await positions(world)).values()
    assert left["volume"] == pytest.approx(0.3)
    await world.close()


async def test_while_halted_an_orphan_hedge_is_closed_all_the_same(tmp_path: Path) -> None:
    world, ticket = await hedged(tmp_path)
    mine = hedge_of(world.trade(ticket))
    await order(world, Verb.HALT)
    await world.simulator.close_position(ticket, None)
    await world.advance(30)
    assert mine not in await positions(world)
    await world.close()


async def test_while_news_are_due_stops_move_and_nothing_is_opened_or_reduced(world: World) -> None:
    tickets = await registered(world, volume=0.4)
    now = world.clock.now()
    await world.dtms.announce([News(begins=now, ends=now + 30 * DAY, title="a long speech")], by="anna")
    await until(world, lambda: in_state(world, tickets, TradeState.WARNING_L2))
    waiting = {o.waiting for t in tickets for o in world.trade(t).obligations if o.status.live}
    assert "news_are_due" in waiting
    await world.advance(3 * 3600)
    kinds = {event.body["action_type"] for event in world.dtms.book.actions if event.body["outcome"] == "done"}
    assert kinds <= {"tighten_stop", "move_stop_to_breakeven"}
    assert kinds
    assert not await ours(world)


async def test_a_trade_that_is_handed_over_is_only_watched_and_what_was_owed_ends(world: World) -> None:
    tickets = await registered(world)
    await world.advance(60)
    for ticket in tickets:
        await world.dtms.hand_over(world.trade(ticket), Owner.UNIVERSAL_MANAGER, reason="its strategy", by="bot")
    world.forget_counts()
    await world.advance(QUARTER)
    assert sends(world) == 0
    assert not any(world.dtms.protected(world.trade(t)) for t in tickets)
    trade = world.trade(tickets[0])
    (event,) = [e for e in await world.dtms.history(trade) if e.kind == "owner_changed"]
    assert (event.body["from"], event.body["to"], event.body["by"]) == ("dtms", "universal_manager", "bot")


async def test_a_trade_that_comes_back_begins_anew(world: World) -> None:
    tickets = await registered(world)
    for ticket in tickets:
        await world.dtms.hand_over(world.trade(ticket), Owner.UNIVERSAL_MANAGER, reason="", by="bot")
    await until(
        world, lambda: in_state(world, tickets, TradeState.WARNING_L1) + in_state(world, tickets, TradeState.WARNING_L2)
    )
    (ticket, *_) = [t for t in tickets if world.trade(t).state in {TradeState.WARNING_L1, TradeState.WARNING_L2}]
    back = await world.dtms.hand_over(world.trade(ticket), Owner.DTMS, reason="", by="bot")
    assert (back.trade.state, back.trade.rule) == (TradeState.HEALTHY, "handed_over")
    assert world.dtms.protected(back.trade)
    world.forget_counts()
    await until(world, lambda: sends(world) > 0 or world.trade(ticket).state.final)


async def test_a_hedge_is_unwound_before_its_trade_is_let_go_and_release_is_for_good(tmp_path: Path) -> None:
    world, ticket = await hedged(tmp_path)
    mine = hedge_of(world.trade(ticket))
    released = await world.dtms.release(world.trade(ticket), reason="mine now", by="anna")
    assert released.unwinding
    await world.advance(30)
    held = await positions(world)
    assert (mine in held, ticket in held) == (False, True)
    assert (world.trade(ticket).owner, world.trade(ticket).hedge) == (Owner.MANUAL, None)
    (again,) = await world.register(ticket)
    assert (again.outcome, again.protected) == ("observed", False)
    before = await world.dtms.actions(ticket=ticket, since=0, limit=100)
    await world.advance(QUARTER)
    assert [
        e for e in await world.dtms.actions(ticket=ticket, since=0, limit=100) if e.body["outcome"] != "would_have"
    ] == [e for e in before if e.body["outcome"] != "would_have"]
    await world.close()


async def test_what_is_closed_has_no_owner_any_more(world: World) -> None:
    (trade,) = await world.protect(1)
    await world.simulator.close_position(trade.ticket, None)
    await world.advance(30)
    with pytest.raises(RegistrationConflict, match="no owner"):
        await world.dtms.hand_over(world.trade(trade.ticket), Owner.MANUAL, reason="", by="")


async def test_a_trade_with_an_order_on_its_way_is_not_handed_over(world: World) -> None:
    await registered(world)
    await world.simulator.set_fault({"kind": "reply_lost_not_executed"})
    await until(world, lambda: world.dtms.book.intents)
    (intent,) = world.dtms.book.intents.values()
    trade = world.dtms.book.trades[intent.trade_id]
    with pytest.raises(RegistrationConflict, match="no answer yet"):
        await world.dtms.hand_over(trade, Owner.MANUAL, reason="", by="")


async def test_an_owner_who_does_nothing_in_danger_is_told_of_once(world: World) -> None:
    tickets = [await world.open(side=side) for side in ("BUY", "SELL")]
    await world.register(*tickets, managed_by=Owner.UNIVERSAL_MANAGER)
    await until(world, lambda: in_state(world, tickets, TradeState.WARNING_L2))
    (ticket, *_) = in_state(world, tickets, TradeState.WARNING_L2)

    async def told() -> int:
        events = await world.dtms.history(world.trade(ticket))
        return sum(event.body.get("code") == "owner_silent" for event in events)

    await world.advance(570)
    allowed, _, defensive = world.dtms.may_modify(world.trade(ticket), Owner.UNIVERSAL_MANAGER)
    assert (allowed, defensive) == (True, False), "DTMS defends no trade of others"
    await world.advance(570)
    assert await told() == 0, "it asked less than ten minutes ago"
    world.dtms.may_modify(world.trade(ticket), Owner.INTELLIGENT_EXITS)
    await world.advance(60)
    assert await told() == 1, "another manager asked, not the owner"
    await world.advance(1740)
    assert await told() == 1


async def silent_alerts(world: World, ticket: int) -> int:
    events = await world.dtms.history(world.trade(ticket))
    return sum(event.body.get("code") == "owner_silent" for event in events)


async def test_an_owner_who_asked_before_a_restart_is_not_called_silent_right_after_it(tmp_path: Path) -> None:
    world = await open_world(tmp_path, parameters=NERVOUS)
    tickets = [await world.open(side=side) for side in ("BUY", "SELL")]
    await world.register(*tickets, managed_by=Owner.UNIVERSAL_MANAGER)
    await until(world, lambda: in_state(world, tickets, TradeState.WARNING_L2))
    (ticket, *_) = in_state(world, tickets, TradeState.WARNING_L2)
    for _ in range(3):
        await world.advance(300)
        world.dtms.may_modify(world.trade(ticket), Owner.UNIVERSAL_MANAGER)
    await world.close()
    world = await open_world(tmp_path, parameters=NERVOUS)
    await world.advance(540)
    assert await silent_alerts(world, ticket) == 0
    await world.advance(120)
    assert await silent_alerts(world, ticket) == 1
    await world.close()


async def test_what_dtms_does_not_see_it_does_not_defend(world: World) -> None:
    tickets = await registered(world)
    await until(world, lambda: in_state(world, tickets, TradeState.WARNING_L2))
    (ticket, *_) = in_state(world, tickets, TradeState.WARNING_L2)
    assert world.dtms.may_modify(world.trade(ticket), Owner.UNIVERSAL_MANAGER)[2]
    await world.simulator.set_fault({"kind": "disconnected", "count": 1000})
    await world.advance(120)
    assert world.trade(ticket).state is TradeState.WARNING_L2
    assert not world.dtms.may_modify(world.trade(ticket), Owner.UNIVERSAL_MANAGER)[2]
