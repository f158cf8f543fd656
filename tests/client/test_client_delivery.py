"""What becomes of a registration, for both clients alike."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from dtms_client import (
    AsyncDtmsClient,
    Conflict,
    DtmsClient,
    Invalid,
    NotFound,
    NotReady,
    OutboxUnavailable,
    Registration,
    Rejected,
    Unauthorized,
    Unreachable,
)
from dtms_client.delivery import Outbox
from dtms_client.spool import NEW, REJECTED, Spool, entries
from dtms_client.testing import FakeDtms

URL = "http://dtms.test"


class Both:
    """One face over both clients, so that every sentence below is checked for each."""

    def __init__(self, kind: str, transport: Any, **given: Any) -> None:
        cls = DtmsClient if kind == "sync" else AsyncDtmsClient
        self.client = cls(URL, transport=transport, retries=1, **given)
        self.outbox: Outbox = self.client.outbox

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.client, name)

        def run(*args: Any, **fields: Any) -> Any:
            found = method(*args, **fields)
            return asyncio.run(found) if asyncio.iscoroutine(found) else found

        return run


@pytest.fixture(params=["sync", "async"])
def both(request: pytest.FixtureRequest) -> Callable[..., Both]:
    return lambda transport, **given: Both(request.param, transport, **given)


Make = Callable[..., Both]


def test_a_confirmed_registration_leaves_nothing_on_disk(both: Make, dtms: FakeDtms, outbox_dir: Path) -> None:
    done = both(dtms).register(1, {"symbol": "EURUSD", "direction": "buy"})
    assert (done.outcome, done.protected, done.replayed, done.kind) == ("protected", True, False, "mt5")
    assert done.trade.symbol == "EURUSD"
    assert entries(outbox_dir) == []


def test_it_is_on_disk_before_it_is_sent(both: Make, outbox_dir: Path) -> None:
    seen: list[int] = []

    def look(request: httpx.Request) -> httpx.Response:
        seen.append(len(entries(outbox_dir)))
        raise httpx.ConnectError("refused", request=request)

    assert both(httpx.MockTransport(look)).register(1).outcome == "queued"
    assert seen[0] == 1


def test_a_repeat_is_told_from_a_first_registration(both: Make, dtms: FakeDtms) -> None:
    client = both(dtms)
    client.register(1)
    done = client.register(1)
    assert (done.outcome, done.replayed, done.protected) == ("already_protected", True, True)


def test_observe_mode_is_an_outcome_not_an_error(both: Make, dtms: FakeDtms, outbox_dir: Path) -> None:
    dtms.mode = "observe"
    done = both(dtms).register(1)
    assert (done.outcome, done.protected, done.safe) == ("observed", False, False)
    assert entries(outbox_dir) == []


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="<html>hello</html>"),
        httpx.Response(200, json={"message": "another service"}),
        httpx.Response(200, json={"outcome": "unheard of", "protected": True}),
        httpx.Response(201, content=b""),
        httpx.Response(302, headers={"location": "http://elsewhere"}),
        httpx.Response(400, text="bad request"),
        httpx.Response(404, json={"detail": "Not Found"}),
        httpx.Response(422, json={"detail": [{"loc": ["body"]}]}),
        httpx.Response(500, text="Internal Server Error"),
        httpx.Response(503, text="upstream"),
    ],
)
def test_an_answer_that_dtms_would_not_give_keeps_the_registration(
    both: Make, answer: httpx.Response, outbox_dir: Path
) -> None:
    """R48: something else on the port must not swallow a trade."""
    transport = httpx.MockTransport(lambda _: httpx.Response(answer.status_code, content=answer.content))
    assert both(transport).register(1).outcome == "queued"
    assert len(entries(outbox_dir)) == 1
    assert entries(outbox_dir, REJECTED) == []


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (409, "registration_conflict", Conflict),
        (422, "validation_failed", Invalid),
        (400, "validation_failed", Invalid),
    ],
)
def test_a_definite_no_is_raised_and_kept_with_its_reason(
    both: Make, dtms: FakeDtms, outbox_dir: Path, status: int, code: str, error: type[Rejected]
) -> None:
    dtms.refusals[1] = (status, code)
    heard: list[int] = []
    client = both(dtms)
    client.outbox.on_unprotected = lambda ticket, _: heard.append(ticket)
    with pytest.raises(error) as caught:
        client.register(1)
    assert caught.value.problem is not None
    assert caught.value.problem.code == code
    assert entries(outbox_dir) == []
    (rejected,) = entries(outbox_dir, REJECTED)
    assert rejected.reason()["code"] == code
    assert heard == [1]


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (401, "unauthorized", Unauthorized),
        (403, "forbidden", Unauthorized),
    ],
)
def test_a_wrong_token_keeps_the_registration_and_raises(
    both: Make, dtms: FakeDtms, outbox_dir: Path, status: int, code: str, error: type[Rejected]
) -> None:
    dtms.refusals[1] = (status, code)
    heard: list[int] = []
    client = both(dtms)
    client.outbox.on_unprotected = lambda ticket, _: heard.append(ticket)
    with pytest.raises(error):
        client.register(1)
    assert len(entries(outbox_dir)) == 1
    assert heard == [1]


def test_a_host_that_is_not_allowed_is_a_setting_to_correct_not_a_bad_registration(
    both: Make, dtms: FakeDtms, outbox_dir: Path
) -> None:
    dtms.refusals[1] = (421, "host_not_allowed")
    with pytest.raises(Rejected):
        both(dtms).register(1)
    assert len(entries(outbox_dir)) == 1


@pytest.mark.parametrize(("status", "code"), [(503, "not_accepting"), (429, "rate_limited"), (500, "internal_error")])
def test_a_service_that_cannot_now_leaves_it_queued(
    both: Make, dtms: FakeDtms, outbox_dir: Path, status: int, code: str
) -> None:
    dtms.refusals[1] = (status, code)
    done = both(dtms).register(1)
    assert (done.outcome, done.protected, done.safe) == ("queued", False, True)
    assert len(entries(outbox_dir)) == 1


def test_a_split_order_travels_as_one_batch_and_its_weakest_part_speaks(both: Make, dtms: FakeDtms) -> None:
    dtms.refusals[13] = (503, "storage_busy")
    parts = [{"ok": True, "details": {"ticket": ticket}} for ticket in (11, 12, 13)]
    done: Registration = both(dtms).register(13, {"parts": parts, "symbol": "XAUUSD", "direction": "buy"})
    assert [request.url.path for request in dtms.requests][:1] == ["/dtms/trades/batch"]
    assert (done.ticket, done.outcome, done.protected) == (13, "queued", False)
    assert [part.outcome for part in done.parts] == ["protected", "protected", "queued"]


def test_a_batch_answers_each_item_on_its_own(both: Make, dtms: FakeDtms, outbox_dir: Path) -> None:
    dtms.refusals |= {2: (409, "registration_conflict"), 4: (503, "storage_busy")}
    found = both(dtms).register_batch([{"ticket": 1}, {"ticket": 2}, {"ticket": 0}, {"ticket": 4}, {"ticket": "5"}])
    assert [(one.ticket, one.outcome) for one in found] == [
        (1, "protected"),
        (2, "rejected"),
        (0, "rejected"),
        (4, "queued"),
        (5, "protected"),
    ]
    assert isinstance(found[1].error, Conflict)
    assert [entry.load().body["ticket"] for entry in entries(outbox_dir, REJECTED)] == [2]


def test_a_long_batch_is_cut_into_pieces_the_service_takes(both: Make, dtms: FakeDtms, outbox_dir: Path) -> None:
    found = both(dtms, spool="off").register_batch({"ticket": ticket} for ticket in range(1, 1002))
    assert len(found) == len(dtms.trades) == 1001
    assert len(dtms.requests) == 3


def test_a_batch_whose_results_are_not_its_own_is_not_believed(both: Make, outbox_dir: Path) -> None:
    def other(_: httpx.Request) -> httpx.Response:
        results = [{"ticket": 99, "status": 201, "outcome": "protected", "protected": True}]
        return httpx.Response(200, json={"results": results, "accepted": 1, "rejected": 0})

    found = both(httpx.MockTransport(other)).register_batch([{"ticket": 1}, {"ticket": 2}])
    assert {one.outcome for one in found} == {"queued"}
    assert len(entries(outbox_dir)) == 2


def test_a_batch_that_is_refused_as_a_whole_rejects_none_of_its_items(both: Make, outbox_dir: Path) -> None:
    problem = {"title": "too large", "detail": "d", "status": 413, "code": "payload_too_large", "definite": True}
    transport = httpx.MockTransport(lambda _: httpx.Response(413, json=problem))
    found = both(transport).register_batch([{"ticket": 1}, {"ticket": 2}])
    assert [one.outcome for one in found] == ["queued", "queued"]


def test_without_a_disk_the_service_is_still_asked(
    both: Make, dtms: FakeDtms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DTMS_SPOOL_DIR", str(tmp_path / "file"))
    client = both(dtms)
    assert client.register(1).protected
    assert "cannot store" in caplog.text
    dtms.reachable = False
    heard: list[str] = []
    client.outbox.on_unprotected = lambda _, reason: heard.append(reason)
    with pytest.raises(OutboxUnavailable, match=r"cannot store.*refused"):
        client.register(2)
    assert len(heard) == 1
    assert "CRITICAL" in [record.levelname for record in caplog.records]


def test_on_failure_stores_only_what_could_not_be_delivered(both: Make, dtms: FakeDtms, outbox_dir: Path) -> None:
    client = both(dtms, spool="on_failure")
    assert client.register(1).protected
    assert not outbox_dir.exists()
    dtms.reachable = False
    assert client.register(2).outcome == "queued"
    assert len(entries(outbox_dir)) == 1


@pytest.mark.parametrize(("reachable", "error"), [(True, NotReady), (False, Unreachable)])
def test_without_an_outbox_every_failure_is_raised(
    both: Make, dtms: FakeDtms, outbox_dir: Path, reachable: bool, error: type[Exception]
) -> None:
    dtms.reachable, dtms.accepting = reachable, False
    with pytest.raises(error):
        both(dtms, spool="off").register(1)
    assert not outbox_dir.exists()


def test_flush_delivers_what_waits_and_says_what_is_left(both: Make, dtms: FakeDtms, outbox_dir: Path) -> None:
    dtms.reachable = False
    client = both(dtms)
    for ticket in (1, 2, 3):
        client.register(ticket)
    assert client.flush(0.05) == 3
    dtms.reachable = True
    assert client.flush(5) == 0
    assert set(dtms.trades) == {1, 2, 3}


def test_flush_asks_again_for_an_item_that_alone_was_told_to_wait(both: Make, dtms: FakeDtms, outbox_dir: Path) -> None:
    dtms.refusals[2] = (503, "not_accepting")

    def forgiving(request: httpx.Request) -> httpx.Response:
        answer = dtms.handle_request(request)
        dtms.refusals.clear()
        return answer

    client = both(httpx.MockTransport(forgiving))  # nothing waits yet, so no background thread helps
    for ticket in (1, 2):
        Spool(outbox_dir).write({"ticket": ticket}, URL)
    assert client.flush(5.0) == 0
    assert set(dtms.trades) == {1, 2}


def test_flush_sets_damaged_files_aside_and_delivers_the_rest(both: Make, dtms: FakeDtms, outbox_dir: Path) -> None:
    spool = Spool(outbox_dir)
    spool.write({"ticket": 1}, URL)
    spool.write({"ticket": -1}, URL)
    (outbox_dir / NEW / "00000000000000000001-1-a.json").write_text("torn")
    assert both(dtms).flush(5) == 0
    assert set(dtms.trades) == {1}
    assert sorted(entry.reason()["code"] for entry in entries(outbox_dir, REJECTED)) == ["damaged", "damaged"]


def test_flush_tries_the_items_of_a_refused_batch_one_by_one(both: Make, outbox_dir: Path) -> None:
    fake = FakeDtms()
    problem = {"title": "no", "detail": "no", "status": 422, "code": "validation_failed", "definite": True}

    def no_batches(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/batch"):
            return httpx.Response(422, json=problem)
        return fake.handle_request(request)

    spool = Spool(outbox_dir)
    fake.refusals[2] = (422, "validation_failed")
    for ticket in (1, 2, 3):
        spool.write({"ticket": ticket}, URL)
    assert both(httpx.MockTransport(no_batches)).flush(5) == 0
    assert set(fake.trades) == {1, 3}
    assert [entry.load().body["ticket"] for entry in entries(outbox_dir, REJECTED)] == [2]


def test_what_was_stored_for_another_address_stays(both: Make, dtms: FakeDtms, outbox_dir: Path) -> None:
    """A token is sent only to the address its client was made with, never to one that a file names."""
    Spool(outbox_dir).write({"ticket": 1}, "http://elsewhere:1")
    client = both(dtms)
    client.flush(1)
    assert dtms.requests == []
    assert len(entries(outbox_dir)) == 1


def test_the_program_names_itself_unless_the_caller_does(both: Make, dtms: FakeDtms) -> None:
    client = both(dtms)
    client.register(1)
    client.register(2, source="telegram")
    assert dtms.trades[1]["source"]
    assert dtms.trades[2]["source"] == "telegram"


def test_what_was_left_out_is_said(both: Make, dtms: FakeDtms, caplog: pytest.LogCaptureFixture) -> None:
    assert both(dtms).register(1, {"stop_loss": "close"}).protected
    assert "stop_loss='close'" in caplog.text


def test_a_token_travels_in_its_header_and_shows_nowhere(
    both: Make, dtms: FakeDtms, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    client = both(dtms, token="canary-7f3a")  # noqa: S106 - a canary
    client.register(1)
    assert dtms.requests[0].headers["authorization"] == "Bearer canary-7f3a"
    dtms.refusals[2] = (401, "unauthorized")
    with pytest.raises(Unauthorized) as caught:
        client.register(2)
    assert "canary" not in caplog.text + repr(caught.value) + repr(client.client.target)


def test_reads_return_what_the_service_says(both: Make, dtms: FakeDtms) -> None:
    client = both(dtms)
    client.register(1, symbol="EURUSD", side="sell")
    assert client.trade(1).side == "SELL"
    assert client.trades(state="HEALTHY", include_closed=True, limit=5, symbol=None).count == 1
    assert dict(dtms.requests[-1].url.params) == {"state": "HEALTHY", "include_closed": "true", "limit": "5"}
    assert client.status()["dtms_status"]["active_trades"] == 1
    assert client.actions(ticket=1) == []
    assert client.history(1) == []
    assert client.explain(1)["ticket"] == 1


def test_a_trade_is_handed_over_and_released_and_its_managers_ask(both: Make, dtms: FakeDtms) -> None:
    client = both(dtms)
    client.register(1, symbol="EURUSD", side="sell")
    assert client.may_modify(1, manager="intelligent_exits", action="trail").allowed
    assert dict(dtms.requests[-1].url.params) == {"manager": "intelligent_exits", "action": "trail"}
    given = client.hand_over(1, owner="universal_manager", reason="its strategy goes on", by="anna")
    assert (given.trade.owner, given.trade.protected, given.unwinding) == ("universal_manager", False, False)
    assert json.loads(dtms.requests[-1].content) == {
        "owner": "universal_manager",
        "reason": "its strategy goes on",
        "by": "anna",
    }
    assert client.release(1, reason="closed by hand").trade.owner == "manual"
    assert dict(dtms.requests[-1].url.params)["reason"] == "closed by hand"
    assert dict(dtms.requests[-1].url.params)["by"]  # the program names itself
    for ask in (client.release, lambda ticket: client.hand_over(ticket, owner="dtms")):
        with pytest.raises(NotFound):
            ask(2)


def test_a_callback_given_at_the_beginning_hears_of_a_trade_that_may_stay_unprotected(
    both: Make, dtms: FakeDtms
) -> None:
    heard: list[tuple[int, str]] = []
    client = both(dtms, on_unprotected=lambda ticket, why: heard.append((ticket, why)))
    dtms.refusals[1] = (409, "registration_conflict")
    with pytest.raises(Conflict):
        client.register(1)
    assert [ticket for ticket, _ in heard] == [1]


def test_a_spool_mode_that_does_not_exist_is_refused(both: Make, dtms: FakeDtms) -> None:
    with pytest.raises(Invalid, match="sometimes"):
        both(dtms, spool="sometimes")


def test_every_client_hears_of_its_own_trade_even_when_another_one_heard_of_it_before(
    both: Make, dtms: FakeDtms, outbox_dir: Path
) -> None:
    dtms.refusals[1] = (401, "unauthorized")
    heard: list[str] = []
    for name in ("first", "second"):
        client = both(dtms)
        client.outbox.on_unprotected = lambda _ticket, _why, name=name: heard.append(name)
        with pytest.raises(Unauthorized):
            client.register(1)
    assert heard == ["first", "second"]
