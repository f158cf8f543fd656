"""A program that registers through a bad network, until it is killed; then it goes on where it was.

What it registers follows from a seed: mostly what is true, and sometimes the other side or another symbol. What it was
told goes to a file, one line per registration, before it goes on.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from dtms_client import AsyncDtmsClient, DtmsClient, DtmsClientError, Registration, auto_register_dtms

CONTEXTS = ("one", "awaited", "handed over", "in a thread", "in a loop")
"""Ways to register a single trade; the last two are the old drop-in."""
BATCH = 25
WRONG = 0.05
FLUSH_S = 30.0


@dataclass(frozen=True, slots=True)
class Claim:
    """One registration. ``true``: it says what was agreed on for this ticket before."""

    ticket: int
    symbol: str
    side: str
    true: bool

    @property
    def body(self) -> dict[str, Any]:
        return {"ticket": self.ticket, "symbol": self.symbol, "side": self.side}


@dataclass(frozen=True, slots=True)
class Told:
    """What the caller heard of one claim; ``outcome`` as the client says it, ``yes`` or ``no`` from the drop-in."""

    claim: Claim
    outcome: str
    why: str = ""

    @property
    def safe(self) -> bool:
        """The caller may rely on it."""
        return self.outcome in {"yes", "protected", "already_protected", "queued", "pending_verification"}

    @property
    def final(self) -> bool:
        """The service says that it has seen the position."""
        return self.outcome in {"protected", "already_protected"}

    @property
    def confirmed(self) -> bool:
        """The service itself has said yes."""
        return self.outcome in {"protected", "already_protected", "pending_verification"}


def plan(seed: int, count: int, tickets: Sequence[Sequence[Any]], alone: float) -> list[tuple[str, list[Claim]]]:
    """Deeds that register ``count`` claims in all: (context, claims). ``alone``: share that does not go in batches."""
    chance, deeds, left = Random(seed), [], count
    while left:
        single = chance.random() < alone * BATCH / (1 + alone * (BATCH - 1))
        size = 1 if single else min(BATCH, left)
        claims = [_claim(chance, *chance.choice(tickets)) for _ in range(size)]
        deeds.append((chance.choice(CONTEXTS) if single else "batch", claims))
        left -= size
    return deeds


def _claim(chance: Random, ticket: int, symbol: str, side: str) -> Claim:
    if chance.random() >= WRONG:
        return Claim(ticket, symbol, side, true=True)
    if chance.random() < 0.5:
        return Claim(ticket, symbol, {"BUY": "SELL", "SELL": "BUY"}[side], true=False)
    return Claim(ticket, "NZDJPY", side, true=False)


def live(said: str, environment: Mapping[str, str], planned: Mapping[str, Any]) -> None:
    """Do what is left of the plan, then deliver what waits. Exits with 1 when something still waits."""
    os.environ.update(environment)
    client = DtmsClient()
    deeds, done = plan(**planned), _done(Path(said))
    for number, (context, claims) in enumerate(deeds):
        if number >= done:
            told = _DO[context](client, claims)
            _write(Path(said), number, told)
    raise SystemExit(1 if client.flush(FLUSH_S) else 0)


def _one(client: DtmsClient, claims: Sequence[Claim]) -> list[Told]:
    return [_heard(claim, partial(client.register, claim.ticket, claim.body)) for claim in claims]


def _handed_over(client: DtmsClient, claims: Sequence[Claim]) -> list[Told]:
    return [_heard(claim, partial(client.enqueue, claim.ticket, claim.body)) for claim in claims]


def _awaited(_: DtmsClient, claims: Sequence[Claim]) -> list[Told]:
    async def register(claim: Claim) -> Registration:
        async with AsyncDtmsClient() as client:
            return await client.register(claim.ticket, claim.body)

    return [_heard(claim, partial(asyncio.run, register(claim))) for claim in claims]


def _in_a_thread(_: DtmsClient, claims: Sequence[Claim]) -> list[Told]:
    return [Told(claim, "yes" if auto_register_dtms(claim.ticket, claim.body) else "no") for claim in claims]


def _in_a_loop(client: DtmsClient, claims: Sequence[Claim]) -> list[Told]:
    async def job() -> list[Told]:
        return _in_a_thread(client, claims)

    return asyncio.run(job())


def _batch(client: DtmsClient, claims: Sequence[Claim]) -> list[Told]:
    results = client.register_batch(claim.body for claim in claims)
    return [_of(claim, result) for claim, result in zip(claims, results, strict=True)]


_DO: Mapping[str, Callable[[DtmsClient, Sequence[Claim]], list[Told]]] = {
    "one": _one,
    "awaited": _awaited,
    "handed over": _handed_over,
    "in a thread": _in_a_thread,
    "in a loop": _in_a_loop,
    "batch": _batch,
}


def _heard(claim: Claim, register: Callable[[], Registration]) -> Told:
    try:
        return _of(claim, register())
    except DtmsClientError as error:
        return Told(claim, "rejected", _code(error))


def _of(claim: Claim, result: Registration) -> Told:
    return Told(claim, result.outcome, _code(result.error) if result.outcome == "rejected" else "")


def _code(error: DtmsClientError | None) -> str:
    return error.problem.code if error is not None and error.problem is not None else type(error).__name__


def _write(said: Path, number: int, told: Sequence[Told]) -> None:
    lines = [
        json.dumps([number, *(getattr(each.claim, name) for name in Claim.__slots__), each.outcome, each.why])
        for each in told
    ]
    handle = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(handle, "\n".join(["", *lines, ""]).encode())
    os.close(handle)


def _lines(said: Path) -> Iterator[list[Any]]:
    """A line that a death cut short was not said."""
    for line in said.read_text().splitlines() if said.exists() else ():
        if line.endswith("]"):
            yield json.loads(line)


def _done(said: Path) -> int:
    return max((int(line[0]) + 1 for line in _lines(said)), default=0)


def told(said: Path) -> list[Told]:
    """What the file holds."""
    return [Told(Claim(*line[1:5]), *line[5:]) for line in _lines(said)]
