"""``is_defensive``: never in the way of a stop, never a guess that is not said (contract.md 2, R25)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import httpx
import pytest
from client_world import Turned

from dtms_client import AsyncDtmsClient, DtmsClient, wiring
from dtms_client.clock import Clock
from dtms_client.defence import MOST, Answers
from dtms_client.errors import Unreachable
from dtms_client.testing import FakeDtms

Ask = Callable[[int], bool]


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest, dtms: FakeDtms, time: Turned) -> Ask:
    dtms.trades[1] = {"ticket": 1, "state": "HEDGED", "owner": "dtms"}
    dtms.trades[2] = {"ticket": 2, "state": "HEALTHY", "owner": "dtms"}
    if request.param == "sync":

        class Timed(DtmsClient):
            clock: Clock = time.clock()  # type: ignore[misc]

        return Timed("http://dtms.test", transport=dtms, spool="off").is_defensive

    class AsyncTimed(AsyncDtmsClient):
        clock: Clock = time.clock()  # type: ignore[misc]

    client = AsyncTimed("http://dtms.test", transport=dtms, spool="off")
    return lambda ticket: asyncio.run(client.is_defensive(ticket))


def test_it_is_what_dtms_says(ask: Ask) -> None:
    assert [ask(1), ask(2), ask(3)] == [True, False, False]  # 3 is unknown


def test_an_answer_is_good_for_ten_seconds(ask: Ask, dtms: FakeDtms, time: Turned) -> None:
    assert ask(1)
    dtms.trades[1]["state"] = "HEALTHY"
    time.sleep(10)
    assert ask(1)
    assert len(dtms.requests) == 1
    time.sleep(0.1)
    assert not ask(1)


def test_without_an_answer_the_last_known_one_holds_for_thirty_seconds_and_says_so(
    ask: Ask, dtms: FakeDtms, time: Turned, caplog: pytest.LogCaptureFixture
) -> None:
    assert ask(1)
    dtms.reachable = False
    time.sleep(29)
    assert ask(1)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "taken as defended, known for 29 s" in caplog.text
    time.sleep(1)
    assert ask(1)
    time.sleep(0.1)
    assert not ask(1)  # 30.1 s, although the last question was 1.1 s ago
    time.sleep(10)
    assert not ask(1)
    assert "taken as not defended" in caplog.text


def test_never_answered_is_not_defended_and_says_so(ask: Ask, dtms: FakeDtms, caplog: pytest.LogCaptureFixture) -> None:
    dtms.reachable = False
    assert not ask(1)
    assert "taken as not defended" in caplog.text


def test_a_service_that_hangs_is_asked_once_in_ten_seconds_and_then_believed_at_once(
    ask: Ask, dtms: FakeDtms, time: Turned
) -> None:
    dtms.latency_s = 60.0
    assert not ask(1)
    asked = len(dtms.requests)
    assert asked <= 2  # one retry
    time.sleep(9)
    assert not ask(1)
    assert len(dtms.requests) == asked
    dtms.latency_s = 0.0
    time.sleep(2)
    assert ask(1)


def test_one_question_takes_two_seconds_at_most(ask: Ask, dtms: FakeDtms) -> None:
    ask(1)
    assert dtms.requests[-1].extensions["timeout"]["read"] <= 2.0


def test_programs_that_make_a_client_per_question_share_what_is_known(
    monkeypatch: pytest.MonkeyPatch, time: Turned
) -> None:
    class Timed(DtmsClient):
        clock: Clock = time.clock()  # type: ignore[misc]

    monkeypatch.setattr(wiring, "_ANSWERS", {})
    Timed("http://127.0.0.1:9")._answers.heard(1, defensive=True)
    assert Timed("http://127.0.0.1:9").is_defensive(1)


def test_what_is_remembered_is_bounded(time: Turned) -> None:
    answers = Answers(time.clock())
    for ticket in range(MOST):
        answers.heard(ticket, defensive=True)
    time.sleep(31)
    answers.heard(MOST, defensive=True)
    assert len(answers._said) == 1
    assert not answers.missed(1, Unreachable())


def test_the_answer_of_the_service_is_asked_for_as_intelligent_exits(ask: Ask, dtms: FakeDtms) -> None:
    ask(1)
    assert dtms.requests[-1].url.path == "/dtms/trades/1/may-modify"
    assert httpx.QueryParams(dtms.requests[-1].url.query)["manager"] == "intelligent_exits"
