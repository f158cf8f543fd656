"""Thirty days of the engine with its ledger and its API, twenty positions open at any time: what grows, and what not.

The heap is what tracemalloc counts of the service; the simulated broker lives in another process. It is measured from
the day on which the book has its thousand trades that are over; without that limit it grows.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
import tracemalloc
from collections.abc import Iterable, Mapping
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

import pytest
from growth_run import Size, opened

from dtms_service.engine import book

WARM_UP_DAYS, DAYS, WITHOUT_DAYS = 5, 30, 15
HEAP_MB, DATABASE_MB = 2.0, 50.0


def prove() -> tuple[str, Mapping[str, Any]]:
    """Both runs; the figures, and every day. Raises ``AssertionError`` when something grew that must not."""
    logging.disable()
    try:
        days, done = asyncio.run(_run(DAYS))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(book, "ENDED_KEPT", 10**9)
            unlimited, _ = asyncio.run(_run(WITHOUT_DAYS))
    finally:
        logging.disable(logging.NOTSET)
    warm, last = days[WARM_UP_DAYS - 1], days[-1]
    grown, without = last.heap - warm.heap, unlimited[-1].heap - unlimited[WARM_UP_DAYS - 1].heap
    line = (
        f"{DAYS} days, {done['trades']} trades, {done['requests']} requests: heap (tracemalloc) {warm.heap:.2f} MB "
        f"after day {WARM_UP_DAYS}, {last.heap:.2f} MB in the end, {grown:+.2f} MB; at the ends of the days "
        f"{_values(day.files for day in days)} handles and {_values(day.threads for day in days)} threads; database "
        f"{last.database:.1f} MB; without the limit of the book {without:+.2f} MB in {WITHOUT_DAYS - WARM_UP_DAYS} days"
    )
    same = len({(day.files, day.threads) for day in days}) == 1
    if grown > HEAP_MB or last.database > DATABASE_MB or not same or without <= HEAP_MB:
        raise AssertionError(line)
    names = [field.name for field in fields(Size)]
    rows = [[number, *(round(value, 2) for value in astuple(size))] for number, size in enumerate(days, start=1)]
    return line, {"days": [["day", *names], *rows]}


def _values(counts: Iterable[int]) -> str:
    return " or ".join(map(str, sorted(set(counts))))


async def _run(days: int) -> tuple[list[Size], Mapping[str, int]]:
    tracemalloc.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            month = await opened(Path(folder))
            sizes = []
            for _ in range(days):
                await month.live(1.0)
                sizes.append(month.size())
            await month.close()
            return sizes, month.done
    finally:
        tracemalloc.stop()
