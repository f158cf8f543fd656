"""The real service killed again and again on one state folder, and what must hold after each restart."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

import crash_judge
import httpx
import psutil
from crash_caller import acknowledged
from crash_judge import Disk, Judge
from crash_points import Point, Scene
from nursery import KILLED, Nursery, Victim

from dtms_client.spool import REJECTED, Spool, entries

SYMBOLS = ("EURUSD", "XAUUSD", "BTCUSD", "GBPUSD", "USDJPY", "AUDUSD")
NERVOUS = {
    # A market that is a little against a trade leads it through all states within an hour.
    "DTMS_ENGINE__L1_SCORE": "-0.1",
    "DTMS_ENGINE__L2_SCORE": "-0.2",
    "DTMS_ENGINE__HEDGE_SCORE": "-0.3",
    "DTMS_ENGINE__HEDGE_NOW_SCORE": "-0.3",
    "DTMS_ENGINE__L1_EXIT_SCORE": "0.1",
    "DTMS_ENGINE__L2_EXIT_SCORE": "0",
    "DTMS_ENGINE__HEDGED_EXIT_SCORE": "-0.2",
    "DTMS_ENGINE__RECOVERED_SCORE": "0.2",
    "DTMS_ENGINE__CALM_EVALUATIONS": "1",
    "DTMS_ENGINE__ARM_AGE_S": "0",
    "DTMS_ENGINE__MIN_DWELL_S": "300",
    "DTMS_ENGINE__FLAT_S": "2700",
    "DTMS_ENGINE__RECOVERY_S": "900",
    "DTMS_SIMULATOR__START": "2025-01-08T13:10:00Z",
    "DTMS_SIMULATOR__ACCOUNT__BALANCE": "10000000",  # margin for two hundred positions
    "DTMS_API__RATE_LIMIT__ENABLED": "false",
}
SETTLED_S = 180.0
"""Market seconds after which every order of a start is settled, the settle window included."""
MOMENT_S = 0.001
LOOKS = 100
DYING_S = 20.0
LIFE_S = 2.0


class Killing:
    """One state folder and its many lives. Raises ``AssertionError`` where something does not hold."""

    def __init__(self, nursery: Nursery, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        self.victim = Victim(folder / "state", {**NERVOUS, **(settings or {})}, nursery=nursery)
        self._nursery, self._home = nursery, folder
        self.judge = Judge()
        self._opened = 0
        self._unanswered: list[int] = []
        self._scenes: Mapping[Scene, Callable[[], None]] = {
            Scene.REGISTERS: self.registers,
            Scene.STEPS: self.steps,
            Scene.INGESTS: self.leaves_a_file,
            Scene.REFUSES: self.leaves_a_wrong_file,
            Scene.LOSES_CHILD: self.loses_child,
            Scene.STOPS: self.stops,
        }

    def dies(self, point: Point, nth: int = 1) -> None:
        """Bring it to ``point``, where it is killed."""
        if point.scene is Scene.STARTS:
            self.ends()
            self.victim.start(wait=False, at=point.name, nth=nth)
        else:
            self.lives()
            self.victim.strike_at(point.name, nth)
            with suppress(httpx.TransportError):  # what goes on by itself may reach the point first
                self._scenes[point.scene]()
        _dead(self.victim.process, point, self.victim.state_dir)
        self.judge.always(self.disk())

    def caller_dies(self, point: Point, without: str | None = None) -> None:
        """A program that registers is killed at ``point``, while the service lives; ``without`` a protection."""
        self.lives()
        said, ticket, folder = self._home / "said", self.opens(), self._home / "caller"
        caller = self._nursery.fork(
            "caller",
            folder,
            at=point.name,
            url=self.victim.url,
            outbox=str(self._spool.folder),
            ticket=ticket,
            said=str(said),
            hand_over=point.scene is Scene.FLUSHER,
            without=without,
        )
        _dead(caller, point, folder)
        self.judge.acknowledged |= acknowledged(said)
        if without is None:
            self._unanswered.append(ticket)

    def dies_sometime(self, chance: Random) -> None:
        """Start it, let things go on, and kill it within two seconds, wherever it is; it may not be ready yet."""
        self.lives(ready=False)
        killer = threading.Timer(chance.uniform(0.0, LIFE_S), self.victim.kill)
        killer.start()
        with suppress(httpx.TransportError):
            while not self._is_ready():
                time.sleep(0.01)
            while True:
                chance.choice((self.registers, self.leaves_a_file, self.steps, self.loses_child))()
        killer.join()
        code = self.victim.process.wait(DYING_S)
        assert code == KILLED, f"it ended by itself (exit code {code})\n{self.victim.log()}"
        self.judge.always(self.disk())

    def holds(self, positions: int) -> None:
        """Open and register what is missing to that many positions."""
        self.lives()
        missing = positions - len(self.victim.get("/simulator/positions")["positions"])
        tickets = [self.opens() for _ in range(missing)]
        body = {"trades": [{"ticket": ticket} for ticket in tickets]}
        if tickets:
            answer = self.victim.post("/dtms/trades/batch", body)
            assert answer["accepted"] == len(tickets), answer
        self.judge.acknowledged.update(tickets)

    def goes_on(self) -> None:
        """Start again; what callers have not heard of they repeat; then everything is as it should be."""
        self.lives()
        for ticket in self._unanswered:
            self._put(ticket)
        self._unanswered = []
        outbox = self.victim.state_dir / "outbox"
        deadline = time.monotonic() + DYING_S
        while entries(outbox):
            assert time.monotonic() < deadline, f"{entries(outbox)} are not taken in\n{self.victim.log()}"
            time.sleep(0.02)
        self._to_the_next_cycle(_seconds(self.victim.advance(seconds=SETTLED_S)["now"]))
        self.judge.at_rest(self.disk())
        ready = self.victim.get("/health/ready")
        assert ready["status"] == "ready", ready

    def _to_the_next_cycle(self, now: float) -> None:
        """Stop the market where a cycle has just looked: later the broker may close what the record holds open."""
        for _ in range(LOOKS):
            answer = self.victim.get("/dtms/trades?limit=1")
            if now - _seconds(answer["as_of"]) <= 2 * MOMENT_S or not answer["trades"]:
                return
            # The answer's times have whole milliseconds, and a cycle may be due between two of them.
            until = max(_seconds(answer["trades"][0]["next_check_at"]), now) + MOMENT_S
            now = _seconds(self.victim.advance(until=until)["now"])
        message = f"no cycle looked where the market stands\n{self.victim.log()}"
        raise AssertionError(message)

    def disk(self) -> Disk:
        """What lies there, while the service is dead or has nothing to do."""
        return crash_judge.read(self.victim.state_dir)

    # What goes on.

    def lives(self, *, ready: bool = True) -> None:
        """Running, and ready unless that is left open."""
        if self.victim.process is None or self.victim.process.poll() is not None:
            self.victim.start(wait=ready)

    def ends(self) -> None:
        """Not running."""
        if self.victim.process is not None and self.victim.process.poll() is None:
            self.victim.kill()

    def registers(self) -> None:
        """A position is opened and registered."""
        ticket = self.opens()
        with suppress(httpx.TransportError):
            self._put(ticket)
            return
        self._unanswered.append(ticket)

    def steps(self) -> None:
        """Two new positions against each other, and five minutes: for one of them orders go out."""
        for _ in range(2):
            self.registers()
        self.advances(300.0)

    def advances(self, seconds: float) -> None:
        """The market goes on, until the service is killed."""
        with suppress(httpx.TransportError):
            self.victim.advance(seconds=seconds)

    def leaves_a_file(self) -> None:
        """A caller died, or found nobody."""
        ticket = self.opens()
        self._spool.write({"ticket": ticket, "source": "dead"})
        self.judge.acknowledged.add(ticket)

    def leaves_a_wrong_file(self) -> None:
        """A registration that contradicts the terminal."""
        ticket = self.opens("BUY")
        self._spool.write({"ticket": ticket, "side": "SELL"})

    def loses_child(self) -> None:
        """Somebody kills the terminal process."""
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.victim.process.pid).children():
                child.kill()

    def stops(self) -> None:
        """SIGTERM."""
        self.victim.process.send_signal(signal.SIGTERM)

    def opens(self, side: str | None = None) -> int:
        """A position at the terminal with a stop 1 % away; its ticket."""
        symbol = SYMBOLS[self._opened // 2 % len(SYMBOLS)]
        side = side or ("BUY", "SELL")[self._opened % 2]
        self._opened += 1
        bars = self.victim.get(f"/simulator/market?symbol={symbol}&timeframe=M1&count=1")["bars"]
        price, sign = float(bars[-1]["close"]), 1 if side == "BUY" else -1
        body: dict[str, Any] = {"symbol": symbol, "side": side, "volume": 0.2, "stop_loss": price * (1 - sign * 0.01)}
        return int(self.victim.post("/simulator/positions", body)["ticket"])

    @property
    def refused(self) -> int:
        """Files that were set aside."""
        return len(entries(self.victim.state_dir / "outbox", REJECTED))

    @property
    def _spool(self) -> Spool:
        return Spool(self.victim.state_dir / "outbox")

    def _is_ready(self) -> bool:
        """Raises ``httpx.TransportError`` once it is dead; before it listens, it only says no."""
        try:
            return httpx.get(f"{self.victim.url}/health/ready", trust_env=False, timeout=5).status_code == 200
        except httpx.TransportError:
            if self.victim.process.poll() is not None:
                raise
            return False

    def _put(self, ticket: int) -> None:
        answer = self.victim.ask("PUT", f"/dtms/trades/{ticket}", json={}, status=None, timeout=10)
        if answer.get("outcome") == "already_closed":  # it met its stop before anybody could tell the service of it
            assert ticket not in {p["ticket"] for p in self.victim.get("/simulator/positions")["positions"]}, answer
        else:
            assert answer.get("outcome") in {"protected", "already_protected"}, answer
        self.judge.acknowledged.add(ticket)


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()


def _dead(process: Any, point: Point, folder: Path) -> None:
    try:
        code = process.wait(DYING_S)
    except subprocess.TimeoutExpired:
        code = None
    log = (folder / "service.log").read_text()
    assert code == KILLED, f"{point.name} was never reached (exit code {code})\n{log}"
