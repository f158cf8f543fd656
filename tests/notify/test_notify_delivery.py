"""Every alert reaches the receiver, whatever it and we do meanwhile; nobody else waits for it."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import httpx
import pytest
from notify_world import SECRET, URL, Notified, Receiver, begin, hanging, refused

from dtms_service.app.notifying import AT_ONCE, deliver, remind
from dtms_service.domain import alerts
from dtms_service.domain.alerts import REMIND_S
from dtms_service.domain.errors import StorageBusy
from dtms_service.notify import posting
from dtms_service.notify.channels import LogLines

HOUR_S = 3600.0


@pytest.fixture
async def world(tmp_path: Path):
    opened = await begin(tmp_path)
    yield opened
    await opened.end()


def tickets(world: Notified) -> list[int]:
    return [message["ticket"] for message in world.receiver.messages]


async def test_an_alert_is_delivered_once(world: Notified) -> None:
    world.deliver_to_webhook()
    await world.raise_alert(5)
    await world.settled()
    await world.for_a_while(HOUR_S)
    (message,) = world.receiver.messages
    assert (message["code"], message["ticket"], message["severity"]) == ("unmanaged_position", 5, "warning")
    assert message["notice"]["id"] == "417-1-1"
    assert world.receiver.asked == 1


async def test_a_repetition_within_the_hour_is_counted_and_not_told(world: Notified) -> None:
    world.deliver_to_webhook()
    for at in (0.0, 30.0, REMIND_S - 1):
        await world.raise_alert(5, at=at)
        await world.settled()
    assert tickets(world) == [5]
    await world.raise_alert(5, at=REMIND_S)
    await world.settled()
    assert [message["count"] for message in world.receiver.messages] == [1, 4]
    assert [message["notice"]["id"] for message in world.receiver.messages] == ["417-1-1", "417-1-2"]


async def test_a_receiver_that_was_down_for_an_hour_gets_everything_once_within_a_minute(world: Notified) -> None:
    world.receiver.behave = refused
    world.deliver_to_webhook()
    for ticket in (5, 6, 7):
        await world.raise_alert(ticket, at=ticket)
    await world.for_a_while(HOUR_S)
    assert 60 < world.receiver.asked < 300
    assert "connection refused" in str(world.alerting.channels["webhook"])
    back = world.time.now
    world.receiver.behave = None
    await world.settled()
    assert world.time.now - back <= 60
    assert tickets(world)[:3] == [5, 6, 7]
    assert [ticket for ticket in tickets(world)[3:] if ticket is not None] == []
    await world.until(lambda: world.alerting.channels == {"webhook": None})


async def test_a_receiver_that_takes_nothing_for_five_minutes_is_an_alert_until_it_does(world: Notified) -> None:
    world.receiver.behave = refused
    world.deliver_to_webhook()
    await world.raise_alert(5)
    await world.for_a_while(290)
    assert [alert.code for alert in world.alerting.open.values()] == ["unmanaged_position"]
    await world.for_a_while(HOUR_S)
    undelivered = world.alerting.open[2]
    assert (undelivered.code, undelivered.about, undelivered.count) == ("alerts_undelivered", "webhook", 1)
    world.receiver.behave = None
    await world.until(lambda: world.alerting.open[2].over_at is not None)


async def test_what_was_not_delivered_is_delivered_by_the_next_process_and_the_rest_is_not_repeated(
    tmp_path: Path,
) -> None:
    receiver = Receiver()
    first = await begin(tmp_path, receiver)
    first.deliver_to_webhook()
    await first.raise_alert(5)
    await first.settled()
    receiver.behave = refused
    await first.raise_alert(6)
    await first.for_a_while(60)
    await first.end()

    receiver.behave = None
    second = await begin(tmp_path, receiver)
    second.deliver_to_webhook()
    await second.settled()
    await second.for_a_while(HOUR_S)
    await second.end()
    assert [message["ticket"] for message in receiver.messages] == [5, 6]


async def test_an_alarm_about_the_receiver_ends_although_another_process_raised_it(tmp_path: Path) -> None:
    receiver = Receiver(behave=refused)
    first = await begin(tmp_path, receiver)
    first.deliver_to_webhook()
    await first.raise_alert(5)
    await first.for_a_while(400)
    await first.end()
    receiver.behave = None
    second = await begin(tmp_path, receiver)
    second.deliver_to_webhook()
    await second.until(lambda: second.alerting.open[2].over_at is not None)
    await second.end()


async def test_an_answer_that_was_lost_brings_the_same_notice_again_under_the_same_name(world: Notified) -> None:
    async def lost() -> int:
        world.receiver.behave = None
        raise httpx.ReadError("connection reset")

    world.receiver.behave = lost
    world.deliver_to_webhook()
    await world.raise_alert(5)
    seen: list[str] = []
    await world.until(lambda: bool(world.receiver.taken))
    seen = [request.headers["X-DTMS-Delivery"] for request in world.receiver.taken]
    assert (world.receiver.asked, seen) == (2, ["417-1-1"])


async def test_a_delivery_that_could_not_be_stored_is_sent_again_rather_than_forgotten(
    world: Notified, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = world.ledger.commit
    await world.raise_alert(5)

    async def busy(_: object) -> int:
        raise StorageBusy

    monkeypatch.setattr(world.ledger, "commit", busy)
    world.deliver_to_webhook()
    await world.until(lambda: world.receiver.asked >= 2)
    monkeypatch.setattr(world.ledger, "commit", commit)
    await world.settled()
    assert {message["notice"]["id"] for message in world.receiver.messages} == {"417-1-1"}


async def test_what_a_person_has_taken_on_is_not_sent_any_more(world: Notified) -> None:
    world.receiver.behave = refused
    world.deliver_to_webhook()
    await world.raise_alert(5)
    await world.for_a_while(60)
    await world.alerting.acknowledge(1, by="anna", reason="")
    world.receiver.behave = None
    await world.for_a_while(120)
    assert world.receiver.messages == []


async def test_many_alerts_come_in_few_messages_the_oldest_first(world: Notified) -> None:
    for ticket in range(1, 2 * AT_ONCE + 2):
        await world.raise_alert(ticket, at=ticket)
    world.deliver_to_webhook()
    await world.settled()
    assert len(world.receiver.taken) == 3
    assert tickets(world) == list(range(1, 2 * AT_ONCE + 2))


@pytest.mark.parametrize("status", [301, 400, 401, 404, 410, 429, 500, 503])
async def test_any_answer_but_success_is_no_delivery(world: Notified, status: int) -> None:
    async def answering() -> int:
        return status

    world.receiver.behave = answering
    world.deliver_to_webhook()
    await world.raise_alert(5)
    await world.for_a_while(60)
    assert str(world.alerting.channels["webhook"]) == f"receiver.example answered {status}"
    world.receiver.behave = None
    await world.settled()
    assert tickets(world) == [5]


async def test_a_receiver_that_hangs_is_given_up_and_holds_up_neither_the_log_nor_a_cycle(
    world: Notified, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(posting, "TAKE_S", 0.02)
    world.receiver.behave = hanging
    world.deliver_to_webhook()
    world.tasks.append(asyncio.create_task(deliver(world.alerting, LogLines(), world.time.pace)))
    with caplog.at_level(logging.INFO):
        await world.raise_alert(5)
        await world.until(lambda: "log" in world.alerting.open[1].delivered)
        await world.record.write(facts={"a cycle": "writes meanwhile"})
        while world.receiver.asked < 2:
            await asyncio.sleep(0.001)
    (line,) = [record for record in caplog.records if record.message == "alert"]
    assert (line.levelname, line.__dict__["code"], line.__dict__["ticket"]) == ("WARNING", "unmanaged_position", 5)
    assert "did not answer within" in str(world.alerting.channels["webhook"])


async def test_neither_the_address_nor_the_secret_is_in_the_log(
    world: Notified, caplog: pytest.LogCaptureFixture
) -> None:
    world.receiver.behave = refused
    world.deliver_to_webhook()
    with caplog.at_level(logging.DEBUG, logger="dtms_service"):
        await world.raise_alert(5)
        await world.for_a_while(60)
    told = " ".join(str(record.__dict__) for record in caplog.records if record.name.startswith("dtms_service"))
    assert "alerts_not_taken" in told
    assert URL not in told
    assert "private" not in told
    assert SECRET not in told


async def test_a_critical_alert_is_delivered_again_every_hour_until_it_is_acknowledged(world: Notified) -> None:
    def numbers() -> list[int]:
        return [message["notice"]["number"] for message in world.receiver.messages]

    world.deliver_to_webhook()
    await world.raise_alert(5, code="stop_removed")  # an hour before the engine's time here
    await world.until(lambda: numbers() == [1])
    world.tasks.append(asyncio.create_task(remind(world.alerting, world.time.pace)))
    await world.until(lambda: numbers() == [1, 2])
    await world.for_a_while(600)
    assert numbers() == [1, 2]
    world.alerting._clock.now_s += 3600
    await world.until(lambda: numbers() == [1, 2, 3])
    await world.alerting.acknowledge(1, by="anna", reason="stop is set")
    world.alerting._clock.now_s += 3600
    await world.for_a_while(600)
    assert numbers() == [1, 2, 3]


async def test_the_end_of_a_critical_alert_wakes_nobody_through_the_log(
    world: Notified, caplog: pytest.LogCaptureFixture
) -> None:
    world.tasks.append(asyncio.create_task(deliver(world.alerting, LogLines(), world.time.pace)))
    with caplog.at_level(logging.INFO):
        await world.raise_alert(5, code="stop_removed")
        await world.until(lambda: not world.alerting.owed_to("log"))
        over = alerts.over_event(1_767_600_060.0, "stop_removed", "a stop is set", ticket=5)
        await world.record.write(events=[over])
        await world.until(lambda: not world.alerting.owed_to("log"))
    lines = [(r.levelname, r.message) for r in caplog.records if r.message.startswith("alert")]
    assert lines == [("CRITICAL", "alert"), ("INFO", "alert_over")]


async def test_a_critical_alert_that_was_over_before_the_log_took_it_is_critical_there(
    world: Notified, caplog: pytest.LogCaptureFixture
) -> None:
    await world.raise_alert(5, code="stop_removed")
    over = alerts.over_event(1_767_600_060.0, "stop_removed", "a stop is set", ticket=5)
    await world.record.write(events=[over])
    world.tasks.append(asyncio.create_task(deliver(world.alerting, LogLines(), world.time.pace)))
    with caplog.at_level(logging.INFO):
        await world.until(lambda: not world.alerting.owed_to("log"))
    assert [(r.levelname, r.message) for r in caplog.records if r.message == "alert"] == [("CRITICAL", "alert")]
