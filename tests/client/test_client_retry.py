from __future__ import annotations

import json

import httpx
import pytest
from client_world import Turned

from dtms_client import AsyncDtmsClient, DtmsClient, NotDtms, NotReady, Rejected, Unreachable
from dtms_client.calls import Call, Reply, retry_after
from dtms_client.clock import Clock
from dtms_client.retry import BUDGET, Budget, pause, worth_repeating

TRADES = {"trades": [], "count": 0, "next_cursor": None, "as_of": "2026-01-05T08:00:00Z"}


def refusal(status: int, code: str = "not_accepting", *, retryable: bool = True, **headers: str) -> httpx.Response:
    body = {"title": "t", "detail": "d", "status": status, "code": code, "retryable": retryable, "definite": True}
    return httpx.Response(status, json=body, headers={name.replace("_", "-"): text for name, text in headers.items()})


class Service(httpx.MockTransport):
    """Answers what it is told, in turn; the last answer for ever. An exception class is raised."""

    def __init__(self, *answers: httpx.Response | type[httpx.RequestError]) -> None:
        super().__init__(self._next)
        self.answers = list(answers)
        self.seen = 0

    def _next(self, request: httpx.Request) -> httpx.Response:
        self.seen += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, httpx.Response):
            return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)
        raise answer("broken", request=request)


def client(time: Turned, service: Service, **given: object) -> DtmsClient:
    class Timed(DtmsClient):
        clock: Clock = time.clock()  # type: ignore[misc]

    return Timed("http://dtms.test", transport=service, spool="off", **given)  # type: ignore[arg-type]


def good() -> httpx.Response:
    return httpx.Response(200, json=TRADES)


def test_a_busy_service_is_asked_again_after_the_time_it_named(time: Turned) -> None:
    service = Service(refusal(503, retry_after="2"), good())
    assert client(time, service).trades().count == 0
    assert (service.seen, time.slept) == (2, [2.0])


def test_without_a_hint_the_waits_double_with_full_jitter(time: Turned) -> None:
    service = Service(httpx.ReadTimeout)
    with pytest.raises(Unreachable):
        client(time, service, retries=6, timeout=60.0).trades()
    assert time.slept == pytest.approx([0.2, 0.4, 0.8, 1.6, 2.0])
    time.jitter = 0.0
    assert pause(Unreachable(), 5, time.clock().uniform) == 0.0


def test_attempts_end_at_their_number(time: Turned) -> None:
    service = Service(httpx.ReadError)
    with pytest.raises(Unreachable):
        client(time, service, retries=3).trades()
    assert service.seen == 3


def test_attempts_end_at_the_total_deadline_whatever_the_server_asks(time: Turned) -> None:
    service = Service(refusal(503, retry_after="30"))
    started = time.now
    with pytest.raises(NotReady):
        client(time, service, retries=10, timeout=5.0).trades()
    assert (service.seen, time.now - started) == (1, 0.0)


def test_a_refused_connection_is_not_tried_again_within_the_call(time: Turned) -> None:
    service = Service(httpx.ConnectError)
    with pytest.raises(Unreachable) as caught:
        client(time, service).trades()
    assert service.seen == 1
    assert not caught.value.connected


def test_a_definite_no_is_not_tried_again(time: Turned) -> None:
    service = Service(refusal(422, "validation_failed", retryable=False))
    with pytest.raises(Rejected):
        client(time, service).trades()
    assert service.seen == 1


def test_the_servers_word_against_repeating_is_obeyed_even_for_a_503(time: Turned) -> None:
    service = Service(refusal(503, retryable=False))
    with pytest.raises(NotReady):
        client(time, service).trades()
    assert service.seen == 1


def test_something_that_is_not_dtms_is_not_tried_again(time: Turned) -> None:
    service = Service(httpx.Response(200, text="<html>"))
    with pytest.raises(NotDtms):
        client(time, service).trades()
    assert service.seen == 1


def test_a_call_that_is_not_safe_to_repeat_is_sent_once(time: Turned) -> None:
    service = Service(httpx.ReadTimeout)
    with pytest.raises(Unreachable):
        client(time, service).call(Call("POST", "/x", lambda reply: reply.status, repeatable=False))
    assert service.seen == 1


async def test_the_asynchronous_client_follows_the_same_policy(time: Turned) -> None:
    class Timed(AsyncDtmsClient):
        clock: Clock = time.clock()  # type: ignore[misc]

    service = Service(refusal(503, retry_after="1"), httpx.ReadTimeout, good())
    async with Timed("http://dtms.test", transport=service, spool="off") as client:
        assert (await client.trades()).count == 0
    assert (service.seen, time.slept) == (3, pytest.approx([1.0, 0.4]))


def test_an_outage_is_amplified_by_little_until_the_service_is_back(time: Turned) -> None:
    service = Service(httpx.ReadTimeout)
    asking = client(time, service, retries=4)
    for _ in range(100):
        with pytest.raises(Unreachable):
            asking.trades()
    assert service.seen == 100 + BUDGET // 10  # a timeout costs 10 of 100
    service.answers = [good()]
    for _ in range(BUDGET):
        asking.trades()
    service.answers, before = [httpx.ReadTimeout], service.seen
    with pytest.raises(Unreachable):
        asking.trades()
    assert service.seen - before == 4


def test_the_budget_never_exceeds_its_size() -> None:
    budget = Budget()
    budget.refund()
    assert budget.tokens == BUDGET


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("2", 2.0), ("86400", 30.0), ("", None), ("-1", None), ("soon", None), ("1e9", None), ("²", None)],
)
def test_the_wait_a_server_asks_for_is_bounded(header: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": header}) == seconds


def test_nothing_else_is_worth_repeating() -> None:
    assert not worth_repeating(None)
    assert not worth_repeating(ValueError())


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{}", b"[" * 100_000, b"\xff\xfe", b'{"status":"live"}'])
def test_a_body_that_dtms_would_not_send_is_not_dtms(body: bytes) -> None:
    for status in (200, 404, 503):
        with pytest.raises(NotDtms):
            Call("GET", "/x", lambda reply: json.loads(reply.body)["needed"]["x"]).answer(
                Reply(status, {}, b"nope" + body)
            )
