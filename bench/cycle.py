"""What a cycle costs: 1,000 trades on 50 symbols, the real child process, the real ledger, as ratios.

The baseline is the round trip that a quiet cycle cannot avoid (account, positions, 50 ticks through the pipe), measured
in the same run, in turn with the cycles. Run: ``python bench/cycle.py [trades] [symbols]``.
"""

from __future__ import annotations

import asyncio
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from dtms_service.clock import SteppedClock
from dtms_service.domain.admission import Registration
from dtms_service.domain.parameters import Parameters
from dtms_service.domain.record import Batch
from dtms_service.domain.trade import Mode
from dtms_service.engine.dtms import Dtms, Rules
from dtms_service.engine.registrar import Registered
from dtms_service.ledger.store import SqlLedger
from dtms_service.market.snapshot import Needs
from dtms_service.terminal.gateway import Gateway
from dtms_service.terminal.process import ProcessLink
from dtms_service.terminal.simulator import SimulatorControl

ROUNDS = 30
BARS = 6_000
START = 1_704_153_600  # Tuesday 2024-01-02 00:00 UTC


class CountingLink(ProcessLink):
    """Counts exchanges with the child."""

    exchanges = 0

    async def ask(self, calls: Any, deadline: float, *, urgent: bool = False) -> Any:
        """Count, then ask."""
        self.exchanges += not calls[0].name.startswith("simulator_")
        return await super().ask(calls, deadline, urgent=urgent)


class CountingLedger:
    """Counts transactions."""

    def __init__(self, ledger: SqlLedger) -> None:
        self._ledger = ledger
        self.commits = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    async def commit(self, batch: Batch) -> int:
        """Count, then commit."""
        self.commits += 1
        return await self._ledger.commit(batch)


def write_market(folder: Path, symbols: int) -> list[str]:
    """M5 bars of slow waves with a little noise, one file per symbol; nothing random."""
    names = [f"SYM{n:03d}" for n in range(symbols)]
    for n, name in enumerate(names):
        rows = ["time_utc,open,high,low,close,tick_volume,spread_points"]
        before = 100.0
        for i in range(BARS):
            close = 100 + 2 * math.sin(i / (40 + n)) + 0.05 * math.sin(1.7 * i + n)
            high, low = max(before, close) + 0.03, min(before, close) - 0.03
            stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(START + 300 * i))
            rows.append(f"{stamp},{before:.3f},{high:.3f},{low:.3f},{close:.3f},{100 + (37 * i) % 53},10")
            before = close
        (folder / f"{name}_M5_bench.csv").write_text("\n".join(rows) + "\n")
    return names


async def timed(what: Awaitable[Any]) -> float:
    """Milliseconds until ``what`` is there."""
    started = time.perf_counter()
    await what
    return (time.perf_counter() - started) * 1000


async def main(trades: int, symbols: int) -> None:
    """Build, register, measure, print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "bars").mkdir()
        names = write_market(folder / "bars", symbols)
        account = {"balance": 1e9, "currency": "USD", "leverage": 500, "margin_mode": "hedging", "fifo_close": False}
        options = {
            "state_dir": name,
            "market": str(folder / "bars"),
            "seed": 1,
            "clock": "stepped",
            "start": None,
            "account": {**account, "server_utc_offset": 0},
        }
        link = CountingLink("dtms_service.terminal.simulated.backend", options)
        clock, simulator = SteppedClock(), SimulatorControl(link)
        gateway = Gateway(link, kind="simulated", now=clock.now, broker_offset=0.0)
        ledger = CountingLedger(await SqlLedger.open(f"sqlite:///{folder / 'dtms.db'}", draw=lambda _: 1))
        rules = Rules(mode=Mode.OBSERVE, parameters=Parameters(), cycle_s=30.0, dtms_strategies=())
        dtms = Dtms(terminal=gateway, ledger=ledger, clock=clock, rules=rules, jitter=lambda: 0.5, simulator=simulator)
        await dtms.start()
        tickets = []
        for n in range(trades):
            body = {"symbol": names[n % symbols], "side": ("BUY", "SELL")[n % 2], "volume": 0.1}
            tickets.append(int((await simulator.open_position(body))["ticket"]))
        started = time.perf_counter()
        answers = await dtms.register([Registration(ticket=ticket) for ticket in tickets])
        registered = (time.perf_counter() - started) * 1000
        assert all(isinstance(answer, Registered) for answer in answers)  # noqa: S101 - a bench may stop at once
        first = await timed(dtms.advance(seconds=0, until=None))
        await measure(dtms, gateway, link, ledger, names)
        print(f"registration of {trades} trades in one batch: {registered:.1f} ms, one read, one transaction")
        print(
            f"first cycle (contract facts, 1000 + 600 bars of {symbols} symbols, {trades} evaluations): {first:.0f} ms"
        )
        await dtms.stop()
        await ledger.close()


async def measure(dtms: Dtms, gateway: Gateway, link: CountingLink, ledger: CountingLedger, names: list[str]) -> None:
    """Quiet cycles and cycles at an M5 and an M15 close, each in turn with the bare snapshot."""
    needs = Needs(tuple(names), ())
    costs: dict[str, list[float]] = {"bare snapshot": [], "quiet cycle": [], "M5 close": [], "M15 close": []}
    exchanges, commits = [], []
    for _ in range(ROUNDS):
        for _ in range(10):
            now = dtms.now()
            due = (now // 30 + 1) * 30
            kind = "M15 close" if due % 900 == 30 else "M5 close" if due % 300 == 30 else "quiet cycle"
            await dtms.advance(seconds=None, until=due - 1)
            costs["bare snapshot"].append(await timed(gateway.snapshot(needs)))
            before = link.exchanges, ledger.commits
            costs[kind].append(await timed(dtms.advance(seconds=None, until=due)))
            if kind == "quiet cycle":
                exchanges.append(link.exchanges - before[0])
                commits.append(ledger.commits - before[1])
    base = statistics.median(costs["bare snapshot"])
    print(f"{len(dtms.book.trades)} trades, {len(names)} symbols; {len(exchanges)} quiet cycles, each (median, most):")
    print(f"  {statistics.median(exchanges):.0f}, {max(exchanges)} round trips to the terminal")
    print(f"  {statistics.median(commits):.0f}, {max(commits)} transactions")
    for kind, values in costs.items():
        middle, worst = statistics.median(values), max(values)
        print(f"{kind:14s} median {middle:7.2f} ms   worst {worst:7.2f} ms   {middle / base:5.2f} x the bare snapshot")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000, int(sys.argv[2]) if len(sys.argv) > 2 else 50))
