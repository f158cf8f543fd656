from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from client_world import Turned

from dtms_client import AsyncDtmsClient, DtmsClient, NotDtms, NotReady, Rejected, Unreachable
from dtms_client.clock import Clock
from dtms_client.testing import FakeDtms


def wait(kind: str, time: Turned, transport: Any, seconds: float = 60.0) -> Any:
    class Sync(DtmsClient):
        clock: Clock = time.clock()  # type: ignore[misc]

    class Async(AsyncDtmsClient):
        clock: Clock = time.clock()  # type: ignore[misc]

    if kind == "sync":
        return Sync("http://dtms.test", transport=transport).wait_ready(seconds)
    return asyncio.run(Async("http://dtms.test", transport=transport).wait_ready(seconds))


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Starting(FakeDtms):
    """Unreachable for two looks, not ready for two more, then ready."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.looks = getattr(self, "looks", 0) + 1
        self.reachable = self.looks > 2
        self.ready = self.looks > 4
        return super().handle_request(request)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return self.handle_request(request)


def test_waiting_survives_the_whole_start(kind: str, time: Turned) -> None:
    assert wait(kind, time, Starting()).status == "ready"
    assert time.slept == [0.25] * 4


def test_time_that_is_up_names_the_reasons(kind: str, time: Turned, dtms: FakeDtms) -> None:
    dtms.ready = False
    started = time.now
    with pytest.raises(NotReady, match="connecting: the terminal is not connected yet"):
        wait(kind, time, dtms, 10.0)
    assert 9.5 <= time.now - started <= 10.0


def test_nobody_there_in_time_is_unreachable(kind: str, time: Turned, dtms: FakeDtms) -> None:
    dtms.reachable = False
    with pytest.raises(Unreachable):
        wait(kind, time, dtms, 1.0)


@pytest.mark.parametrize(
    "answer",
    [
        {"status_code": 200, "text": "hello"},
        {"status_code": 200, "json": {"status": "ready"}},
        {"status_code": 404, "json": {"detail": "Not Found"}},
        {"status_code": 503, "text": "busy"},
        {"status_code": 200, "json": {"status": "ready", "service": "phone-hub", "instance_id": "1", "version": "1"}},
    ],
)
def test_something_else_on_the_port_ends_the_waiting_at_once(kind: str, time: Turned, answer: dict[str, Any]) -> None:
    with pytest.raises(NotDtms):
        wait(kind, time, httpx.MockTransport(lambda _: httpx.Response(**answer)))
    assert time.slept == []


def test_something_that_differs_from_dtms_only_by_its_name_is_not_dtms(kind: str, time: Turned, dtms: FakeDtms) -> None:
    def renamed(request: httpx.Request) -> httpx.Response:
        body = FakeDtms().handle_request(request).json()
        return httpx.Response(200, json=body | {"service": "dtms2"})

    with pytest.raises(NotDtms):
        wait(kind, time, httpx.MockTransport(renamed))


def test_a_dtms_that_refuses_us_ends_the_waiting_at_once(kind: str, time: Turned) -> None:
    problem = {"title": "t", "detail": "host", "status": 421, "code": "host_not_allowed"}
    with pytest.raises(Rejected):
        wait(kind, time, httpx.MockTransport(lambda _: httpx.Response(421, json=problem)))
    assert time.slept == []
