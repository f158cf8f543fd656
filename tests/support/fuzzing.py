"""Everything the API's own document allows, and much that it forbids, asked of the real service in one process.

The engine, the ledger and the simulated terminal are the real ones; only the socket is left out, and one step of the
market is a minute at most, because a year of cycles is asked for as easily as a second.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import schemathesis
from engine_world import World, open_world
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import Status, events, from_schema
from starlette.types import Receive, Scope, Send

from dtms_service.api.app import make_app
from dtms_service.api.doors import Access
from dtms_service.domain.trade import Mode

STEP_S = 60.0
HOST = "testserver"
"""What the tool calls the service."""
POSITIONS = 4
TICKETS = range(1_000_001, 1_000_001 + 2 * POSITIONS)
"""What the simulated broker calls its first positions."""
TOLD = [*range(200, 500), 503]
"""503 is an answer, with Retry-After: not accepting, storage busy, not ready. Other errors of 500 and above are not."""
ACCEPTED = ["2xx", "401", "403", "404", "405", "409", "429", "503"]
"""What may answer a request that its schema allows."""
BEYOND_SCHEMA = {
    "/dtms/events": "a position past the end of the ledger",
    "/dtms/news": "news that end before they begin",
    "/dtms/control/{verb}": "text with control characters",
    "/dtms/trades/{ticket}": "managed_by that is no owner; text with control characters",
    "/dtms/trades/{ticket}/owner": "text with control characters",
    "/dtms/trade/enable": "any order result is allowed, not every one can be understood",
    "/dtms/alerts/{alert_id}/ack": "text with control characters",
    "/simulator/positions": "a symbol that is not in the catalogue, a level on the wrong side",
    "/simulator/positions/{ticket}": "a level on the wrong side, more volume than there is",
    "/simulator/market": "a symbol that is not in the catalogue",
    "/simulator/advance": "seconds and until together",
    "/simulator/faults": "a kind that does not exist",
}
"""Paths whose 422 may also answer what the schema allows, and what for; nowhere else."""


class Short:
    """The authority, whose steps are short."""

    def __init__(self, world: World) -> None:
        self._dtms = world.dtms

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dtms, name)

    async def advance(self, *, seconds: float | None, until: float | None) -> Mapping[str, Any]:
        if seconds is None and until is None:
            return await self._dtms.advance(seconds=None, until=None)
        now = self._dtms.now()
        goal = until if until is not None else now + (seconds or 0.0)
        return await self._dtms.advance(seconds=None, until=min(goal, now + STEP_S))


class Service:
    """An ASGI application that opens its world when it is started, on the loop that will ask it."""

    def __init__(self, folder: Path, mode: Mode = Mode.PROTECT) -> None:
        self._folder = folder
        self._mode = mode

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self.app(scope, receive, send)
            return
        assert (await receive())["type"] == "lifespan.startup"
        await self.open()
        await send({"type": "lifespan.startup.complete"})
        assert (await receive())["type"] == "lifespan.shutdown"
        await self.world.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def open(self) -> None:
        """Open the world: four positions, two of them registered."""
        self.world = await open_world(self._folder, mode=self._mode)
        tickets = [await self.world.open() for _ in range(POSITIONS)]
        await self.world.register(*tickets[: POSITIONS // 2])
        await self.world.advance(0)
        numbers = iter(range(1, 1 << 60))
        access = Access(new_id=lambda: f"made-{next(numbers)}", hosts=frozenset({HOST}))
        self.app = make_app(
            Short(self.world),
            simulator=self.world.simulator,
            version="0",
            instance_id="7f3a",
            access=access,
            lag=lambda: 0.0,
        )


@dataclass
class Found:
    """What a run asked and what it found."""

    cases: int = 0
    checks: int = 0
    phases: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    failures: dict[str, str] = field(default_factory=dict)
    """Title and operation -> how to ask it again."""
    errors: list[str] = field(default_factory=list)


def config(seed: int, examples: int) -> SchemathesisConfig:
    """All checks but one. The tickets of open positions are tried among all other numbers."""
    beyond = {"expected-statuses": [*ACCEPTED, "422"]}
    return SchemathesisConfig.from_dict(
        {
            "seed": seed,
            "max-stream-events": 1,  # the first one comes at once; the next one may take its time
            "suppress-health-check": ["all"],
            "generation": {"max-examples": examples, "database": "none", "no-shrink": True},
            "checks": {
                "not_a_server_error": {"expected-statuses": TOLD},
                "positive_data_acceptance": {"expected-statuses": ACCEPTED},
                "negative_data_rejection": {"expected-statuses": ["4xx", "503"]},
                # a trade that was released stays in the list, with its new owner
                "use_after_free": {"enabled": False},
            },
            "operations": [
                {"include-path": path, "checks": {"positive_data_acceptance": beyond}} for path in BEYOND_SCHEMA
            ],
            # sequences put words of a path where numbers belong
            "phases": {"stateful": {"checks": {"positive_data_acceptance": beyond}}},
            "dictionaries": {"tickets": {"values": [*TICKETS]}},
            "parameters": {"ticket": {"dictionary": "tickets", "probability": 0.5}},
        }
    )


def fuzz(seed: int, examples: int) -> Found:
    """One run over every operation: examples, coverage, random cases, sequences."""
    found = Found()
    with tempfile.TemporaryDirectory() as folder:
        service = Service(Path(folder))
        schema = schemathesis.openapi.from_asgi("/openapi.json", service, config=config(seed, examples))
        for event in from_schema(schema).execute():
            note(event, found)
    return found


def note(event: object, found: Found) -> None:
    if isinstance(event, events.ScenarioFinished):
        recorder = event.recorder
        found.cases += len(recorder.interactions)
        found.phases[event.phase.value] += len(recorder.interactions)
        for interaction in recorder.interactions.values():
            if interaction.response is not None:
                found.statuses[interaction.response.status_code] += 1
        for checks in recorder.checks.values():
            found.checks += len(checks)
            for check in checks:
                if check.status is Status.FAILURE and check.failure_info is not None:
                    failure = check.failure_info
                    key = f"{recorder.label}: {failure.failure.title}"
                    found.failures.setdefault(key, f"{failure.failure.message}\n{failure.code_sample}")
    elif isinstance(event, events.NonFatalError | events.FatalError):
        found.errors.append(repr(getattr(event, "value", None) or getattr(event, "exception", None)))
