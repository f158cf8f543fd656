"""A hedge from its order to its end on the simulated terminal: one of it, never without its position, exactly once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from engine_world import World, open_world

from dtms_service.domain import magic
from dtms_service.domain.errors import StorageFailed
from dtms_service.domain.parameters import Parameters
from dtms_service.domain.record import Batch
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import IntentState, ObligationKind, Trade

NERVOUS = Parameters(
    l1_score=-0.1,
    l2_score=-0.2,
    hedge_score=-0.3,
    hedge_now_score=-0.3,
    l1_exit_score=10.0,
    l2_exit_score=10.0,
    hedged_exit_score=10.0,
    recovered_score=10.0,
)
"""Every market that is a little against the trade asks for a hedge, and none calms it."""
STEP_S, DAYS = 30.0, 4


async def until(world: World, true: Callable[[], Any]) -> None:
    for _ in range(int(DAYS * 86_400 / STEP_S)):
        if true():
            return
        await world.advance(STEP_S)
    pytest.fail("it did not happen within days")


async def hedged(folder: Path, *, volume: float = 0.2, **options: Any) -> tuple[World, int]:
    """A world in which one trade is hedged, and its ticket."""
    world = await open_world(folder, **{"parameters": NERVOUS, **options})
    tickets = [await world.open(side=side, volume=volume) for side in ("BUY", "SELL")]
    await world.register(*tickets)
    await until(world, lambda: in_state(world, tickets, TradeState.HEDGED))
    return world, in_state(world, tickets, TradeState.HEDGED)[0]


def in_state(world: World, tickets: list[int], state: TradeState) -> list[int]:
    return [ticket for ticket in tickets if world.trade(ticket).state is state]


async def positions(world: World) -> dict[int, dict[str, Any]]:
    return {p["ticket"]: p for p in (await world.simulator.view("positions"))["positions"]}


async def ours(world: World) -> list[dict[str, Any]]:
    """Positions that DTMS opened."""
    return [p for p in (await positions(world)).values() if magic.ours(p["magic"])]


def hedge_of(trade: Trade) -> int:
    assert trade.hedge is not None
    return trade.hedge.ticket


async def test_the_terminal_shows_half_of_it_on_the_other_side_with_a_stop(tmp_path: Path) -> None:
    world, ticket = await hedged(tmp_path)
    trade, held = world.trade(ticket), await positions(world)
    mine = held[hedge_of(trade)]
    assert mine["volume"] == pytest.approx(held[ticket]["volume"] / 2, abs=0.01)
    assert mine["type"] != held[ticket]["type"]
    assert mine["sl"] > 0
    await world.advance(60)
    assert world.trade(ticket).hedge.price_open == mine["price_open"]  # type: ignore[union-attr]
    events = await world.dtms.history(world.trade(ticket))
    states = [(e.body["from"], e.body["to"]) for e in events if e.kind == "transition"]
    assert states[-1] == ("WARNING_L2", "HEDGED")
    assert (await world.register(hedge_of(trade)))[0].code == "registration_conflict"
    await world.close()


@pytest.mark.parametrize("how", ["by hand", "stop"])
async def test_when_the_position_goes_its_hedge_goes_in_the_same_cycle(tmp_path: Path, how: str) -> None:
    world, ticket = await hedged(tmp_path)
    if how == "stop":
        held = (await positions(world))[ticket]
        price = held["price_current"]
        near = round(price * (1 - 0.0002 if held["type"] == 0 else 1 + 0.0002), 5)
        await world.simulator.change_position(ticket, {"stop_loss": near, "take_profit": None})
        await until(world, lambda: world.trade(ticket).state.final)
    else:
        await world.simulator.close_position(ticket, None)
        await world.advance(STEP_S)
    trade = world.trade(ticket)
    assert (trade.state, trade.hedge) == (TradeState.CLOSED, None)
    assert not [p for p in await ours(world) if p["magic"] in trade.hedge_magics]
    actions = await world.dtms.actions(ticket=ticket, since=None, limit=5)
    assert (actions[-1].body["action_type"], actions[-1].body["reason"]) == ("close_hedge", "orphan_hedge")
    await world.close()


async def test_a_hedge_whose_close_is_refused_is_closed_as_soon_as_the_broker_takes_it(tmp_path: Path) -> None:
    world, ticket = await hedged(tmp_path)
    await world.simulator.set_fault({"kind": "retcode", "retcode": 10006, "count": 2})
    await world.simulator.close_position(ticket, None)
    await until(world, lambda: world.trade(ticket).hedge is None)
    assert world.trade(ticket).state is TradeState.CLOSED
    kinds = [event.body["outcome"] for event in await world.dtms.actions(ticket=ticket, since=None, limit=3)]
    assert kinds == ["refused", "refused", "done"]
    assert (await world.kinds(world.trade(ticket))).count("closed") == 1
    assert [o.attempts for o in world.trade(ticket).obligations if o.reason == "orphan_hedge"] == [3]
    await world.close()


async def test_an_orphan_is_closed_by_the_next_life_when_this_one_died(tmp_path: Path) -> None:
    world, ticket = await hedged(tmp_path)
    mine = hedge_of(world.trade(ticket))
    await world.simulator.close_position(ticket, None)
    await world.close()
    world = await open_world(tmp_path, parameters=NERVOUS)
    await world.advance(STEP_S)
    assert mine not in await positions(world)
    assert world.trade(ticket).hedge is None
    await world.close()


def before_a_hedge(world: World, does: Callable[[], Awaitable[object]]) -> None:
    """Let ``does`` run once between the commit of a hedge's intent and its order."""
    commit, done = world.ledger.commit, []

    async def watched(batch: Batch) -> int:
        sequence = await commit(batch)
        if not done and any(i.kind is ObligationKind.HEDGE and i.state is IntentState.SENDING for i in batch.intents):
            done.append(True)
            await does()
        return sequence

    world.ledger.commit = watched  # type: ignore[method-assign]  # the double of one test


