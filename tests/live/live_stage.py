"""Where a bench stands: on the simulated terminal, or on the one that runs on this machine."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from live_bench import ASK_S, Bench, NotHere
from live_opt_in import impossible

from dtms_client.places import user_state_dir
from dtms_service.clock import SteppedClock, SystemClock
from dtms_service.domain.values import Account
from dtms_service.lock import Held, Lock, account_lock
from dtms_service.terminal.gateway import Gateway
from dtms_service.terminal.link import call
from dtms_service.terminal.mt5 import PACKAGE
from dtms_service.terminal.process import ProcessLink
from dtms_service.terminal.simulator import SimulatorControl

SERVER_HOURS, LAG_S = 2, 0.25
"""The simulated broker's clock, and how late its records show: what the checks have to find."""
FIRST_TICK_S = 0.2
_SIMULATED = "dtms_service.terminal.simulated.backend"
_ACCOUNT = {"balance": 1e5, "currency": "USD", "leverage": 100, "margin_mode": "hedging", "fifo_close": False}


_STAND_IN = """
from dtms_service.terminal.simulated.backend import open_backend
_terminal = open_backend({options!r})
def __getattr__(name):
    return getattr(_terminal, name)
"""


class Stage:
    """A bench, and the machine-wide lock of its account while it is used."""

    def __init__(self, bench: Bench, locks: Path) -> None:
        self.bench = bench
        self._locks = locks
        self._lock: Lock | None = None

    async def begin(self) -> Bench:
        """The bench, ready. Raises ``NotHere``."""
        await self.bench.begin(self._guard)
        return self.bench

    async def end(self) -> None:
        """Close what is open, let the terminal go."""
        try:
            await self.check_closed()
        finally:
            await self.bench.gateway.close()
            if self._lock is not None:
                self._lock.release()

    async def check_closed(self) -> None:
        """Close everything of this run; fails with the numbers of what may be open still."""
        left = await self.bench.leave()
        assert left == [], f"CLOSE BY HAND: positions {left} of this run could not be closed"

    def _guard(self, account: Account) -> None:
        """No DTMS may guard the account meanwhile: it would act on positions of this run."""
        try:
            self._lock = account_lock(self._locks, account.login, account.server)
        except Held as held:
            raise NotHere(f"a DTMS service guards this account (process {held.pid}): stop it first") from held


def plain(options: Mapping[str, Any]) -> ProcessLink:
    """The simulated terminal in a child process."""
    return ProcessLink(_SIMULATED, options)


def packaged(options: Mapping[str, Any]) -> ProcessLink:
    """The real backend in its child process, on a package that the simulated terminal stands in for.

    Whoever starts it puts the folder ``package_of`` on ``PYTHONPATH``.
    """
    folder = package_of(Path(options["state_dir"]))
    folder.mkdir()
    (folder / f"{PACKAGE}.py").write_text(_STAND_IN.format(options=dict(options)), encoding="utf-8")
    return ProcessLink("dtms_service.terminal.mt5", {})


def package_of(folder: Path) -> Path:
    """Where the stand-in for the package lies."""
    return folder / "package"


async def simulated(folder: Path, link_of: Callable[[Mapping[str, Any]], ProcessLink] = plain, **broker: Any) -> Stage:
    """On the simulated terminal, whose clock moves only while somebody waits. ``broker``: its habits."""
    options = {
        "state_dir": str(folder),
        "market": "synthetic",
        "seed": 7,
        "clock": "stepped",
        "start": None,
        "account": {**_ACCOUNT, "server_utc_offset": SERVER_HOURS},
        "broker": {"visibility_lag_s": LAG_S, **broker},
    }
    link = link_of(options)
    clock, control = SteppedClock(), SimulatorControl(link)

    async def pause(seconds: float) -> None:
        clock.move(await control.advance(clock.now() + seconds))

    gateway = Gateway(link, kind="simulated", now=clock.now, pause=lambda: pause(FIRST_TICK_S))
    await gateway.connect()  # attaches, and measures nothing: the simulator's date is not known yet
    clock.move(float((await control.clock())["now"]))
    await link.ask([call("symbol_select", "BTCUSD", False)], ASK_S)  # a real Market Watch lacks most symbols
    return Stage(Bench(gateway, link, "EURUSD", clock.now, pause), folder)


def real() -> Stage:
    """On the terminal that runs on this machine. Raises ``NotHere`` where nobody asked for that or there is none."""
    problem = impossible()
    if problem is not None:
        raise NotHere(problem)
    link = ProcessLink("dtms_service.terminal.mt5", {"path": os.environ.get("DTMS_LIVE_PATH")})
    clock = SystemClock()
    gateway = Gateway(link, kind="mt5", now=clock.now, pause=lambda: asyncio.sleep(FIRST_TICK_S))
    symbol = os.environ.get("DTMS_LIVE_SYMBOL", "EURUSD")
    return Stage(Bench(gateway, link, symbol, clock.now, asyncio.sleep), user_state_dir() / "dtms")
