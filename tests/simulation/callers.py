"""Programs that open positions and register them, each at its own times, and that die on the way."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from network import Network

from dtms_client import AsyncDtmsClient
from dtms_client.clock import Clock
from dtms_client.delivery import Registration
from dtms_client.errors import Conflict, DtmsClientError
from dtms_service.domain.errors import DtmsError

TIMEOUT_S = 5.0
WAITS_S = (5.0, 600.0)
SOURCE = "caller"
"""Else the client names the program, which is another one for each test runner."""
OTHER = {"BUY": "SELL", "SELL": "BUY"}
TOLD: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "plain": lambda p: {"symbol": p["symbol"], "side": p["side"], "volume": p["volume"]},
    "of the old bot": lambda p: {"details": {"symbol": f"{p['symbol']}c", "direction": p["side"].lower()}},
    "in words": lambda p: {"symbol": p["symbol"], "volume": str(p["volume"]), "stop_loss": "0.0"},
    "nothing": lambda _: {},
}
"""What callers say of a position beside its ticket, in the ways that callers have."""


class SimulatedClient(AsyncDtmsClient):
    """The client in virtual time."""

    def __init__(self, clock: Clock, network: Network) -> None:
        self.clock = clock  # type: ignore[misc]  # a class variable elsewhere: there is one clock in a process
        super().__init__(timeout=TIMEOUT_S, retries=3, transport=network)


@dataclass
class Promises:
    """What callers were told, held against the ledger in the end."""

    safe: set[int] = field(default_factory=set)
    """Tickets of which a caller heard that they are protected or will be."""
    sides: dict[int, str] = field(default_factory=dict)
    """The side with which each position was opened."""
    broken: list[str] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)

    def told(self, ticket: int, answer: Registration, *, right: bool) -> None:
        """A registration was answered."""
        self.seen[f"registration {answer.outcome}"] += 1
        if right and answer.safe:
            self.safe.add(ticket)
        if not right and answer.outcome in {"protected", "already_protected", "observed"}:
            self.broken.append(f"{ticket} was registered with the wrong side: {answer.outcome}")

    def refused(self, ticket: int, error: DtmsClientError, *, right: bool) -> None:
        """It was refused."""
        self.seen[f"refused {type(error).__name__}"] += 1
        if right and isinstance(error, Conflict) and ticket in self.sides:
            self.broken.append(f"{ticket} was refused although all of it was right: {error.detail}")


@dataclass
class Caller:
    """One program, from one start to its death. ``opens`` opens a position; None where that is not possible."""

    client: SimulatedClient
    chance: random.Random
    opens: Callable[[], Awaitable[Mapping[str, Any] | None]]
    known: list[Mapping[str, Any]]
    promises: Promises

    async def live(self) -> None:
        """Go on for ever."""
        while True:
            await asyncio.sleep(self.chance.uniform(*WAITS_S))
            draw = self.chance.random()
            if self.known and draw < 0.25:
                await self.registers(self.chance.choice(self.known))
                continue
            opened = await self._opened()
            if opened is None:
                continue
            if draw < 0.35:
                await self.registers(opened, right=False)
            elif draw < 0.5:
                await asyncio.gather(*(self.registers(opened) for _ in range(3)))
                continue
            elif draw < 0.6:
                await self._registers_all([opened, *self.chance.sample(self.known, min(3, len(self.known)))])
                continue
            elif draw < 0.7:
                await asyncio.sleep(self.chance.uniform(*WAITS_S))
            await self.registers(opened)

    async def registers(self, position: Mapping[str, Any], *, right: bool = True) -> None:
        """Say that it is there; not ``right``: with the other side."""
        ticket, loop = position["ticket"], asyncio.get_running_loop()
        how = self.chance.choice([*TOLD]) if "side" in position else "nothing"
        claims = TOLD[how](position) if right else {"side": OTHER[position["side"]]}
        begun = loop.time()
        try:
            answer = await self.client.register(ticket, {**claims, "source": SOURCE})
            self.promises.told(ticket, answer, right=right)
        except DtmsClientError as error:
            self.promises.refused(ticket, error, right=right)
        self._in_time(loop.time() - begun, ticket)

    async def _registers_all(self, positions: Sequence[Mapping[str, Any]]) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        answers = await self.client.register_batch(
            [{"ticket": p["ticket"], "symbol": p["symbol"], "source": SOURCE} for p in positions]
        )
        for position, answer in zip(positions, answers, strict=True):
            self.promises.told(position["ticket"], answer, right=True)
        self._in_time(loop.time() - begun, positions[0]["ticket"])

    def _in_time(self, seconds: float, ticket: int) -> None:
        if seconds > TIMEOUT_S + 0.001:
            self.promises.broken.append(f"the caller of {ticket} waited {seconds:.3f} s")

    async def _opened(self) -> Mapping[str, Any] | None:
        try:
            position = await self.opens()
        except DtmsError as refused:
            self.promises.seen[f"broker refused {type(refused).__name__}"] += 1
            return None
        if position is not None:
            self.known.append(position)
            self.promises.sides[position["ticket"]] = position["side"]
        return position
