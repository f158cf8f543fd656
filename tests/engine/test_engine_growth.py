"""A few hours of the real engine with its ledger and its API: nothing grows with the trades that are over.

The heap itself is measured over thirty days by ``scripts/prove.py month30``.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from growth_run import POSITIONS, opened

from dtms_service.engine import book

WARM_UP_DAYS, DAYS = 0.15, 0.15
KEPT = 20
"""Trades that are over and stay in the book of these hours."""
ROW_KB = 10.0
"""Of the database for one trade from its registration to its end."""


@pytest.mark.parametrize("kept", [KEPT, 10**9], ids=["with the limit", "without the limit"])
async def test_the_book_the_handles_and_the_threads_stay_and_the_ledger_grows_by_a_few_rows_per_trade(
    kept: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(book, "ENDED_KEPT", kept)
    month = await opened(tmp_path)
    await month.live(WARM_UP_DAYS)
    before, first = month.size(), month.done["trades"]
    await month.live(DAYS)
    after, trades = month.size(), month.done["trades"] - first
    await month.close()
    assert trades > KEPT
    assert (after.files, after.threads) == (before.files, before.threads)
    assert (after.database - before.database) * 1024 / trades <= ROW_KB
    assert (after.trades <= KEPT + POSITIONS) is (kept == KEPT)
