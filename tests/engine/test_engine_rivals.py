"""Another DTMS on the same account: its orders are seen, people hear of it, and this one pauses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from engine_world import World, open_world

from dtms_service.domain import magic
from dtms_service.domain.control import Control, Verb
from dtms_service.domain.errors import StorageBusy
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import Event
from dtms_service.engine.rivals import CLOCKS_APART_S, SPLIT_BRAIN, Rivals

OURS = 5
"""Number of the ledger in every world of these tests."""
MINUTE_S = 60.0


@pytest.fixture
async def world(tmp_path: Path):
    opened = await open_world(tmp_path)
    yield opened
    await opened.close()


def split(world: World) -> list[str]:
    return [alert.detail for alert in world.dtms.alerting.open.values() if alert.code == SPLIT_BRAIN]


@pytest.mark.parametrize("number", [magic.make(OURS + 1, 7), magic.make(OURS, 90_000_000)], ids=["another", "a copy"])
async def test_an_order_of_another_ledger_or_of_a_copy_of_this_one_is_told_and_pauses(
    world: World, number: int
) -> None:
    await world.advance(MINUTE_S)
    assert world.dtms.standing.control is Control.RUNNING
    ticket = await world.open(magic=number)
    await world.advance(MINUTE_S)
    assert split(world) == [f"position {ticket} of EURUSD was opened by a DTMS that is not this one (magic {number})"]
    assert (world.dtms.standing.control, world.dtms.standing.by) == (Control.PAUSED, "DTMS")


async def test_after_a_person_resumed_the_same_order_does_not_pause_again_and_a_new_one_does(world: World) -> None:
    await world.advance(MINUTE_S)
    await world.open(magic=magic.make(OURS + 1, 7))
    await world.advance(MINUTE_S)
    await world.dtms.order(Verb.RESUME, reason="stopped the other one", by="somebody")
    await world.advance(10 * MINUTE_S)
    assert world.dtms.standing.control is Control.RUNNING
    await world.open(magic=magic.make(OURS + 1, 8))
    await world.advance(MINUTE_S)
    assert world.dtms.standing.control is Control.PAUSED


async def test_the_pause_waits_for_a_busy_ledger(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.advance(MINUTE_S)
    commit, refused = world.ledger.commit, []

    async def busy_once(batch):
        if not refused and any(event.kind == "control" for event in batch.events):
            refused.append(batch)
            raise StorageBusy("held by another program")
        return await commit(batch)

    monkeypatch.setattr(world.ledger, "commit", busy_once)
    await world.open(magic=magic.make(OURS + 1, 7))
    with pytest.raises(StorageBusy):
        await world.advance(MINUTE_S)
    assert world.dtms.standing.control is Control.RUNNING
    await world.advance(MINUTE_S)
    assert world.dtms.standing.control is Control.PAUSED


async def test_what_an_earlier_ledger_left_behind_is_no_rival(tmp_path: Path) -> None:
    world = await open_world(tmp_path)
    await world.open(magic=magic.make(OURS + 1, 7))
    await world.close()
    world = await open_world(tmp_path)
    await world.advance(10 * MINUTE_S)
    assert (split(world), world.dtms.standing.control) == ([], Control.RUNNING)
    await world.close()


async def signs(world: World, number: int, seconds: float) -> list[str]:
    """What is told of a position that a deal with this magic closed so many seconds after the start."""
    (trade,) = await world.protect()
    rivals, begun = Rivals(world.dtms._record), world.dtms.now()
    rivals.begin(begun)
    ended = replace(trade, state=TradeState.CLOSED, closed_at=begun + seconds)
    body = {"magic": number}
    closed = Event(time=begun + 100, kind="closed", trade_id=trade.trade_id, ticket=trade.ticket, body=body)
    return [event.body["detail"] for event in rivals.signs([], [closed], [ended], begun + 100)]


async def test_a_position_of_ours_that_a_rival_closed_is_a_sign(world: World) -> None:
    number = magic.make(OURS + 1, 7)
    (told,) = await signs(world, number, 50.0)
    assert f"was closed by a DTMS that is not this one (magic {number})" in told


@pytest.mark.parametrize(
    ("number", "seconds"),
    [(0, 50.0), (7, 50.0), (magic.make(OURS, 1), 50.0), (magic.make(OURS + 1, 7), CLOCKS_APART_S)],
    ids=["a hand", "another program", "an order of ours", "before the start"],
)
async def test_a_position_that_others_or_we_closed_is_none(world: World, number: int, seconds: float) -> None:
    world.dtms._record.next_magic()
    assert await signs(world, number, seconds) == []
