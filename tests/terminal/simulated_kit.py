"""Small markets written by hand, and the simulated terminal opened on them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dtms_service.terminal.simulated.backend import SimulatedTerminal, open_backend

START = int(datetime(2024, 3, 5, 8, 0, tzinfo=UTC).timestamp())
"""A Tuesday at 08:00 UTC: opening time of the first bar of every market made here."""

HEADER = "time_utc,open,high,low,close,tick_volume,spread_points"

Ohlc = tuple[float, float, float, float]


def iso(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def flat(price: float, count: int) -> list[Ohlc]:
    return [(price, price, price, price)] * count


def write_bars(
    folder: Path,
    bars: Sequence[Ohlc],
    *,
    symbol: str = "EURUSD",
    digits: int = 5,
    spread: int | str = 10,
    start: int = START,
    seconds: int = 60,
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{symbol}_M{seconds // 60}_test.csv"
    rows = [HEADER]
    for n, bar in enumerate(bars):
        prices = ",".join(f"{price:.{digits}f}" for price in bar)
        rows.append(f"{iso(start + n * seconds)},{prices},,{spread}")
    path.write_text("\n".join(rows) + "\n")
    return path


def options(folder: Path, market: Path | str = "synthetic", **changes: Any) -> dict[str, Any]:
    wanted = {
        "state_dir": str(folder / "state"),
        "market": str(market),
        "seed": 7,
        "clock": "stepped",
        "start": None if market == "synthetic" else iso(START),
        "account": {},
    }
    return wanted | changes


def opened(folder: Path, market: Path | str = "synthetic", **changes: Any) -> SimulatedTerminal:
    terminal = open_backend(options(folder, market, **changes))
    assert terminal.initialize() is True
    return terminal


def market_order(terminal: SimulatedTerminal, side: str, volume: float, symbol: str = "EURUSD", /, **more: Any) -> Any:
    kind = terminal.ORDER_TYPE_BUY if side == "BUY" else terminal.ORDER_TYPE_SELL
    request = {
        "action": terminal.TRADE_ACTION_DEAL,
        "symbol": symbol,
        "volume": volume,
        "type": kind,
        "type_filling": 0,
    }
    return terminal.order_send(**(request | more))


def positions(terminal: SimulatedTerminal) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = terminal.simulator_view("positions")["positions"]
    return found


def deals(terminal: SimulatedTerminal) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = terminal.simulator_view("deals")["deals"]
    return found


def later(terminal: SimulatedTerminal, seconds: float) -> float:
    return terminal.simulator_advance(terminal.simulator_clock()["now"] + seconds)
