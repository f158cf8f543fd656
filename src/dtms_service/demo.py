"""Something to look at: opens a few positions in the simulated terminal and registers them, as a trading program would.

Talks to the running service over HTTP only. Does nothing where positions exist, so a restart adds none.
"""

from __future__ import annotations

from collections.abc import Callable
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


def open_and_register(url: str, token: str | None, tell: Callable[[str], None]) -> None:
    """Open the positions and register them; tells what it did, and what went wrong, one sentence each."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with httpx.Client(base_url=url, headers=headers, timeout=_TIMEOUT_S, trust_env=False) as terminal:
            present = _json(terminal.get("/simulator/positions"))["positions"]
            if present:
                tell(f"demo: {len(present)} positions are open already, nothing added")
                return
            opened = [ticket for wish in WANTED if (ticket := _opened(terminal, *wish)) is not None]
        with DtmsClient(url, token=token) as client:
            outcomes = [client.register(ticket, source="demo").outcome for ticket in opened]
    except (httpx.HTTPError, DtmsClientError, DemoFailed) as error:
        tell(f"demo: {error}. Try: dtms status")
        return
    tell(f"demo: opened and registered {len(outcomes)} positions ({', '.join(outcomes)}). Try: dtms status")


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
