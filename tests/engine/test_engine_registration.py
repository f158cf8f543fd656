"""Registration: idempotent, shared reads, conflicts on side and symbol only, nothing lost without a terminal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from engine_world import World, open_world

from dtms_service.domain.errors import NotAccepting, RegistrationConflict, StorageBusy
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import Owner
from dtms_service.domain.values import Side


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    opened = await open_world(tmp_path)
    yield opened
    await opened.close()


async def test_a_ticket_alone_is_enough(world: World) -> None:
    ticket = await world.open(volume=0.25)
    (answer,) = await world.register(ticket)
    assert (answer.outcome, answer.protected, answer.created) == ("protected", True, True)
    assert (answer.trade.symbol, answer.trade.side, answer.trade.volume) == ("EURUSD", Side.BUY, 0.25)


async def test_a_repeat_is_answered_without_terminal_and_disk(world: World) -> None:
    ticket = await world.open()
    await world.register(ticket)
    world.forget_counts()
    (answer,) = await world.register(ticket, side=Side.BUY, symbol="EURUSDc")
    assert (answer.outcome, answer.replayed) == ("already_protected", True)
    assert world.link.asked == []
    assert world.ledger.batches == []


async def test_a_hundred_at_once_share_a_read_and_a_transaction(world: World) -> None:
    tickets = [await world.open() for _ in range(100)]
    world.forget_counts()
    answers = await asyncio.gather(*(world.register(ticket) for ticket in tickets))
    assert {answer.outcome for (answer,) in answers} == {"protected"}
    assert len(world.link.asked) <= 2  # the first comes alone, the others wait for it together
    assert len(world.ledger.batches) <= 2


async def test_the_same_ticket_at_once_is_one_trade(world: World) -> None:
    ticket = await world.open()
    answers = await asyncio.gather(*(world.register(ticket) for _ in range(50)))
    assert sum(answer.created for (answer,) in answers) == 1
    assert len(world.dtms.book.trades) == 1


async def test_a_claim_against_the_terminal_conflicts_and_changes_nothing(world: World) -> None:
    ticket = await world.open(side="BUY")
    world.forget_counts()
    (wrong_side,) = await world.register(ticket, side=Side.SELL)
    (wrong_symbol,) = await world.register(ticket, symbol="GBPUSD")
    assert isinstance(wrong_side, RegistrationConflict)
    assert isinstance(wrong_symbol, RegistrationConflict)
    assert wrong_side.facts["terminal"] == {"symbol": "EURUSD", "side": "BUY"}
    assert world.dtms.book.trades == {}
    assert world.ledger.batches == []


async def test_other_levels_and_volumes_do_not_conflict(world: World) -> None:
    ticket = await world.open(volume=0.1)
    (answer,) = await world.register(ticket, volume=5.0, stop_loss=0.5, entry_price=9.0)
    assert answer.outcome == "protected"
    assert answer.trade.volume == 0.1


async def test_an_unknown_ticket_is_pending_and_then_rejected(world: World) -> None:
    (answer,) = await world.register(424242, symbol="EURUSD", side=Side.BUY)
    assert (answer.outcome, answer.protected) == ("pending_verification", False)
    await world.advance(180)
    assert world.trade(424242).state is TradeState.REJECTED


async def test_a_rejected_ticket_may_be_registered_again(world: World) -> None:
    await world.register(424242)
    await world.advance(180)
    (answer,) = await world.register(424242)
    assert answer.outcome == "pending_verification"


async def test_a_closed_position_is_answered_as_closed(world: World) -> None:
    ticket = await world.open()
    await world.simulator.close_position(ticket, None)
    (answer,) = await world.register(ticket)
    assert (answer.outcome, answer.protected) == ("already_closed", False)
    (again,) = await world.register(ticket)
    assert again.outcome == "already_closed"


async def test_a_registration_while_the_terminal_is_away_is_kept_and_verified_later(world: World) -> None:
    ticket = await world.open()
    await world.simulator.set_fault({"kind": "read_none", "count": 2})
    (answer,) = await world.register(ticket)
    assert answer.outcome == "pending_verification"
    await world.advance(120)
    assert world.trade(ticket).state is TradeState.HEALTHY
    assert world.dtms.protected(world.trade(ticket))


async def test_a_claim_that_nobody_has_verified_does_not_refuse_the_truth(world: World) -> None:
    ticket = await world.open(side="BUY")
    await world.simulator.set_fault({"kind": "read_none", "count": 1})
    (false,) = await world.register(ticket, symbol="EURUSD", side=Side.SELL)
    assert false.outcome == "pending_verification"
    (true,) = await world.register(ticket, side=Side.BUY)
    assert true.outcome == "pending_verification"
    (other,) = await world.register(ticket, symbol="GBPUSD")
    assert isinstance(other, RegistrationConflict)
    assert other.facts["terminal"] == {"symbol": "EURUSD", "side": "BUY"}
    await world.advance(60)
    assert world.trade(ticket).side is Side.BUY
    events = await world.dtms.history(world.trade(ticket))
    assert "claim_contradicted" in {event.body.get("code") for event in events}


async def test_two_claims_that_contradict_each_other_wait_until_the_terminal_can_be_asked(world: World) -> None:
    ticket = await world.open(side="BUY")
    await world.simulator.set_fault({"kind": "read_none", "count": 2})
    await world.register(ticket, side=Side.SELL)
    (undecided,) = await world.register(ticket, side=Side.BUY)
    assert isinstance(undecided, NotAccepting)
    assert "cannot be asked" in undecided.detail
    (true,) = await world.register(ticket, side=Side.BUY)
    assert true.outcome == "pending_verification"


async def test_of_two_claims_about_a_ticket_that_the_terminal_does_not_show_the_first_one_holds(world: World) -> None:
    await world.register(424242, symbol="EURUSD", side=Side.BUY)
    (second,) = await world.register(424242, symbol="EURUSD", side=Side.SELL)
    assert isinstance(second, RegistrationConflict)
    assert world.trade(424242).side is Side.BUY


async def test_a_later_universal_manager_strategy_takes_an_untouched_trade_over(world: World) -> None:
    ticket = await world.open()
    await world.register(ticket)
    (answer,) = await world.register(ticket, strategy_type="kill_zone")
    assert answer.outcome == "observed"
    assert world.trade(ticket).owner is Owner.UNIVERSAL_MANAGER
    assert "owner_changed" in await world.kinds(world.trade(ticket))


async def test_a_registration_that_could_not_be_stored_is_not_in_the_book(world: World) -> None:
    ticket = await world.open()
    world.ledger.failing = StorageBusy()
    with pytest.raises(StorageBusy):
        await world.register(ticket)
    assert world.dtms.book.trades == {}
    world.ledger.failing = None
    (answer,) = await world.register(ticket)
    assert answer.outcome == "protected"


async def test_nothing_is_taken_in_before_the_ledger_is_loaded(tmp_path: Path, world: World) -> None:
    world.dtms._record.loaded = False
    with pytest.raises(NotAccepting):
        await world.register(await world.open())
