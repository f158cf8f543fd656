"""Alerts of the running engine: a row in the transaction of its cause, one per cause, there after a restart."""

from __future__ import annotations

from pathlib import Path

import pytest
from engine_world import World, open_world

from dtms_service.domain.alerts import Alert, Wanted
from dtms_service.domain.control import Verb
from dtms_service.domain.errors import StorageBusy


@pytest.fixture
async def world(tmp_path: Path):
    opened = await open_world(tmp_path)
    yield opened
    await opened.close()


def only(world: World, code: str) -> Alert:
    (found,) = [alert for alert in world.dtms.alerting.open.values() if alert.code == code]
    return found


async def test_an_alert_is_stored_in_the_transaction_of_its_cause(world: World) -> None:
    ticket = await world.open(stop_loss=None)
    world.forget_counts()
    await world.register(ticket)
    (batch,) = world.ledger.batches
    assert [trade.ticket for trade in batch.trades] == [ticket]
    assert [alert.code for alert in batch.alerts] == ["unprotected_if_down"]
    assert await world.dtms.alerting.list(Wanted()) == batch.alerts


async def test_what_could_not_be_stored_made_no_alert(world: World) -> None:
    ticket = await world.open(stop_loss=None)
    world.ledger.failing = StorageBusy()
    with pytest.raises(StorageBusy):
        await world.register(ticket)
    assert world.dtms.alerting.open == {}
    world.ledger.failing = None
    await world.register(ticket)
    assert only(world, "unprotected_if_down").count == 1


async def test_a_stop_loosened_again_and_again_is_one_alert(world: World) -> None:
    (trade,) = await world.protect()
    for turn in range(1, 4):
        assert trade.stop_loss is not None
        await world.simulator.change_position(trade.ticket, {"stop_loss": trade.stop_loss - turn * 0.001})
        await world.advance(30)
    assert only(world, "stop_loosened").count == 3


async def test_alerts_and_their_numbers_survive_a_restart(tmp_path: Path) -> None:
    world = await open_world(tmp_path)
    await world.dtms.order(Verb.PAUSE, reason="servers change", by="anna")
    before = only(world, "control_paused")
    await world.close()
    world = await open_world(tmp_path)
    assert only(world, "control_paused") == before
    await world.dtms.alerting.acknowledge(before.alert_id, by="anna", reason="")
    await world.close()
    world = await open_world(tmp_path)
    assert world.dtms.alerting.open == {}
    await world.dtms.order(Verb.RESUME, reason="", by="anna")
    await world.dtms.order(Verb.HALT, reason="", by="anna")
    assert only(world, "control_halted").alert_id == before.alert_id + 1
    await world.close()


async def test_an_order_that_ends_another_ends_its_alert(world: World) -> None:
    await world.dtms.order(Verb.PAUSE, reason="", by="anna")
    assert only(world, "control_paused").over_at is None
    await world.dtms.order(Verb.RESUME, reason="", by="anna")
    assert only(world, "control_paused").over_at is not None
    assert [alert.code for alert in world.dtms.alerting.open.values()] == ["control_paused"]
