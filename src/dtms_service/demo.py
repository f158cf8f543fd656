"""Something to look at: opens a few positions in the simulated terminal and registers them, as a trading program would.

Talks to the running service over HTTP only. Does nothing where positions exist, so a restart adds none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from dtms_client.errors import DtmsClientError
from dtms_client.sync import DtmsClient

WANTED = (("EURUSD", "BUY", 0.5), ("GBPUSD", "SELL", 0.3), ("XAUUSD", "BUY", 0.1), ("BTCUSD", "SELL", 0.2))
"""Symbol, side and lots; symbols that the market does not have are passed over."""
_STOP_RANGES = 6.0
"""Distance of the stop in mean M15 ranges: wide enough to live through an ordinary hour."""
_TIMEOUT_S = 10.0


class DemoFailed(Exception):
    """The demonstration could not be set up; the service itself goes on."""


@dataclass(frozen=True, slots=True)
class Made:
    """What the demonstration found and did."""

    present: int
    """Positions that were open already; then nothing was added."""
    outcomes: tuple[tuple[int, str], ...] = ()
    """Ticket and outcome of each registration."""

    def sentence(self) -> str:
        """For people."""
        if self.present:
            return f"demo: {self.present} positions are open already, nothing added"
        said = ", ".join(outcome for _, outcome in self.outcomes)
        return f"demo: opened and registered {len(self.outcomes)} positions ({said}). Try: dtms status"


def add(url: str, token: str | None) -> Made:
    """Open the positions and register them. Raises `DemoFailed`, ``httpx.HTTPError`` and ``DtmsClientError``."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with httpx.Client(base_url=url, headers=headers, timeout=_TIMEOUT_S, trust_env=False) as terminal:
        present = _json(terminal.get("/simulator/positions"))["positions"]
        if present:
            return Made(len(present))
        opened = [ticket for wish in WANTED if (ticket := _opened(terminal, *wish)) is not None]
    with DtmsClient(url, token=token) as client:
        return Made(0, tuple((ticket, client.register(ticket, source="demo").outcome) for ticket in opened))


def open_and_register(url: str, token: str | None, tell: Callable[[str], None]) -> None:
    """The same beside a service that just started; tells what it did, or what went wrong, in one sentence."""
    try:
        made = add(url, token)
    except (httpx.HTTPError, DtmsClientError, DemoFailed) as error:
        tell(f"demo: {error}. Try: dtms status")
        return
    tell(made.sentence())


def _opened(terminal: httpx.Client, symbol: str, side: str, volume: float) -> int | None:
    """Open one position with a stop; its ticket, or None when the market has no such symbol."""
    answer = terminal.get("/simulator/market", params={"symbol": symbol, "timeframe": "M15", "count": 50})
    if answer.is_client_error:
        return None
    bars = _json(answer)["bars"]
    if not bars:
        return None
    distance = _STOP_RANGES * sum(bar["high"] - bar["low"] for bar in bars) / len(bars)
    close = bars[-1]["close"]
    stop = close - distance if side == "BUY" else close + distance
    body = {"symbol": symbol, "side": side, "volume": volume, "stop_loss": stop, "comment": "demo"}
    return int(_json(terminal.post("/simulator/positions", json=body))["ticket"])


def _json(answer: httpx.Response) -> dict[str, Any]:
    body = answer.json()
    if not answer.is_success or not isinstance(body, dict):
        message = f"the simulated terminal answered {answer.status_code}: {answer.text[:200]}"
        raise DemoFailed(message)
    return body
