"""Summer time at the broker while the service runs: times that cannot be true are noticed, and measured again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dtms_service.domain.outcome import Done, Refused, Unknown
from dtms_service.market.snapshot import Needs
from dtms_service.terminal import offset
from dtms_service.terminal.gateway import Gateway
from dtms_service.terminal.link import InlineLink
from dtms_service.terminal.simulator import SimulatorControl

HOUR = 3600.0
NEEDS = Needs(("EURUSD", "XAUUSD"), ())
ACCOUNT = {"balance": 1e5, "currency": "USD", "leverage": 100, "margin_mode": "hedging", "fifo_close": False}


@dataclass
class Terminal:
    """``apart`` is by how much our clock and the broker's moved apart since the start: minus one hour is spring."""

    gateway: Gateway
    simulator: SimulatorControl
    market: float = 0.0
    apart: float = 0.0

    @property
    def now(self) -> float:
        return self.market + self.apart

    async def wait(self, seconds: float) -> None:
        self.market = await self.simulator.advance(self.market + seconds)

    async def snapshot(self) -> Any:
        return await self.gateway.snapshot(NEEDS)


@pytest.fixture
async def terminal(tmp_path: Path) -> AsyncIterator[Terminal]:
    options = {"state_dir": str(tmp_path), "market": "synthetic", "seed": 3, "clock": "stepped", "start": None}
    options["account"] = {**ACCOUNT, "server_utc_offset": 2}
    link = InlineLink("dtms_service.terminal.simulated.backend", options, wall=lambda: 0.0, sleep=lambda _: None)
    found = Terminal(Gateway(link, kind="mt5", now=lambda: found.now), SimulatorControl(link))
    assert isinstance(await found.gateway.connect(), Refused)  # our clock shows 1970: no offset explains that
    found.market = float((await found.simulator.clock())["now"])
    await found.wait(60)
    assert isinstance(await found.gateway.specs(NEEDS.symbols), Done)
    assert isinstance(await found.gateway.connect(), Done)
    assert isinstance(await found.snapshot(), Done)
    yield found
    await found.gateway.close()


@pytest.mark.parametrize("apart", [-HOUR, HOUR])
async def test_a_clock_moved_by_an_hour_is_noticed_and_measured_again(terminal: Terminal, apart: float) -> None:
    await terminal.wait(30)
    terminal.apart = apart
    await terminal.snapshot()  # in autumn the first look cannot tell a quote that is an hour old from a pause
    await terminal.wait(30)
    read = await terminal.snapshot()
    assert isinstance(read, Unknown)
    assert read.code == "clock_moved"
    assert isinstance(await terminal.gateway.connect(), Done)
    read = await terminal.snapshot()
    assert isinstance(read, Done)
    assert abs(read.value.ticks["EURUSD"].time - terminal.now) <= 60


async def test_quotes_that_pause_are_only_old(terminal: Terminal) -> None:
    terminal.apart = HOUR  # nothing was quoted for an hour
    for _ in range(3):
        assert isinstance(await terminal.snapshot(), Done)


async def test_a_moved_clock_that_cannot_be_measured_yet_keeps_nothing_half_known(terminal: Terminal) -> None:
    terminal.apart = -HOUR - 400  # between quarters: no quote can agree with that
    assert isinstance(await terminal.snapshot(), Unknown)
    assert isinstance(await terminal.gateway.connect(), Done)
    assert isinstance(await terminal.snapshot(), Unknown)


def test_quotes_that_stopped_a_day_ago_do_not_measure_anything() -> None:
    now = 1_700_000_000.0
    assert offset.measure([now - 86_400, now - 86_400 - 3], now) is None
