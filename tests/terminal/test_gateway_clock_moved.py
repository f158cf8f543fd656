"""Summer time at the broker while the service runs: times that cannot be true are noticed, and measured again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dtms_service.domain.outcome import Done, Refused, Unknown
from dtms_service.domain.values import Timeframe
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


AUTUMN, SPRING = [(1000.0 * HOUR, 3 * HOUR)], [(1000.0 * HOUR, 2 * HOUR)]


def broker(moves: list[tuple[float, float]], ahead: float) -> offset.BrokerClock:
    clock = offset.BrokerClock(lambda: 1100 * HOUR, None)
    clock.assume(ahead, moves)
    return clock


@pytest.mark.parametrize(
    ("moves", "ahead", "before", "after"),
    [(AUTUMN, 2 * HOUR, 3 * HOUR, 2 * HOUR), (SPRING, 3 * HOUR, 2 * HOUR, 3 * HOUR)],
    ids=["autumn", "spring"],
)
def test_what_was_written_before_a_move_of_the_brokers_clock_keeps_its_time(
    moves: list[tuple[float, float]], ahead: float, before: float, after: float
) -> None:
    clock = broker(moves, ahead)
    instants = np.array([900.0, 998.0, 1000.0, 1001.5, 1050.0]) * HOUR
    shown = (instants + np.array([before, before, before, after, after])).astype(np.int64)
    assert (shown - clock.aheads_then(shown)).tolist() == instants.tolist()
    scalars = [float(each) - clock.ahead_then(float(each)) for each in shown[[0, 1, 3, 4]]]
    assert scalars == instants[[0, 1, 3, 4]].tolist()


def test_of_the_hour_that_comes_twice_bars_are_the_older_and_positions_the_younger() -> None:
    clock = broker(AUTUMN, 2 * HOUR)
    twice = 1000.5 * HOUR + 2 * HOUR  # shown half an hour before the move, and half an hour after it
    assert twice - clock.aheads_then(np.array([twice], np.int64))[0] == 999.5 * HOUR
    assert twice - clock.ahead_then(twice) == 1000.5 * HOUR


@pytest.mark.parametrize("apart", [-HOUR, HOUR])
async def test_bars_from_before_a_move_keep_their_times(terminal: Terminal, apart: float) -> None:
    """Our clock moves here, so the times before it are in our clock of then: they must not follow the broker's."""
    needs = Needs(NEEDS.symbols, (("EURUSD", Timeframe.M5, 100),))
    before = await terminal.gateway.snapshot(needs)
    assert isinstance(before, Done)
    terminal.apart += apart
    for _ in range(10):
        await terminal.wait(30)
        if not isinstance(await terminal.snapshot(), Done):
            await terminal.gateway.connect()
    after = await terminal.gateway.snapshot(needs)
    assert isinstance(after, Done)
    old, new = (read.value.bars["EURUSD", Timeframe.M5].time for read in (before, after))
    assert set(old[10:-2].tolist()) <= set(new.tolist())
    (move,) = terminal.gateway.broker_moves
    assert move[1] == 2 * HOUR
