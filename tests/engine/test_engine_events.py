"""What brokers and hands do to a trade, seen through the whole engine on the simulated terminal (``engine.md`` E.2)."""

from __future__ import annotations

from pathlib import Path

import pytest
from engine_world import World, open_world
from test_engine_hedging import NERVOUS, STEP_S, before_a_hedge, hedge_of, hedged, in_state, ours, positions, until

from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import Frozen


async def told(world: World, ticket: int) -> list[str]:
    """Codes of all alerts of the trade, oldest first."""
    events = await world.dtms.history(world.trade(ticket))
    return [event.body["code"] for event in events if event.kind == "alert"]


async def test_a_hedge_without_money_for_it_becomes_a_partial_close_in_the_same_cycle(tmp_path: Path) -> None:
    world = await open_world(tmp_path, parameters=NERVOUS)
    tickets = [await world.open(side=side, volume=0.4) for side in ("BUY", "SELL")]
    await world.register(*tickets)
    before_a_hedge(world, lambda: world.simulator.set_fault({"kind": "retcode", "retcode": 10019}))
    await until(world, lambda: in_state(world, tickets, TradeState.HEDGED))
    (ticket,) = in_state(world, tickets, TradeState.HEDGED)
    trade = world.trade(ticket)
    assert (trade.hedge, trade.rule) == (None, "reduced")
    assert trade.volume == (await positions(world))[ticket]["volume"] == pytest.approx(0.1)
    assert not await ours(world)
    actions = await world.dtms.actions(ticket=ticket, since=None, limit=2)
    assert [(a.body["retcode"], a.body["outcome"]) for a in actions] == [(10019, "refused"), (10009, "done")]
    await world.close()


async def test_a_hand_that_makes_the_position_smaller_than_its_hedge_sees_the_hedge_reduced(tmp_path: Path) -> None:
    world, ticket = await hedged(tmp_path, volume=0.8)
    held = await positions(world)
    assert (held[ticket]["volume"], held[hedge_of(world.trade(ticket))]["volume"]) == (0.4, 0.2)
    await world.simulator.close_position(ticket, 0.3)
    await world.advance(STEP_S)
    trade = world.trade(ticket)
    assert trade.hedge is not None
    assert (trade.state, trade.volume, trade.hedge.volume) == (TradeState.HEDGED, pytest.approx(0.1), 0.05)
    assert (await positions(world))[hedge_of(trade)]["volume"] == 0.05
    assert (await told(world, ticket))[-1] == "hedge_exceeds_position"
    await world.close()


async def test_a_hand_that_closes_the_hedge_leads_back_to_a_warning_and_no_second_one_is_opened(tmp_path: Path) -> None:
    world, ticket = await hedged(tmp_path)
    await world.simulator.close_position(hedge_of(world.trade(ticket)), None)
    await world.advance(STEP_S)
    trade = world.trade(ticket)
    assert (trade.state, trade.rule, trade.hedge, trade.hedges) == (TradeState.WARNING_L2, "hedge_gone", None, 1)
    assert (await told(world, ticket))[-1] == "hedge_gone"
    await world.advance(1200)
    assert not await ours(world)
    await world.close()


async def test_a_hedge_that_lost_its_stop_is_told_of_once_and_kept(tmp_path: Path) -> None:
    world, ticket = await hedged(tmp_path)
    await world.advance(STEP_S)
    await world.simulator.change_position(hedge_of(world.trade(ticket)), {"stop_loss": None, "take_profit": None})
    await world.advance(3 * STEP_S)
    trade = world.trade(ticket)
    assert trade.hedge is not None
    assert (trade.state, trade.hedge.stop_loss) == (TradeState.HEDGED, None)
    assert (await told(world, ticket)).count("hedge_stop_removed") == 1
    (number,) = [a.alert_id for a in world.dtms.alerting.open.values() if a.code == "hedge_stop_removed"]
    assert world.dtms.alerting.open[number].over_at is None
    await world.simulator.close_position(hedge_of(trade), None)
    await world.advance(2 * STEP_S)
    assert world.dtms.alerting.open[number].over_at is not None
    await world.close()


async def test_a_hedged_position_that_is_not_in_a_read_freezes_its_trade_and_leaves_the_hedge(tmp_path: Path) -> None:
    world, ticket = await hedged(tmp_path)
    before = world.trade(ticket)
    await world.simulator.set_fault({"kind": "read_omits_ticket", "count": 1, "ticket": ticket})
    await world.advance(STEP_S / 2)  # one cycle: the cadence of danger
    missing = world.trade(ticket)
    assert (missing.state, missing.frozen, missing.hedge) == (before.state, Frozen.VERIFY, before.hedge)
    await world.advance(STEP_S)
    back = world.trade(ticket)
    assert (back.state, back.frozen, back.flat_left_s) == (before.state, None, before.flat_left_s)
    assert hedge_of(back) in await positions(world)
    assert (await told(world, ticket))[-1] == "position_missing"
    assert (await world.kinds(back))[-2:] == ["position_seen_again", "alert_over"]
    await world.close()


async def test_a_ticket_that_changed_is_the_same_trade_under_both_numbers(tmp_path: Path) -> None:
    world = await open_world(tmp_path)
    (trade,) = await world.protect(1)
    await world.simulator.set_fault({"kind": "ticket_changed", "ticket": trade.ticket})
    await world.advance(2 * STEP_S)
    (held,) = (await positions(world)).values()
    assert held["ticket"] != trade.ticket
    assert world.trade(trade.ticket) is world.trade(held["ticket"])
    renamed = world.trade(held["ticket"])
    assert (renamed.identifier, renamed.former_tickets) == (trade.identifier, (trade.ticket,))
    assert "ticket_changed" in await world.kinds(renamed)
    await world.close()


async def test_on_a_netting_account_what_others_add_is_theirs_and_a_turned_position_is_over(tmp_path: Path) -> None:
    world = await open_world(tmp_path, account={"margin_mode": "netting"})
    (trade,) = await world.protect(1, volume=0.2)
    await world.open(side="BUY", volume=0.3)
    await world.advance(STEP_S)
    shared = world.trade(trade.ticket)
    assert (shared.volume, shared.initial_volume, shared.state) == (0.5, 0.2, TradeState.HEALTHY)
    assert "shared_net_position" in shared.flags
    await world.open(side="SELL", volume=0.9, stop_loss=None)
    await world.advance(STEP_S)
    over = world.trade(trade.ticket)
    assert (over.state, over.closed_reason) == (TradeState.CLOSED, "REVERSED")
    assert await told(world, trade.ticket) == ["shared_net_position", "position_reversed"]
    before = await world.deals()
    await world.advance(600)
    assert await world.deals() == before, "the new side belongs to nobody here"
    await world.close()


async def test_a_stop_and_a_target_moved_by_hand_are_adopted_and_only_the_worse_stop_is_alerted(tmp_path: Path) -> None:
    world = await open_world(tmp_path)
    (trade,) = await world.protect(1)
    assert trade.stop_loss is not None
    for stop, target in ((0.001, 0.02), (-0.002, 0.03), (None, 0.03)):
        moved = None if stop is None else round(trade.stop_loss + stop, 5)
        levels = {"stop_loss": moved, "take_profit": round(trade.stop_loss + target, 5)}
        await world.simulator.change_position(trade.ticket, levels)
        await world.advance(STEP_S)
        now = world.trade(trade.ticket)
        assert {"stop_loss": now.stop_loss, "take_profit": now.take_profit} == levels
    assert await told(world, trade.ticket) == ["stop_loosened", "stop_removed"]
    await world.close()