@pytest.mark.parametrize("fault", ["reply_lost_executed", "executed_late", "reply_lost_not_executed", "visible_late"])
async def test_a_hedge_whose_reply_is_lost_is_opened_exactly_once(tmp_path: Path, fault: str) -> None:
    world = await open_world(tmp_path, parameters=NERVOUS)
    tickets = [await world.open(side=side, volume=0.2) for side in ("BUY", "SELL")]
    await world.register(*tickets)
    seconds = {"seconds": 20} if fault in {"executed_late", "visible_late"} else {}
    before_a_hedge(world, lambda: world.simulator.set_fault({"kind": fault, "count": 1, **seconds}))
    await until(world, lambda: in_state(world, tickets, TradeState.HEDGED) and not world.dtms.book.intents)
    (ticket,) = in_state(world, tickets, TradeState.HEDGED)
    trade = world.trade(ticket)
    assert len(trade.hedge_magics) == (2 if fault == "reply_lost_not_executed" else 1)
    opened = [d for d in await world.deals() if d["magic"] in trade.hedge_magics and d["entry"] == 0]
    assert len(opened) == 1
    await world.advance(120)
    assert [p["ticket"] for p in await ours(world)] == [opened[0]["position_id"]]
    await world.close()


async def test_a_hedge_that_executes_after_its_settle_window_is_a_second_one_and_is_closed(tmp_path: Path) -> None:
    world = await open_world(tmp_path, parameters=NERVOUS)
    tickets = [await world.open(side=side, volume=0.2) for side in ("BUY", "SELL")]
    await world.register(*tickets)
    late = {"kind": "executed_late", "count": 1, "seconds": 400}
    before_a_hedge(world, lambda: world.simulator.set_fault(late))
    await until(world, lambda: [t for t in tickets if len(world.trade(t).hedge_magics) == 2])
    (ticket,) = [t for t in tickets if len(world.trade(t).hedge_magics) == 2]
    await world.advance(600)
    trade = world.trade(ticket)
    opened = [d for d in await world.deals() if d["magic"] in trade.hedge_magics and d["entry"] == 0]
    left = [p for p in await ours(world) if p["magic"] in trade.hedge_magics]
    assert len(opened) == 2
    assert len(left) == (trade.hedge is not None)
    assert "duplicate_hedge" in [e.body.get("code") for e in await world.dtms.history(trade)]
    await world.close()


