"""A gateway on a scripted terminal, whose answers are literal values, and one on the simulated terminal."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dtms_service.domain.orders import ClosePosition, ModifyStops
from dtms_service.domain.outcome import Done, Outcome
from dtms_service.domain.values import Side
from dtms_service.terminal.gateway import Gateway
from dtms_service.terminal.link import Call, InlineLink, Reply
from dtms_service.terminal.simulator import SimulatorControl

NOW = 1_700_000_000.0
"""Tuesday, 14 November 2023, 22:13:20 UTC."""

Script = Mapping[str, Sequence[Mapping[str, Any]]]

ACCOUNT = {
    "login": 5001,
    "server": "Broker-Demo",
    "currency": "USD",
    "margin_mode": 2,
    "balance": 1000.0,
    "equity": 1000.0,
    "margin": 0.0,
    "margin_free": 1000.0,
    "fifo_close": False,
    "trade_allowed": True,
    "trade_expert": True,
    "trade_mode": 0,
}
TERMINAL = {"connected": True, "trade_allowed": True, "tradeapi_disabled": False}
SYMBOL = {
    "name": "EURUSD",
    "digits": 5,
    "point": 0.00001,
    "trade_tick_size": 0.00001,
    "trade_tick_value": 1.0,
    "trade_contract_size": 100_000.0,
    "volume_min": 0.01,
    "volume_max": 50.0,
    "volume_step": 0.01,
    "trade_stops_level": 0,
    "trade_freeze_level": 0,
    "trade_mode": 4,
    "trade_exemode": 2,
    "filling_mode": 3,
    "select": True,
    "time": int(NOW),
}
TICK = {"time": int(NOW), "bid": 1.1, "ask": 1.1002, "time_msc": int(NOW) * 1000}
DONE = {
    "retcode": 10009,
    "deal": 50,
    "order": 70,
    "volume": 0.04,
    "price": 1.1,
    "comment": "Request executed",
    "request_id": 3,
}
HEALTHY: Script = {
    "account_info": [{"struct": ACCOUNT}],
    "terminal_info": [{"struct": TERMINAL}],
    "positions_get": [{"structs": []}],
    "orders_get": [{"structs": []}],
    "history_deals_get": [{"structs": []}],
    "symbol_info": [{"struct": SYMBOL}],
    "symbol_info_tick": [{"struct": TICK}],
    "order_send": [{"struct": DONE}],
}
STOP = ModifyStops(1001, "EURUSD", 1.095, 1.12, 445400000000001, "DTTabc")
CLOSE = ClosePosition(1001, "EURUSD", Side.BUY, 0.04, 445400000000002, "DTPabc")


def answered(retcode: int, **changes: Any) -> dict[str, Any]:
    """An answer of ``order_send``."""
    return {"struct": {**DONE, "retcode": retcode, "comment": "said the server", **changes}}


class ScriptedLink(InlineLink):
    """The scripted backend in this process. Remembers calls; an order waits at ``gate`` where one is set."""

    def __init__(self, script: Script) -> None:
        super().__init__("scripted_backend", {"script": script}, wall=lambda: 0.0, sleep=lambda _: None)
        self.calls: list[Call] = []
        self.gate: asyncio.Event | None = None

    def count(self, name: str) -> int:
        return sum(call.name == name for call in self.calls)

    async def ask(self, calls: Sequence[Call], deadline: float, *, urgent: bool = False) -> Outcome[Reply]:
        self.calls.extend(calls)
        if self.gate is not None and calls[0].name == "order_send":
            await self.gate.wait()
        return await super().ask(calls, deadline, urgent=urgent)


@dataclass
class Scene:
    """Gateway, link and the engine clock it sees."""

    link: ScriptedLink
    now: float = NOW
    gateway: Gateway = field(init=False)

    @property
    def sends(self) -> int:
        return self.link.count("order_send")


async def scripted(script: Script | None = None, *, offset: float | None = 0.0, learn: bool = True) -> Scene:
    """A connected gateway that knows EURUSD; ``script`` replaces answers of a healthy terminal."""
    scene = Scene(ScriptedLink({**HEALTHY, **(script or {})}))
    scene.gateway = Gateway(scene.link, kind="mt5", now=lambda: scene.now, broker_offset=offset)
    await scene.gateway.connect()
    if learn:
        assert isinstance(await scene.gateway.specs(["EURUSD"]), Done)
    scene.link.calls.clear()
    return scene


AHEAD_H = 3


class RecordedLink(InlineLink):
    """Remembers requests."""

    requests: list[Sequence[Call]]

    async def ask(self, calls: Sequence[Call], deadline: float, *, urgent: bool = False) -> Outcome[Reply]:
        self.requests.append(calls)
        return await super().ask(calls, deadline, urgent=urgent)


@dataclass
class Terminal:
    """Gateway and control of one simulated terminal. ``now`` is the engine clock, which the market moves."""

    gateway: Gateway
    simulator: SimulatorControl
    link: RecordedLink
    now: float = 0.0

    async def opened(self, side: str = "BUY", **body: Any) -> int:
        answer = await self.simulator.open_position({"symbol": "EURUSD", "side": side, "volume": 0.1, **body})
        return int(answer["ticket"])

    async def wait(self, seconds: float) -> None:
        self.now = await self.simulator.advance(self.now + seconds)

    @property
    def sent(self) -> list[Mapping[str, Any]]:
        return [call.kwargs for calls in self.link.requests for call in calls if call.name == "order_send"]


async def simulated(folder: Path, **options: Any) -> Terminal:
    """A connected gateway that knows EURUSD, on a stepped synthetic market whose broker is three hours ahead."""
    account = {"balance": 1e5, "currency": "USD", "leverage": 100, "margin_mode": "hedging", "fifo_close": False}
    told = {"state_dir": str(folder), "market": "synthetic", "seed": 3, "clock": "stepped", "start": None, **options}
    told["account"] = {**account, "server_utc_offset": AHEAD_H}
    link = RecordedLink("dtms_service.terminal.simulated.backend", told, wall=lambda: 0.0, sleep=lambda _: None)
    link.requests = []
    found = Terminal(
        Gateway(link, kind="simulated", now=lambda: found.now, broker_offset=AHEAD_H * 3600.0),
        SimulatorControl(link),
        link,
    )
    assert isinstance(await found.gateway.connect(), Done)
    found.now = float((await found.simulator.clock())["now"])
    assert isinstance(await found.gateway.specs(["EURUSD"]), Done)
    return found
