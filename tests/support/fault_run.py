"""Ten callers register through a bad network while they and the service are killed at random; then it is judged."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import crash_judge
import fault_judge
from fault_caller import Claim, Told, told
from fault_judge import Found
from fault_proxy import FaultProxy
from nursery import Forked, Nursery, Victim

CALLERS = 10
AT_HOME = 2
"""Callers that share the outbox which the service empties itself; those of the others it cannot see."""
SYMBOLS = ("EURUSD", "XAUUSD", "BTCUSD", "GBPUSD", "USDJPY")
NOT_OPEN = 10**9
"""Tickets from here on are at no terminal: accepted until the service has seen that they never come (R27)."""
QUIET = {"DTMS_API__RATE_LIMIT__ENABLED": "false", "DTMS_MODE": "protect"}
LOOK_S = 0.02
END_S = 120.0


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything."""

    registrations: int
    positions: int
    not_open: int
    service_kills: int
    caller_kills: int
    alone: float
    """Share of registrations that travel alone."""


class FaultRun:
    """One state folder, one seed; ``without``: a protection that the callers do without."""

    def __init__(self, nursery: Nursery, folder: Path, seed: int, size: Size, without: str | None = None) -> None:
        self._nursery, self._folder, self._size, self._seed = nursery, folder, size, seed
        self._without = without
        self._victim = Victim(folder / "state", QUIET, nursery=nursery)
        self._chance = Random(seed)
        self._kills: Counter[str] = Counter()
        self._read: Counter[Path] = Counter()
        self._lines = 0

    def run(self) -> Found:
        """Everything; raises ``AssertionError`` only when it does not come to its end."""
        self._victim.start()
        try:
            tickets = self._tickets()
            with FaultProxy(self._victim.port, self._seed) as proxy:
                callers = self._register(tickets, proxy)
                proxy.healed = True
                self._deliver(callers, tickets, proxy)
            self._emptied(self._outbox(0))
            self._victim.wait_ready()
            self._victim.advance(seconds=1.0)  # a cycle verifies what waited for the terminal
        finally:
            self._victim.kill()
        state = self._victim.state_dir
        registered = fault_judge.registered(state / "dtms.db")
        overruled = fault_judge.contradicted(state / "dtms.db")
        found = fault_judge.judged(self._said(), crash_judge.read(state), self._refused(), registered, overruled)
        found.played = dict(proxy.played)
        found.service_kills, found.caller_kills = self._kills["service"], self._kills["caller"]
        return found

    def _tickets(self) -> list[tuple[int, str, str]]:
        """(ticket, symbol, side): positions opened at the terminal, and numbers that it does not know."""
        opened = []
        for number in range(self._size.positions):
            symbol, side = SYMBOLS[number % len(SYMBOLS)], ("BUY", "SELL")[number % 2]
            body = {"symbol": symbol, "side": side, "volume": 0.01}
            opened.append((int(self._victim.post("/simulator/positions", body)["ticket"]), symbol, side))
        unknown = (
            (NOT_OPEN + number, SYMBOLS[number % len(SYMBOLS)], ("BUY", "SELL")[number % 2])
            for number in range(self._size.not_open)
        )
        return [*opened, *unknown]

    def _register(self, tickets: Sequence[Any], proxy: FaultProxy) -> list[Forked]:
        """Until every plan is done, or every death has been died and the rest is left to the end."""
        callers = [self._caller(number, tickets, proxy) for number in range(CALLERS)]
        deaths = ["service"] * self._size.service_kills + ["caller"] * self._size.caller_kills
        self._chance.shuffle(deaths)
        steps = [(n + 1) * self._size.registrations // (len(deaths) + 1) for n in range(len(deaths))]
        deadline = time.monotonic() + END_S + self._size.registrations / 20
        while (said := self._heard()) < self._size.registrations and deaths:
            assert time.monotonic() < deadline, f"{said} registrations, {len(deaths)} deaths to come"
            if said >= steps[0]:
                steps.pop(0)
                self._strike(deaths.pop(0), callers, tickets, proxy)
            time.sleep(LOOK_S)
        return callers

    def _strike(self, whom: str, callers: list[Forked], tickets: Sequence[Any], proxy: FaultProxy) -> None:
        self._kills[whom] += 1
        if whom == "service":
            self._victim.kill()
            self._victim.start(wait=False)
            return
        number = self._chance.randrange(CALLERS)
        callers[number].kill()
        callers[number].wait()
        callers[number] = self._caller(number, tickets, proxy)

    def _deliver(self, callers: list[Forked], tickets: Sequence[Any], proxy: FaultProxy) -> None:
        """The network is good again: each caller ends its plan and empties its outbox."""
        deadline = time.monotonic() + END_S + self._size.registrations / 20
        for number, caller in enumerate(callers):
            code = caller.wait(max(1.0, deadline - time.monotonic()))
            if code != 0:  # it had given up while the network was bad
                code = self._caller(number, tickets, proxy).wait(END_S)
            emptied_by_service = number < AT_HOME and code == 1
            assert code == 0 or emptied_by_service, (
                f"caller {number} ended with {code}\n{self._log(number)}\n{self._victim.log()}"
            )

    def _caller(self, number: int, tickets: Sequence[Any], proxy: FaultProxy) -> Forked:
        return self._nursery.fork(
            "registering",
            self._folder / f"caller{number}",
            without=self._without,
            said=str(self._folder / f"said{number}"),
            environment={
                "DTMS_API_URL": proxy.url,
                "DTMS_SPOOL_DIR": str(self._outbox(number)),
                "DTMS_TIMEOUT": "1.0",
                "DTMS_RETRY_COUNT": "3",
            },
            planned={
                "seed": self._seed * 1000 + number,
                "count": self._size.registrations // CALLERS,
                "tickets": tickets,
                "alone": self._size.alone,
            },
        )

    def _outbox(self, number: int) -> Path:
        return (self._victim.state_dir if number < AT_HOME else self._folder / f"caller{number}") / "outbox"

    def _emptied(self, outbox: Path) -> None:
        deadline = time.monotonic() + END_S
        while list((outbox / "new").glob("*.json")):
            assert time.monotonic() < deadline, f"{outbox} is not emptied\n{self._victim.log()}"
            time.sleep(LOOK_S)

    def _log(self, number: int) -> str:
        return (self._folder / f"caller{number}" / "service.log").read_text()[-3000:]

    def _heard(self) -> int:
        """How many registrations the callers have heard of so far; reads what is new."""
        for path in self._folder.glob("said*"):
            with path.open("rb") as file:
                file.seek(self._read[path])
                new = file.read()
            self._read[path] += len(new)
            self._lines += new.count(b"]\n")
        return self._lines

    def _said(self) -> list[Told]:
        return [each for path in sorted(self._folder.glob("said*")) for each in told(path)]

    def _refused(self) -> list[tuple[Claim, str]]:
        """What lies in ``rejected/``, and why."""
        found = []
        for outbox in {self._outbox(number) for number in range(CALLERS)}:
            for path in (outbox / "rejected").glob("*-*.json"):
                if not path.name.endswith(".problem.json"):
                    body = json.loads(path.read_bytes())["body"]
                    reason = json.loads(path.with_name(f"{path.stem}.problem.json").read_bytes())
                    claim = Claim(body["ticket"], body.get("symbol", ""), body.get("side", ""), true=False)
                    found.append((claim, str(reason.get("code"))))
        return found
