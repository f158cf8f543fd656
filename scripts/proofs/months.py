"""Months of a market in the real engine: 200 random trades in each run, every order and every cycle watched."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import market_data
from month_run import Setting, run

from dtms_service.domain.parameters import Parameters
from dtms_service.terminal.simulated.market import SYNTHETIC, open_market
from dtms_service.terminal.simulated.synthetic import DEFAULT_START

DAY = 86_400.0
WARM_UP_DAYS = 2
RECORDED = {
    "GBPUSD, February 2012": "GBPUSD_M1_201202_fxcm_bidask.csv.gz",
    "BTCUSD, January 2022": "BTCUSD_M1_202201_ftx_perp.csv.gz",
}
"""Name of the run and its bar file; two days of each are for the first readings."""
NERVOUS = Parameters(
    l1_score=-1.0,
    l2_score=-2.0,
    l2_exit_score=-1.0,
    hedge_score=-2.5,
    hedge_now_score=-3.0,
    hedged_exit_score=-2.0,
    recovered_score=0.0,
)
"""Hedges are rare with the default numbers; with these every row of the tables of transitions is met."""
NO_BARS = "not run: its bars are neither under DTMS_MARKET_DATA nor beside the checkout"


def prove() -> tuple[str, Mapping[str, Any]]:
    """All runs; one line, and the tables of each. Raises ``AssertionError`` with every rule that was broken."""
    logging.disable()  # what the engine tells about its trades is counted in the tables
    try:
        return asyncio.run(_all())
    finally:
        logging.disable(logging.NOTSET)


async def _all() -> tuple[str, Mapping[str, Any]]:
    lines, tables, broken = [], {}, []
    for name, setting in _settings():
        if setting is None:
            lines.append(f"{name}: {NO_BARS}")
            continue
        with tempfile.TemporaryDirectory() as folder:
            found = await run(Path(folder), setting)
        print(f"  {found.line}", flush=True)
        lines.append(found.line)
        tables[name] = found.tables
        broken += [f"{name}: {words}" for words in found.broken]
    if broken:
        raise AssertionError("\n".join(broken))
    return "; ".join(lines), tables


def _settings() -> Iterator[tuple[str, Setting | None]]:
    folder = market_data.folder()
    for name, file in RECORDED.items():
        path = folder / "bars" / file if folder is not None else None
        if path is None or not path.exists():
            yield name, None
            continue
        first, last = open_market(str(path), 0, 0.0).ends
        yield name, Setting(name, str(path), first + WARM_UP_DAYS * DAY, last)
    start = float(DEFAULT_START)
    for name, days, parameters in (
        ("generated month, six symbols, nervous numbers", 30, NERVOUS),
        ("generated year, six symbols", 365, Parameters()),
    ):
        yield name, Setting(name, SYNTHETIC, start, start + days * DAY, parameters=parameters)
