"""An outage in virtual time: programs that register while DTMS is away, and what reaches it in the end.

Each program has its own clock, which passes only while it waits; whether DTMS is there is a question of that clock
alone, so the programs are simulated one after the other. The client is the real one, on a real disk.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from random import Random

import httpx

from dtms_client.clock import Clock
from dtms_client.flusher import Flusher
from dtms_client.spool import entries
from dtms_client.sync import DtmsClient
from dtms_client.testing import FakeDtms

URL = "http://127.0.0.1:1"
ANSWER_S = 0.003
CALLERS = 10
READY_AGAIN_S = 30.0
"""Virtual seconds that are watched after DTMS is back."""


class Away(Enum):
    """What an outage looks like from outside."""

    REFUSED = "refused"
    SILENT = "silent"
    NOT_READY = "not ready"


@dataclass
class Programme:
    """What one program saw."""

    registrations: int = 0
    longest_s: float = 0.0
    """The longest that one registration kept its caller."""
    requests: int = 0
    """Requests that left the program; a refused connection carries none."""
    dialled: int = 0
    """Connections tried, requests included."""
    delivered_after_s: float = 0.0
    """From DTMS being back to the last registration being there."""


@dataclass
class _Time:
    chance: Random
    now: float = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += max(0.0, seconds)

    def clock(self) -> Clock:
        return Clock(
            wall_ns=lambda: int((1_780_000_000.0 + self.now) * 1e9),
            monotonic=lambda: self.now,
            uniform=self.chance.uniform,
            sleep=self.sleep,
        )


class _Network(httpx.BaseTransport):
    def __init__(self, time: _Time, dtms: FakeDtms, away: Away, back_at: float, seen: Programme) -> None:
        self._time, self._dtms, self._away, self._back_at, self._seen = time, dtms, away, back_at, seen

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self._seen.dialled += 1
        gone = self._time.now < self._back_at
        if gone and self._away is Away.REFUSED:
            raise httpx.ConnectError("refused", request=request)
        self._seen.requests += 1
        if gone and self._away is Away.SILENT:
            patience = float(request.extensions["timeout"]["read"])
            self._time.sleep(min(patience, self._back_at - self._time.now))
            if self._time.now < self._back_at:
                raise httpx.ReadTimeout("no answer", request=request)
            gone = False  # what hung goes on where it was
        self._time.sleep(ANSWER_S)
        self._dtms.accepting = not gone
        return self._dtms.handle_request(request)


class _Unthreaded(Flusher):
    """The background thread's work, done when the virtual clock says so."""

    def _nudge(self) -> None:
        for watched in self._watched.values():
            watched.due = watched.due if watched.failures else 0.0


@dataclass
class Outage:
    """DTMS is away from the first moment on, for ``seconds``."""

    seconds: float
    away: Away
    folder: Path
    seed: int = 1
    each: int = 20
    """Registrations of each program while it is away."""
    skipped: tuple[float, float] = (0.0, 0.0)
    """A stretch of virtual time in which the background thread sleeps, as in a suspended machine: saves real time."""
    dtms: FakeDtms = field(default_factory=FakeDtms)

    def run(self, callers: int = CALLERS) -> list[Programme]:
        """Simulate all programs; raises ``AssertionError`` when a registration is neither delivered nor on disk."""
        return [self._program(number) for number in range(callers)]

    def _program(self, number: int) -> Programme:
        seen, time = Programme(), _Time(Random(self.seed * 1000 + number))
        network = _Network(time, self.dtms, self.away, self.seconds, seen)
        client, flusher = _program(self.folder / str(number), time, network)
        moments = sorted(time.chance.uniform(0.0, self.seconds) for _ in range(self.each))
        first = 1 + number * self.each
        for ticket, moment in enumerate(moments, first):
            self._pass(flusher, time, moment)
            began = time.now
            client.register(ticket, symbol="EURUSD", side="buy")
            seen.registrations += 1
            seen.longest_s = max(seen.longest_s, time.now - began)
        tickets = set(range(first, first + self.each))
        self._pass(flusher, time, max(time.now, self.seconds), lambda: tickets <= self.dtms.trades.keys())
        self._pass(flusher, time, time.now + READY_AGAIN_S, lambda: tickets <= self.dtms.trades.keys())
        seen.delivered_after_s = time.now - self.seconds
        waiting = {entry.load().body["ticket"] for entry in entries(self.folder / str(number))}
        assert tickets <= waiting | self.dtms.trades.keys(), f"program {number} has lost a registration"
        return seen

    def _pass(self, flusher: Flusher, time: _Time, until: float, done: Callable[[], bool] = lambda: False) -> None:
        """Let the background thread work until ``until``, or until it is done."""
        while time.now < until and not done():
            if self.skipped[0] <= time.now < self.skipped[1]:
                time.now = min(self.skipped[1], until)
                continue
            pause = flusher.run_once()
            if not done():
                time.sleep(min(pause, until - time.now))


def _program(folder: Path, time: _Time, network: _Network) -> tuple[DtmsClient, Flusher]:
    class Program(DtmsClient):
        clock = time.clock()
        flusher = _Unthreaded(time.clock())

    before = os.environ.get("DTMS_SPOOL_DIR")
    os.environ["DTMS_SPOOL_DIR"] = str(folder)
    try:
        return Program(URL, transport=network), Program.flusher
    finally:
        if before is None:
            del os.environ["DTMS_SPOOL_DIR"]
        else:
            os.environ["DTMS_SPOOL_DIR"] = before
