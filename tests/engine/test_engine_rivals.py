"""Another DTMS on the same account: its orders are seen, people hear of it, and this one pauses."""

from __future__ import annotations

from pathlib import Path

import pytest
from engine_world import World, open_world
from storm_setting import RULES

from dtms_service.domain import magic
from dtms_service.domain.control import Control, Verb
from dtms_service.domain.errors import StorageBusy, StorageFailed
from dtms_service.domain.orders import ClosePosition
from dtms_service.domain.outcome import Done
from dtms_service.domain.trade import Mode
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
    assert split(world) == [f"position {ticket} was opened by another DTMS (magic {number})"]
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


@pytest.mark.parametrize("kind", ["alert", "control"])
async def test_alert_and_pause_wait_for_a_busy_ledger(world: World, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    await world.advance(MINUTE_S)
    commit, refused = world.ledger.commit, []

    async def busy_once(batch):
        if not refused and any(event.kind == kind for event in batch.events):
            refused.append(batch)
            raise StorageBusy("held by another program")
        return await commit(batch)

    monkeypatch.setattr(world.ledger, "commit", busy_once)
    await world.open(magic=magic.make(OURS + 1, 7))
    with pytest.raises(StorageBusy):
        await world.advance(MINUTE_S)
    assert world.dtms.standing.control is Control.RUNNING
    await world.advance(MINUTE_S)
    assert (len(split(world)), world.dtms.standing.control) == (1, Control.PAUSED)


async def test_a_death_between_the_alert_and_the_pause_pauses_the_next_life(tmp_path: Path) -> None:
    world = await open_world(tmp_path)
    await world.advance(MINUTE_S)
    commit = world.ledger.commit

    async def dies(batch):
        if any(event.kind == "control" for event in batch.events):
            raise StorageFailed("the process dies")
        return await commit(batch)

    world.ledger.commit = dies
    await world.open(magic=magic.make(OURS + 1, 7))
    with pytest.raises(StorageFailed):
        await world.advance(MINUTE_S)
    await world.close()
    world = await open_world(tmp_path)
    assert world.dtms.standing.control is Control.PAUSED
    await world.close()


async def test_a_part_of_our_position_that_a_rival_closed_is_a_sign(world: World) -> None:
    (trade,) = await world.protect(volume=0.4)
    await world.advance(MINUTE_S)
    number = magic.make(OURS + 1, 8)
    assert trade.side is not None
    order = ClosePosition(trade.ticket, trade.symbol, trade.side, 0.2, number, "DTPx")
    assert isinstance(await world.dtms._terminal.send(order), Done)
    await world.advance(MINUTE_S)
    assert split(world) == [f"position {trade.ticket} was reduced by another DTMS (magic {number})"]
    assert world.dtms.standing.control is Control.PAUSED


async def test_the_hedge_of_a_rival_is_left_alone(tmp_path: Path) -> None:
    world = await open_world(tmp_path, parameters=RULES["opposing"])
    tickets = [await world.open(symbol=s, side=d) for s in ("EURUSD", "XAUUSD", "BTCUSD") for d in ("BUY", "SELL")]
    await world.register(*tickets)
    hedged = None
    while hedged is None:
        await world.advance(30)
        hedged = next((trade for trade in world.dtms.book.trades.values() if trade.hedge is not None), None)
    link = hedged.hedge
    assert link is not None
    comment = (await world.simulator.view("positions"))["positions"]
    ours = next(row["comment"] for row in comment if row["ticket"] == link.ticket)
    theirs = await world.open(
        symbol=hedged.symbol, side=link.side.value, volume=link.volume, magic=magic.make(OURS + 1, 7), comment=ours
    )
    await world.advance(MINUTE_S)
    assert world.dtms.standing.control is Control.PAUSED
    held = {row["ticket"] for row in (await world.simulator.view("positions"))["positions"]}
    assert {theirs, link.ticket} <= held
    await world.close()


async def test_an_observer_tells_and_has_nothing_to_stand_back_from(tmp_path: Path) -> None:
    world = await open_world(tmp_path, mode=Mode.OBSERVE)
    await world.advance(MINUTE_S)
    await world.open(magic=magic.make(OURS + 1, 7))
    await world.advance(MINUTE_S)
    assert (len(split(world)), world.dtms.standing.control) == (1, Control.RUNNING)
    await world.close()


async def test_what_an_earlier_ledger_left_behind_is_no_rival(tmp_path: Path) -> None:
    world = await open_world(tmp_path)
    await world.open(magic=magic.make(OURS + 1, 7))
    await world.close()
    world = await open_world(tmp_path)
    await world.advance(10 * MINUTE_S)
    assert (split(world), world.dtms.standing.control) == ([], Control.RUNNING)
    await world.close()


@pytest.mark.parametrize(
    ("number", "seconds", "rivals"),
    [
        (magic.make(OURS + 1, 7), CLOCKS_APART_S + 1, True),
        (magic.make(OURS, 2), 50.0, True),
        (magic.make(OURS, 1), 50.0, False),
        (magic.make(OURS + 1, 7), CLOCKS_APART_S, False),
        (7, 50.0, False),
        (0, 50.0, False),
    ],
    ids=["another ledger", "a copy", "an order of ours", "before the start", "another program", "a hand"],
)
async def test_an_order_is_a_rivals_when_it_is_of_our_kind_young_and_not_ours(
    world: World, number: int, seconds: float, rivals: bool
) -> None:
    assert world.dtms._record.next_magic() == magic.make(OURS, 1)
    found = Rivals(world.dtms._record)
    assert not found.is_one(number, 50.0)
    found.begin(1000.0)
    assert found.is_one(number, 1000.0 + seconds) is rivals
