"""A call on the terminal that hangs for a minute, in the real service: what waits, what goes on, how long it takes."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
from service import Service

HANG_S = 60
SYMBOLS = ("EURUSD", "GBPUSD", "USDJPY", "AUDUSD", "XAUUSD", "BTCUSD")
NERVOUS = {
    # Each symbol is bought and sold, and one of the two is against its score: orders go out with the first look.
    "DTMS_ENGINE__L1_SCORE": "-0.1",
    "DTMS_ENGINE__ARM_AGE_S": "0",
    "DTMS_CADENCE__CYCLE_S": "1",
    "DTMS_SIMULATOR__CLOCK": "live",
}


@dataclass
class Pulse:
    """Asks ``/health/live`` on one connection, as fast as it is answered with 5 ms between; latencies in seconds."""

    url: str
    latencies: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Pulse:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        with httpx.Client(base_url=self.url, trust_env=False, timeout=30) as client:
            while not self._stop.wait(0.005):
                begun = time.perf_counter()
                answer = client.get("/health/live")
                self.latencies.append(time.perf_counter() - begun)
                if answer.status_code != 200:
                    self.failed.append(answer.text)

    def ms(self, share: float) -> float:
        """A quantile of the latencies, milliseconds; the largest is an upper bound of the event loop's stalls."""
        ordered = sorted(self.latencies)
        return round(1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1)


@dataclass(frozen=True)
class Figures:
    """What was seen. Times in seconds, latencies in ms."""

    looks: int
    p99_ms: float
    largest_ms: float
    back_s: float
    """From the kill of the child at its deadline until another one answers."""
    order: dict[str, Any] | None
    """The action that was in flight; None where a read hung."""
    done_elsewhere: int
    """Orders done on other positions since."""


def hang(folder: Path, call: str) -> Figures:
    """Let ``call`` hang once for a minute while twelve trades are taken under protection. Raises ``AssertionError``."""
    with Service(folder, NERVOUS) as service, Pulse(service.url) as pulse:
        tickets = [opened(service, symbol, side) for symbol in SYMBOLS for side in ("BUY", "SELL")]
        service.post("/simulator/faults", {"kind": "hang", "call": call, "seconds": HANG_S})
        for ticket in tickets:
            service.ask("PUT", f"/dtms/trades/{ticket}", status=None, json={}, timeout=90)
        started = logged(service, "terminal_process_started")
        killed = logged(service, "terminal_process_killed")
        actions = settled(service)
    unknown = [action for action in actions if action["outcome"] == "unknown"]
    done = [action for action in actions if action["outcome"] == "done"]
    assert not pulse.failed, pulse.failed
    assert len(unknown) == (call == "order_send"), actions
    return Figures(
        looks=len(pulse.latencies),
        p99_ms=pulse.ms(0.99),
        largest_ms=pulse.ms(1.0),
        back_s=round(started - killed, 2),
        order=unknown[0] if unknown else None,
        done_elsewhere=sum(action["ticket"] != (unknown[0]["ticket"] if unknown else 0) for action in done),
    )


def opened(service: Service, symbol: str, side: str) -> int:
    """A position with a stop 3 % away: any tightening is a gain."""
    bars = service.get(f"/simulator/market?symbol={symbol}&timeframe=M1&count=1")["bars"]
    price, sign = float(bars[-1]["close"]), 1 if side == "BUY" else -1
    body = {"symbol": symbol, "side": side, "volume": 0.1, "stop_loss": round(price * (1 - sign * 0.03), 2)}
    return int(service.post("/simulator/positions", body)["ticket"])


def logged(service: Service, event: str, within: float = 60) -> float:
    """The time of a log line, as epoch seconds. Raises ``AssertionError`` when it does not come."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        for line in service.log().splitlines():
            if event in line:
                return moment(line)
        time.sleep(0.1)
    message = f"{event} was not logged within {within} s\n{service.log()}"
    raise AssertionError(message)


def moment(line: str) -> float:
    """When a line was logged."""
    return datetime.fromisoformat(json.loads(line)["time"]).timestamp()


def settled(service: Service, within: float = 30) -> list[dict[str, Any]]:
    """The actions, when at least three were done on other positions since the call hung."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        actions: list[dict[str, Any]] = service.get("/dtms/actions?limit=100")["action_history"]
        if sum(action["outcome"] == "done" for action in actions) >= 3:
            return actions
        time.sleep(0.2)
    message = f"fewer than three orders were done\n{service.log()}"
    raise AssertionError(message)
