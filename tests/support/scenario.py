"""The main job end to end: ten positions, registered as old callers do, watched, compared with the terminal."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from service import Service

from dtms_client import auto_register_dtms
from dtms_service.domain import magic

DAY = 86_400


@contextmanager
def caller_of(service: Service) -> Iterator[None]:
    """The environment of a trading program on the same machine as ``service``."""
    wanted = {name: value for name, value in service.environment.items() if name.startswith("DTMS_")}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def open_ten(service: Service, symbols: Sequence[str], stop_fraction: float) -> list[dict[str, Any]]:
    """Ten positions at the terminal, long and short in turn; stops at one to three times ``stop_fraction`` away."""
    opened = []
    for n in range(10):
        symbol, side = symbols[n % len(symbols)], ("BUY", "SELL")[n % 2]
        bar = service.get("/simulator/market", params={"symbol": symbol, "timeframe": "M1", "count": 1})["bars"][-1]
        price, sign = float(bar["close"]), 1 if side == "BUY" else -1
        away = stop_fraction * (1 + n / 5)
        stop, target = price * (1 - sign * away), price * (1 + sign * 3 * away)
        digits = max(len(str(bar[c]).partition(".")[2]) for c in ("open", "high", "low", "close"))
        body = {
            "symbol": symbol,
            "side": side,
            "volume": 0.1,
            "stop_loss": round(stop, digits),
            "take_profit": round(target, digits),
            "magic": 77,
            "comment": f"caller {n}",
        }
        position = service.post("/simulator/positions", body, status=None)
        assert "ticket" in position, position
        opened.append({**body, **position})
    return opened


def register_like_old_callers(service: Service, opened: Sequence[Mapping[str, Any]]) -> list[bool]:
    """Half from a plain thread, half un-awaited inside a running event loop: the two contexts old callers use."""
    answers: dict[int, bool] = {}

    def result_of(position: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "ok": True,
            "symbol": position["symbol"],
            "direction": position["side"].lower(),
            "details": {
                "ticket": position["ticket"],
                "price_executed": position["price_open"],
                "volume": position["volume"],
                "final_sl": position["stop_loss"],
                "final_tp": position["take_profit"],
            },
        }

    def from_thread() -> None:
        for position in opened[:5]:
            answers[position["ticket"]] = auto_register_dtms(position["ticket"], result_of(position))

    async def inside_loop() -> None:
        for position in opened[5:]:
            answers[position["ticket"]] = auto_register_dtms(position["ticket"], result_of(position))
            await asyncio.sleep(0)

    with caller_of(service):
        thread = threading.Thread(target=from_thread)
        thread.start()
        thread.join(60)
        asyncio.run(inside_loop())
    return [answers[position["ticket"]] for position in opened]


def wait_registered(service: Service, tickets: Sequence[int], attempts: int = 500) -> None:
    """Until the background thread of the client has delivered what it was handed inside the loop."""
    for _ in range(attempts):
        known = {trade["ticket"] for trade in trades(service)}
        if known.issuperset(tickets):
            return
        threading.Event().wait(0.02)
    missing = set(tickets) - known
    message = f"not registered: {missing}\n{service.log()}"
    raise AssertionError(message)


def trades(service: Service) -> list[dict[str, Any]]:
    return list(service.get("/dtms/trades", params={"include_closed": "true", "limit": 500})["trades"])


def market_now(service: Service) -> float:
    return epoch(service.advance(seconds=0)["now"])


def epoch(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()


def transitions(service: Service, tickets: Sequence[int]) -> set[tuple[str, str]]:
    seen = set()
    for ticket in tickets:
        for event in service.get(f"/dtms/trades/{ticket}/history")["events"]:
            if event["kind"] == "transition":
                seen.add((event["body"]["from"], event["body"]["to"]))
    return seen


def our_deals(service: Service) -> list[dict[str, Any]]:
    return [deal for deal in service.get("/simulator/deals")["deals"] if magic.ours(deal["magic"])]


def outcome(service: Service) -> dict[str, Any]:
    """What two runs must agree on: states and levels of the trades, deals without our magic numbers."""
    states = {
        trade["ticket"]: {
            name: trade[name]
            for name in ("state", "volume", "stop_loss", "take_profit", "closed_reason", "closed_at", "score", "rule")
            if name in trade
        }
        for trade in trades(service)
    }
    deals = [
        {name: deal[name] for name in ("position_id", "type", "entry", "reason", "volume", "price", "profit", "time")}
        for deal in service.get("/simulator/deals")["deals"]
    ]
    return {"states": states, "deals": deals}
