"""Concurrent registrations of one ticket behave as if each happened at one instant, whoever sends them and when."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import httpx
import pytest
from engine_world import World, open_world
from linear import Answer, Operation, is_linearizable

from dtms_client import AsyncDtmsClient, Conflict, Unreachable
from dtms_service.api.app import make_app
from dtms_service.api.doors import Access
from dtms_service.domain.record import Batch

HISTORIES = 120
CALLERS, EACH = 4, 3
CLAIMS = ("BUY EURUSD", "SELL EURUSD", "BUY XAUUSD")
FIRST, AGAIN, CONFLICT, LOST = Answer


class Losing(httpx.AsyncBaseTransport):
    """The application itself; now and then the request or its answer is lost, and time passes on the way."""

    def __init__(self, app: httpx.ASGITransport, chance: Random) -> None:
        self._app, self._chance = app, chance

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        lot = self._chance.random()
        await self._way()
        if lot < 0.05:
            raise httpx.ReadError("the request was lost", request=request)
        answer = await self._app.handle_async_request(request)
        await self._way()
        if lot > 0.90:
            await answer.aclose()
            raise httpx.ReadError("the answer was lost", request=request)
        return answer

    async def _way(self) -> None:
        for _ in range(self._chance.randrange(4)):
            await asyncio.sleep(0)


@dataclass
class Recorder:
    """Histories of many tickets against one service."""

    app: httpx.ASGITransport
    chance: Random
    clock: itertools.count[int] = field(default_factory=itertools.count)

    async def history(self, ticket: int) -> list[Operation]:
        found: list[Operation] = []
        await asyncio.gather(*(self._caller(ticket, found) for _ in range(CALLERS)))
        return found

    async def _caller(self, ticket: int, found: list[Operation]) -> None:
        transport = Losing(self.app, self.chance)
        async with AsyncDtmsClient("http://127.0.0.1", transport=transport, retries=1, spool="off") as client:
            for _ in range(EACH):
                claim = self.chance.choice(CLAIMS)
                side, symbol = claim.split()
                begun = next(self.clock)
                try:
                    done = await client.register(ticket, side=side, symbol=symbol)
                    answer = AGAIN if done.replayed else FIRST
                except Conflict:
                    answer = CONFLICT
                except Unreachable:
                    answer = LOST
                found.append(Operation(claim, begun, next(self.clock), answer))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    opened = await open_world(tmp_path)
    yield opened
    await opened.close()


def recorder(world: World) -> Recorder:
    """Commits take their time, as they do on their own thread: what is not guarded meanwhile would show."""
    names, chance, real = itertools.count(), Random(1), world.ledger.commit

    async def commit(batch: Batch) -> int:
        for _ in range(chance.randrange(1, 6)):
            await asyncio.sleep(0)
        return await real(batch)

    world.ledger.commit = commit  # type: ignore[method-assign]
    access = Access(new_id=lambda: f"r{next(names)}")
    app = make_app(world.dtms, simulator=world.simulator, version="0", instance_id="a", access=access)
    return Recorder(httpx.ASGITransport(app, raise_app_exceptions=False), chance)


async def test_every_recorded_history_is_linearizable(world: World) -> None:
    recording = recorder(world)
    seen: Counter[Answer] = Counter()
    for ticket in range(10**9, 10**9 + HISTORIES):
        history = await recording.history(ticket)
        assert is_linearizable(history), history
        seen.update(operation.answer for operation in history)
    assert seen[FIRST] <= HISTORIES
    assert min(seen[answer] for answer in Answer) > HISTORIES / 4, "all answers are among them"


async def test_registrations_that_do_not_wait_for_each_other_are_found_out(world: World) -> None:
    recording = recorder(world)
    world.dtms._registrar._turn = contextlib.nullcontext()  # type: ignore[assignment]
    histories = [await recording.history(ticket) for ticket in range(10**9, 10**9 + 20)]
    assert not all(map(is_linearizable, histories))


def of(*operations: tuple[str, int, int, Answer]) -> list[Operation]:
    return [Operation(*operation) for operation in operations]


@pytest.mark.parametrize(
    "history",
    [
        of(),
        of(("a", 0, 1, FIRST), ("a", 2, 3, AGAIN), ("b", 4, 5, CONFLICT)),
        of(("a", 0, 3, AGAIN), ("a", 1, 2, FIRST)),  # at the same time: the second one came first
        of(("a", 0, 3, CONFLICT), ("b", 1, 2, FIRST)),
        of(("a", 0, 1, LOST), ("b", 2, 3, CONFLICT), ("a", 4, 5, AGAIN)),  # the lost one took effect
        of(("a", 0, 1, LOST), ("b", 2, 3, FIRST), ("b", 4, 5, AGAIN)),  # it did not
        of(("a", 0, 1, LOST), ("b", 2, 3, FIRST), ("a", 4, 5, CONFLICT)),
    ],
)
def test_the_checker_accepts_what_is_possible(history: list[Operation]) -> None:
    assert is_linearizable(history)


@pytest.mark.parametrize(
    "history",
    [
        of(("a", 0, 1, AGAIN)),  # of what?
        of(("a", 0, 1, CONFLICT)),  # with what?
        of(("a", 0, 1, FIRST), ("a", 2, 3, FIRST)),  # registered twice
        of(("a", 0, 5, FIRST), ("b", 1, 4, FIRST)),  # two firsts, whatever the order
        of(("a", 0, 1, FIRST), ("b", 2, 3, AGAIN)),  # a contradiction was accepted
        of(("a", 0, 1, FIRST), ("a", 2, 3, CONFLICT)),  # the truth was refused
        of(("a", 0, 1, AGAIN), ("a", 2, 3, FIRST)),  # again before the first had begun
        of(("a", 0, 1, FIRST), ("b", 2, 3, CONFLICT), ("b", 4, 5, FIRST)),  # forgotten, and accepted anew
        of(("a", 0, 1, LOST), ("b", 2, 3, FIRST), ("a", 4, 5, AGAIN)),  # both hold
        of(("a", 2, 3, LOST), ("b", 0, 1, CONFLICT)),  # the lost one had not begun yet
    ],
)
def test_the_checker_refuses_what_is_not(history: list[Operation]) -> None:
    assert not is_linearizable(history)