async def test_a_process_that_dies_between_the_order_and_its_reply_finds_its_hedge_again(tmp_path: Path) -> None:
    world = await open_world(tmp_path, parameters=NERVOUS)
    tickets = [await world.open(side=side, volume=0.2) for side in ("BUY", "SELL")]
    await world.register(*tickets)

    async def die() -> None:
        world.ledger.failing = StorageFailed("the process dies between the order and its reply")

    before_a_hedge(world, die)
    with pytest.raises(StorageFailed):
        await world.advance(DAYS * 86_400)
    (mine,) = await ours(world)
    await world.close()
    world = await open_world(tmp_path, parameters=NERVOUS)
    await world.advance(STEP_S)
    (found,) = [world.trade(t) for t in tickets if world.trade(t).hedge is not None]
    assert (found.state, hedge_of(found)) == (TradeState.HEDGED, mine["ticket"])
    assert [p["ticket"] for p in await ours(world)] == [mine["ticket"]]
    await world.close()


async def test_a_hand_that_opens_a_second_one_with_our_number_sees_it_closed(tmp_path: Path) -> None:
    world, ticket = await hedged(tmp_path)
    trade = world.trade(ticket)
    assert trade.hedge is not None
    side = trade.hedge.side.value
    twin = await world.open(side=side, volume=0.05, magic=trade.hedge_magics[-1])
    await world.advance(STEP_S)
    held = await positions(world)
    assert twin not in held
    assert hedge_of(world.trade(ticket)) in held
    assert "duplicate_hedge" in [e.body.get("code") for e in await world.dtms.history(trade)]
    await world.close()


async def test_a_new_ledger_takes_the_hedge_of_the_old_one_when_its_position_is_registered_again(
    tmp_path: Path,
) -> None:
    world, ticket = await hedged(tmp_path)
    mine = hedge_of(world.trade(ticket))
    await world.close()
    for path in tmp_path.glob("dtms.db*"):
        path.unlink()
    world = await open_world(tmp_path, parameters=NERVOUS)
    await world.advance(STEP_S)
    alerts = [e.body for b in world.ledger.batches for e in b.events if e.body.get("code") == "unknown_own_position"]
    assert [str(mine) in body["detail"] and str(ticket) in body["detail"] for body in alerts] == [True]
    await world.register(ticket)
    await world.advance(STEP_S)
    trade = world.trade(ticket)
    assert (trade.state, hedge_of(trade), trade.rule) == (TradeState.HEDGED, mine, "hedge_found")
    await world.simulator.close_position(ticket, None)
    await world.advance(STEP_S)
    assert not await ours(world)
    await world.close()


async def test_the_flat_timer_closes_hedge_and_position_in_this_order(tmp_path: Path) -> None:
    world, ticket = await hedged(tmp_path)
    mine = hedge_of(world.trade(ticket))
    await until(world, lambda: world.trade(ticket).state.final)
    deals = [d["position_id"] for d in await world.deals() if d["entry"] != 0 and d["position_id"] in {ticket, mine}]
    trade = world.trade(ticket)
    assert not [p for p in await ours(world) if p["magic"] in trade.hedge_magics]
    if trade.closed_reason == "DTMS":
        assert deals[-2:] == [mine, ticket]
    await world.close()


@pytest.mark.parametrize("account", [{"margin_mode": "netting"}, {"fifo_close": True}, {"hedge_prohibited": True}])
async def test_where_there_can_be_no_second_side_half_is_closed_instead(
    tmp_path: Path, account: dict[str, Any]
) -> None:
    world = await open_world(tmp_path, parameters=NERVOUS, account=account)
    ticket = await world.open(volume=0.4)
    await world.register(ticket)
    await until(world, lambda: world.trade(ticket).hedges or world.trade(ticket).state.final)
    trade = world.trade(ticket)
    if not trade.state.final:
        assert (trade.state, trade.hedge) == (TradeState.HEDGED, None)
        assert trade.volume == pytest.approx(0.1), "half for the partial close, half of the rest for the hedge"
    assert not await ours(world)
    await world.close()
